from __future__ import annotations

import gc
import threading
import weakref
from dataclasses import replace

import numpy as np
import pytest

from napari_blindsound.gui.data import Data
from napari_blindsound.gui.live import Preview, Quality, Request
from napari_blindsound.gui.plan import Plan
from napari_blindsound.gui.session import Session, State
from napari_blindsound.gui.view import Look
from napari_blindsound.images.open import open_volume
from napari_blindsound.images.phantom import phantom
from napari_blindsound.job import Job
from napari_blindsound.training.events import Progress

SMALL = {"width": 4, "depth": 1, "patch": 32, "batch": 1}
LONG = 60_000  # ms


@pytest.fixture(scope="module")
def noisy():
    return phantom("2d", size=96).noisy


@pytest.fixture
def data(noisy):
    return Data(open_volume(noisy, axes="YX", name="cells"), "YX")


@pytest.fixture
def session(qtbot):
    made = Session()
    made.set_plan(Plan(settings=SMALL, unit="steps", amount=40, ending="last"))
    yield made
    made.close(5)


def heard(signal):
    events = []
    signal.connect(events.append)
    return events


def train(session, qtbot, data):
    session.choose(data)
    session.start()
    qtbot.waitUntil(lambda: session.state is State.TRAINED, timeout=LONG)


def test_check_tells_noise_and_pace(session, qtbot, data):
    session.choose(data)
    assert session.state is State.DATA
    qtbot.waitUntil(lambda: session.pace is not None, timeout=LONG)
    assert session.state is State.READY
    assert session.checked.glances[0].noise.gain > 0
    assert session.pace.steps_per_second > 0


def test_training_yields_progress_and_a_model(session, qtbot, data):
    seen = []
    session.events.progressed.connect(seen.append)
    train(session, qtbot, data)
    assert any(isinstance(event, Progress) for event in seen)
    assert session.denoiser.provenance["steps"] == [40]
    assert session.recipe.train.threads is not None
    assert not session.can_go_on


def test_seconds_become_steps(session, qtbot, data):
    session.set_plan(replace(session.plan, unit="seconds", amount=0.5))
    train(session, qtbot, data)
    assert session.recipe.train.seconds is None
    assert session.recipe.train.steps == session.pace.steps_for(0.5)
    assert session.denoiser.provenance["steps"] == [session.recipe.train.steps]


def test_previews_while_training_and_after(session, qtbot, data):
    previews = []
    session.events.previewed.connect(previews.append)
    session.set_plan(replace(session.plan, amount=100_000))
    session.choose(data)
    look = Look((slice(10, 74), slice(0, 96)))
    session.look(Request(look))
    session.start()
    qtbot.waitUntil(lambda: len(previews) >= 2, timeout=LONG)
    assert isinstance(previews[0], Preview)
    assert previews[0].estimates[0].shape == previews[0].noisy.shape == (64, 96)
    session.pause()
    moved = Look((slice(0, 32), slice(0, 32)))
    session.look(Request(moved, ends=True))
    qtbot.waitUntil(lambda: previews[-1].look == moved, timeout=LONG)
    assert len(previews[-1].estimates) == 2
    session.stop()
    qtbot.waitUntil(lambda: session.state is State.TRAINED, timeout=LONG)
    session.look(Request(look))
    qtbot.waitUntil(lambda: previews[-1].look == look, timeout=LONG)
    expected = session.denoiser(data.volume.read(look.region))
    assert previews[-1].estimates[0].shape == expected.shape


def test_quality_is_estimated(session, qtbot, data):
    seen = []
    session.events.progressed.connect(seen.append)
    session.set_plan(replace(session.plan, amount=100_000))
    session.choose(data)
    session.start()
    qtbot.waitUntil(
        lambda: any(isinstance(event, Quality) for event in seen), timeout=LONG
    )
    session.stop()
    qtbot.waitUntil(lambda: session.state is State.TRAINED, timeout=LONG)


def test_stop_then_continue_is_one_training(session, qtbot, data):
    train(session, qtbot, data)
    whole = session.denoiser.revision
    session.set_plan(replace(session.plan, amount=100_000))
    events = heard(session.events.progressed)
    session.start()
    qtbot.waitUntil(lambda: any(e.step for e in events), timeout=LONG)
    session.stop()
    qtbot.waitUntil(lambda: not session.is_busy, timeout=LONG)
    assert session.can_go_on
    assert session.denoiser.revision != whole
    session.go_on()
    assert session.state is State.TRAINING
    session.stop()
    qtbot.waitUntil(lambda: session.state is State.TRAINED, timeout=LONG)


def test_failed_run_is_followed_by_a_good_one(session, qtbot, data):
    failures = []
    session.events.failed.connect(failures.append)
    bad = open_volume(np.full((96, 96), 7, "uint16"), axes="YX")
    session.choose(Data(bad, "YX"))
    session.start()
    qtbot.waitUntil(lambda: not session.is_busy and bool(failures), timeout=LONG)
    assert failures[-1].step == "train"
    assert "constant" in failures[-1].message or "same" in failures[-1].message
    assert session.denoiser is None
    train(session, qtbot, data)
    assert session.failure is None


