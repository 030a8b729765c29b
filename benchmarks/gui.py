"""How fast the dock answers, and whether the window stays alive meanwhile.

    xvfb-run -a -s "-screen 0 1280x1024x24" python benchmarks/gui.py

In a real viewer, by pressing the dock's buttons: time from Start to the first preview,
between previews, from Stop to stopped; steps a second inside napari against outside,
in turns; and a timer that should tick every 20 ms on the GUI thread while a training
runs, a result is written and a lazy layer is scrolled through.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import napari
import numpy as np
from qtpy.QtCore import QEventLoop, QTimer

from napari_blindsound.images.open import open_volume
from napari_blindsound.images.phantom import phantom
from napari_blindsound.recipe import Training
from napari_blindsound.training.events import Progress

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_blindsound.gui.dock import DenoiseDock

TICK_MS = 20


class Heartbeat:
    """Ticks on the GUI thread, and remembers how late."""

    def __init__(self) -> None:
        self.gaps: list[float] = []
        self._last = time.perf_counter()
        self._timer = QTimer()
        self._timer.setInterval(TICK_MS)
        self._timer.timeout.connect(self._tick)

    def __enter__(self) -> Heartbeat:
        self.gaps.clear()
        self._last = time.perf_counter()
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.stop()

    def _tick(self) -> None:
        now = time.perf_counter()
        self.gaps.append(1000 * (now - self._last))
        self._last = now

    def __str__(self) -> str:
        if not self.gaps:
            return "no ticks"
        middle, late = np.percentile(self.gaps, [50, 99])
        return (
            f"median {middle:.0f} ms, 99th percentile {late:.0f} ms, "
            f"worst {max(self.gaps):.0f} ms of {len(self.gaps)} ticks"
        )


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=15.0, help="of each part")
    parser.add_argument("--rounds", type=int, default=3, help="inside against outside")
    given = parser.parse_args()
    viewer = napari.Viewer(show=True)
    viewer.window.resize(1280, 900)
    dock = viewer.window.add_plugin_dock_widget("napari-blindsound", "Denoise")[1]
    viewer.open_sample("napari-blindsound", "image")
    dock.use_layer(viewer.layers[-1])
    wait(lambda: dock.session.pace is not None)
    idle = Heartbeat()
    with idle:
        live(3)
    print(f"heartbeat, idle: {idle}")
    previews(dock, given.seconds)
    against_outside(dock, given.seconds, given.rounds)
    with tempfile.TemporaryDirectory() as folder:
        large(viewer, dock, Path(folder), given.seconds)
    viewer.close()


def previews(dock: DenoiseDock, seconds: float) -> None:
    """Start, watch, stop."""
    seen: list[float] = []
    dock.session.events.previewed.connect(lambda _: seen.append(time.perf_counter()))
    set_steps(dock, 10**6)
    beat = Heartbeat()
    with beat:
        started = time.perf_counter()
        dock.bar.start.click()
        answered = time.perf_counter() - started
        wait(lambda: bool(seen))
        first = seen[0] - started
        live(seconds)
    asked = time.perf_counter()
    dock.bar.stop.click()
    wait(lambda: not dock.session.is_busy)
    stopped = time.perf_counter() - asked
    gaps = np.diff(seen)
    print(f"Start answers in {1000 * answered:.0f} ms, first preview in {first:.2f} s")
    print(
        f"previews every {np.median(gaps):.2f} s (longest {max(gaps):.2f} s, "
        f"{len(seen)} of them)"
    )
    print(f"Stop to stopped: {stopped:.2f} s")
    print(f"heartbeat, training: {beat}")


def against_outside(dock: DenoiseDock, seconds: float, rounds: int) -> None:
    """Steps a second in the dock, and of the same training without napari, in turns."""
    inside, outside = [], []
    recipe, data = dock.session.recipe, dock.session.data
    assert recipe is not None
    assert data is not None
    for _ in range(rounds):
        inside.append(steps_inside(dock, seconds))
        training = Training([data.training], recipe)
        # In a thread that ends: several that compute in parallel slow one another.
        with ThreadPoolExecutor(1) as pool:
            rate = pool.submit(steps_outside, training, seconds)
            wait(rate.done)
        outside.append(rate.result())
    ratios = np.divide(inside, outside)
    print(
        f"steps a second inside napari {np.median(inside):.1f}, outside "
        f"{np.median(outside):.1f}: {100 * np.median(ratios):.0f} % "
        f"({recipe.train.threads} thread(s), rounds {np.round(ratios, 2)})"
    )


def steps_inside(dock: DenoiseDock, seconds: float) -> float:
    """Wall-clock steps a second, previews and estimates included."""
    marks: list[tuple[float, int]] = []

    def note(event: object) -> None:
        if isinstance(event, Progress):
            marks.append((time.perf_counter(), event.step))

    dock.session.events.progressed.connect(note)
    dock.bar.start.click()
    wait(lambda: bool(marks))
    live(seconds)
    dock.bar.stop.click()
    wait(lambda: not dock.session.is_busy)
    dock.session.events.progressed.disconnect(note)
    return _rate(marks)


def steps_outside(training: Training, seconds: float) -> float:
    """Wall-clock steps a second of a training nobody watches."""
    marks = []
    for event in training.run():
        if isinstance(event, Progress):
            marks.append((time.perf_counter(), event.step))
            if marks[-1][0] - marks[0][0] > seconds:
                break
    training.close()
    return _rate(marks)


def _rate(marks: list[tuple[float, int]]) -> float:
    # The first second warms up.
    start = next(mark for mark in marks if mark[0] > marks[0][0] + 1)
    return (marks[-1][1] - start[1]) / (marks[-1][0] - start[0])


def large(
    viewer: napari.Viewer, dock: DenoiseDock, folder: Path, seconds: float
) -> None:
    """Scroll through a lazy layer of 16 x 2048 x 2048, and write it."""
    path = folder / "large.ome.zarr"
    _write_large(path)
    before = dock.session.data
    viewer.layers.clear()
    dock.data.open_paths([path])
    wait(lambda: dock.session.data not in (None, before))
    wait(lambda: dock.session.pace is not None)
    dock.train.seen.preview.setChecked(False)
    dock.apply.lazy.click()
    live(1)
    beat = Heartbeat()
    plane = 0
    for pause in (0.7, 0.3, 0.1):
        with beat:
            end = time.perf_counter() + seconds
            while time.perf_counter() < end:
                plane = (plane + 1) % 16
                viewer.dims.set_current_step(0, plane)
                live(pause)
        print(f"heartbeat, scrolling a lazy layer, a plane each {pause} s: {beat}")
    end = time.perf_counter()
    lazy = dock.applying.lazy_layers[-1]
    wait(lambda: lazy.pending == 0)
    print(f"the last plane was complete {time.perf_counter() - end:.1f} s later")
    lazy.close()
    dock.apply.place.setText(str(folder / "denoised.ome.zarr"))
    with beat:
        dock.apply.write.click()
        end = time.perf_counter() + 4 * seconds
        wait(lambda: not dock.session.is_busy or time.perf_counter() > end, 600)
    print(f"heartbeat, writing: {beat}")
    dock.session.stop()
    wait(lambda: not dock.session.is_busy)


def set_steps(dock: DenoiseDock, steps: int) -> None:
    """Train for a number of steps."""
    plan = replace(dock.session.plan, unit="steps", amount=steps, ending="last")
    dock.session.set_plan(plan)


def _write_large(path: Path) -> None:
    from napari_blindsound.inference.convert import convert

    tile = phantom("2d", size=512).noisy
    plane = np.tile(tile, (4, 4))
    stack = np.stack([np.roll(plane, 37 * i, axis=1) for i in range(16)])
    convert(open_volume(stack, axes="ZYX", name="large"), path)


def live(seconds: float) -> None:
    """Let the window live for a while, in Qt's own loop: polling would cost steps."""
    loop = QEventLoop()
    QTimer.singleShot(round(1000 * seconds), loop.quit)
    loop.exec()


def wait(until: Callable[[], bool], seconds: float = 120.0) -> None:
    """Let the window live until something has happened."""
    end = time.perf_counter() + seconds
    while not until():
        if time.perf_counter() > end:
            msg = f"nothing happened for {seconds} s"
            raise TimeoutError(msg)
        live(0.02)


if __name__ == "__main__":
    main()
