"""Pictures of the docks at work, for the README and to look at.

Run under a display, real or virtual:

    xvfb-run -a -s "-screen 0 1280x1024x24" python docs/screenshots.py

It opens napari at 1280 x 900, presses the buttons that a user would, and writes one
picture a step and theme into ``docs/screenshots``, and the animation of the README.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import napari
from PIL import Image
from qtpy.QtWidgets import QApplication

from napari_blindsound.gui.session import State
from napari_blindsound.images.phantom import phantom

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

    from napari_blindsound.gui.dock import DenoiseDock

HERE = Path(__file__).parent
SIZE = 1280, 900
PLUGIN, DOCK, BATCH, COMPARE = (
    "napari-blindsound",
    "Denoise",
    "Batch denoise",
    "Compare methods",
)


def main() -> None:
    """Draw all pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=HERE / "screenshots")
    parser.add_argument("--seconds", type=float, default=30.0, help="of training")
    parser.add_argument("--themes", nargs="*", default=["dark", "light"])
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    for theme in given.themes:
        with tempfile.TemporaryDirectory() as folder:
            draw(theme, given.out, given.seconds, Path(folder))


def draw(theme: str, out: Path, seconds: float, folder: Path) -> None:
    """Walk through the four steps in one theme."""
    path = folder / "cells.ome.tif"
    _write_movie(path)
    viewer = napari.Viewer(title="napari", show=True)
    viewer.theme = theme
    viewer.window.resize(*SIZE)
    dock = viewer.window.add_plugin_dock_widget(PLUGIN, DOCK)[1]
    shoot(viewer, out / f"0_empty_{theme}.webp")
    dock.data.open_paths([path])
    wait(lambda: dock.session.pace is not None)
    dock.train.method.setCurrentText("Blind2Sound")
    for name in ("data", "check", "train", "apply"):
        dock.open(getattr(dock, name))
        shoot(viewer, out / f"1_{name}_{theme}.webp")
    frames = train(viewer, dock, seconds, out / f"2_training_{theme}.webp")
    dock.open(dock.train)
    dock.train.seen.curtain.setChecked(True)
    dock.train.seen.compare_fold.set_open(is_open=True)
    pause(1.0)
    shoot(viewer, out / f"3_curtain_{theme}.webp")
    dock.open(dock.apply)
    dock.train.seen.preview.setChecked(False)
    dock.apply.lazy.click()
    pause(4.0)
    shoot(viewer, out / f"4_lazy_layer_{theme}.webp")
    dock.apply.place.setText(str(folder / "denoised.ome.zarr"))
    dock.apply.uncertainty.setChecked(True)
    dock.apply.write.click()
    wait(lambda: dock.session.state is State.DONE)
    shoot(viewer, out / f"5_written_{theme}.webp")
    dock.trust.test.click()
    wait(lambda: dock.trust.check.tested is not None)
    dock.trust.fold.set_open(is_open=True)
    shoot(viewer, out / f"7_trust_{theme}.webp")
    if theme == "dark":
        _animate(frames, out.parent / "training.webp")
    viewer.close()
    batch(theme, out, folder)
    compare(theme, out)


def batch(theme: str, out: Path, folder: Path) -> None:
    """Denoise three files in the batch dock."""
    images = folder / "batch"
    images.mkdir()
    for number in range(3):
        _write_movie(images / f"cells_{number}.ome.tif", seed=number)
    (images / "broken.tif").write_bytes(b"II*\0 not really a TIFF")
    viewer = napari.Viewer(title="napari", show=True)
    viewer.theme = theme
    viewer.window.resize(*SIZE)
    dock = viewer.window.add_plugin_dock_widget(PLUGIN, BATCH)[1]
    dock.add_paths([images])
    wait(lambda: bool(dock.session.rows))
    dock.panel.steps.setValue(150)
    dock.bar.start.click()
    wait(lambda: not dock.session.is_running)
    shoot(viewer, out / f"6_batch_{theme}.webp")
    viewer.close()


def compare(theme: str, out: Path) -> None:
    """Compare what is ticked from the start on one image, with its truth."""
    viewer = napari.Viewer(title="napari", show=True)
    viewer.theme = theme
    viewer.window.resize(*SIZE)
    cells = phantom("2d", size=384, photons=15.0, seed=3)
    viewer.add_image(cells.clean, name="clean", visible=False)
    noisy = viewer.add_image(cells.noisy, name="noisy cells")
    dock = viewer.window.add_plugin_dock_widget(PLUGIN, COMPARE)[1]
    wait(lambda: bool(dock.session.contestants))
    dock.use_layer(noisy)
    dock.has_truth.setChecked(True)
    dock.clean.choose(viewer.layers["clean"])
    dock.amount.setValue(10)
    wait(lambda: dock.session.can_start)
    dock.bar.start.click()
    wait(lambda: dock.session.is_running)
    wait(lambda: not dock.session.is_running, 600.0)
    dock.grid.setChecked(True)
    pause(4.0)
    shoot(viewer, out / f"8_compare_{theme}.webp")
    viewer.close()


def train(
    viewer: napari.Viewer, dock: DenoiseDock, seconds: float, path: Path
) -> list[np.ndarray]:
    """Press Start, and take a frame each half second."""
    dock.train.amount.setValue(seconds)
    dock.bar.start.click()
    frames, shot = [], False
    started = time.monotonic()
    while dock.session.is_busy:
        pause(0.5)
        frames.append(viewer.screenshot(canvas_only=False, flash=False)[..., :3])
        if not shot and time.monotonic() - started > seconds / 2:
            shoot(viewer, path)
            shot = True
    return frames


def shoot(viewer: napari.Viewer, path: Path) -> None:
    """Write a picture of the window."""
    pause(0.7)
    pixels = viewer.screenshot(canvas_only=False, flash=False)[..., :3]
    Image.fromarray(pixels).save(path, quality=85)


def wait(until: Callable[[], bool], seconds: float = 120.0) -> None:
    """Let the window live until something has happened."""
    end = time.monotonic() + seconds
    while not until():
        if time.monotonic() > end:
            msg = f"nothing happened for {seconds} s"
            raise TimeoutError(msg)
        pause(0.05)


def pause(seconds: float) -> None:
    """Let the window live for a while."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        QApplication.processEvents()
        time.sleep(0.01)


def _write_movie(path: Path, seed: int = 0) -> None:
    import tifffile

    movie = phantom("timelapse", size=512, frames=6, seed=seed)
    axes = movie.volume().axes
    tifffile.imwrite(
        path,
        movie.noisy,
        metadata={
            "axes": axes.names,
            "PhysicalSizeX": axes[-1].scale,
            "PhysicalSizeXUnit": "µm",
            "PhysicalSizeY": axes[-2].scale,
            "PhysicalSizeYUnit": "µm",
        },
    )


def _animate(frames: list[np.ndarray], path: Path) -> None:
    """Write the frames as an animation that plays in a browser."""
    pictures = [Image.fromarray(frame) for frame in frames]
    for picture in pictures:
        picture.thumbnail((960, 675), Image.Resampling.LANCZOS)
    pictures += [pictures[-1]] * 4
    pictures[0].save(
        path,
        save_all=True,
        append_images=pictures[1:],
        duration=400,
        loop=0,
        quality=60,
    )


if __name__ == "__main__":
    main()