def test_earlier_model_survives_a_failed_run(session, qtbot, data):
    train(session, qtbot, data)
    model = session.denoiser
    bad = open_volume(np.full((96, 96), 7, "uint16"), axes="YX")
    session.choose(Data(bad, "YX"))
    session.start()
    qtbot.waitUntil(lambda: not session.is_busy, timeout=LONG)
    assert session.denoiser is model
    assert session.state is State.TRAINED


def test_no_memory_is_told_and_the_next_run_works(session, qtbot, data):
    plan = session.plan
    session.choose(data)
    session.set_plan(replace(plan, settings={**SMALL, "width": 1_000_000}))
    session.start()
    qtbot.waitUntil(lambda: not session.is_busy, timeout=LONG)
    assert "not enough memory" in session.failure.message
    session.set_plan(plan)
    train(session, qtbot, data)


def test_no_such_device_is_told_with_a_remedy(session, qtbot, data):
    session.choose(data)
    session.set_plan(replace(session.plan, device="cuda:7"))
    session.start()
    qtbot.waitUntil(lambda: not session.is_busy, timeout=LONG)
    assert session.failure.remedy == "use CPU"
    session.set_plan(replace(session.plan, device="cpu"))
    train(session, qtbot, data)


def test_file_deleted_while_training(session, qtbot, data, tmp_path):
    from napari_blindsound.images.phantom import phantom

    frames = phantom("timelapse", size=128, planes=1, frames=3).noisy
    path = tmp_path / "movie.npy"
    np.save(path, frames)

    class Gone:
        """An array whose file goes away after a while."""

        shape, dtype, ndim = frames.shape, frames.dtype, frames.ndim
        reads = 0

        def __getitem__(self, index):
            Gone.reads += 1
            if path.exists():
                return np.load(path)[index]
            raise FileNotFoundError(2, "No such file", str(path))

    volume = replace(data.image, levels=(Gone(),), axes=_axes("TYX"))
    failures = heard(session.events.failed)
    session.set_plan(replace(session.plan, amount=100_000))
    session.choose(Data(volume, "TYX"))
    session.look(Request(Look((slice(0, 1), slice(0, 64), slice(0, 64)))))
    session.start()
    qtbot.waitUntil(lambda: session.training is not None, timeout=LONG)
    path.unlink()
    session.look(Request(Look((slice(1, 2), slice(0, 64), slice(0, 64)))))
    qtbot.waitUntil(lambda: not session.is_busy, timeout=LONG)
    assert "cannot be read" in failures[-1].message
    assert session.state in (State.TRAINED, State.READY, State.DATA)


def _axes(names):
    from napari_blindsound.images.axes import Axes

    return Axes.parse(names)


def test_write_then_load_the_model(session, qtbot, data, tmp_path):
    train(session, qtbot, data)
    applied = heard(session.events.applied)
    session.write(Job(), [(data.volume, tmp_path / "r.ome.zarr")])
    qtbot.waitUntil(lambda: session.state is State.DONE, timeout=LONG)
    assert applied == [tmp_path / "r.ome.zarr"]
    session.save_model(tmp_path / "m.blindsound")
    revision = session.denoiser.revision
    session.reset()
    assert session.denoiser is None
    session.load_model(tmp_path / "m.blindsound")
    qtbot.waitUntil(lambda: session.state is State.TRAINED, timeout=LONG)
    assert session.denoiser.revision == revision


def test_unwritable_model_is_told(session, qtbot, data, tmp_path):
    train(session, qtbot, data)
    session.save_model(tmp_path / "nowhere" / "m.blindsound")
    assert session.failure.step == "apply"
    assert session.denoiser is not None


def test_missing_model_is_told(session, qtbot, tmp_path):
    session.load_model(tmp_path / "m.blindsound")
    qtbot.waitUntil(lambda: session.failure is not None, timeout=LONG)
    assert session.state is State.EMPTY


def test_closing_while_training_frees_the_model(qtbot, data):
    session = Session()
    session.set_plan(Plan(settings=SMALL, unit="steps", amount=10**6, ending="last"))
    session.choose(data)
    session.start()
    qtbot.waitUntil(lambda: session.training is not None, timeout=LONG)
    training = weakref.ref(session.training)
    session.close()
    qtbot.waitUntil(lambda: not threads(), timeout=5000)
    gc.collect()
    assert training() is None


def test_two_sessions_share_nothing(session, qtbot, data):
    other = Session()
    other.set_plan(session.plan)
    session.choose(data)
    other.choose(data)
    session.start()
    other.start()
    for each in (session, other):
        qtbot.waitUntil(lambda each=each: each.state is State.TRAINED, timeout=LONG)
    assert session.denoiser is not other.denoiser
    assert session.denoiser.revision == other.denoiser.revision
    other.close(5)


def test_fifty_cycles_leak_no_threads(session, qtbot, data):
    session.choose(data)
    session.set_plan(replace(session.plan, amount=10**6))
    before = threading.active_count()
    kept = []
    for _ in range(50):
        session.start()
        qtbot.waitUntil(lambda: session.training is not None, timeout=LONG)
        kept.append(weakref.ref(session.training))
        session.stop()
        qtbot.waitUntil(lambda: not session.is_busy, timeout=LONG)
    session.reset()
    qtbot.waitUntil(lambda: not threads(), timeout=5000)
    gc.collect()
    assert threading.active_count() <= before
    assert [ref() for ref in kept if ref() is not None] == []


def threads():
    return [t for t in threading.enumerate() if t.name == "blindsound-work"]
