from __future__ import annotations

import copy
import gc
import shutil
import threading
import time
import weakref

import numpy as np
import pytest
import torch
import zarr

from napari_blindsound.errors import (
    ImageNotFoundError,
    ModelError,
    ModelMismatchError,
)
from napari_blindsound.images.axes import Axes
from napari_blindsound.images.volume import Volume
from napari_blindsound.inference import pyramid as levels_of
from napari_blindsound.inference.background import leave_a_core
from napari_blindsound.inference.coarser import halved
from napari_blindsound.inference.progressive import THREAD, Progressive
from napari_blindsound.inference.reader import THREAD as READER
from napari_blindsound.inference.tiling import denoise_region


def volume_of(*levels, axes="ZYX", source=None):
    return Volume(levels, Axes.parse(axes), "noisy", source=source)


def everything(volume):
    return tuple(slice(0, n) for n in volume.shape)


def eventually(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.002)


def whole_plane(progressive, *plane, **kwargs):
    sizes = dict(
        zip(progressive.volume.axes.names, progressive.volume.shape, strict=True)
    )
    progressive.want(plane, (slice(0, sizes["Y"]), slice(0, sizes["X"])), **kwargs)


def finish(progressive):
    eventually(lambda: progressive.pending == 0)


@pytest.fixture
def open_progressive():
    opened = []

    def make(*args, **kwargs):
        opened.append(Progressive(*args, **kwargs))
        return opened[-1]

    yield make
    for progressive in opened:
        progressive.close()
        assert progressive.join(10)


class Gate:
    """Lets the denoiser work only when told to."""

    def __init__(self, operator):
        self._operator = operator
        self.open = threading.Event()
        self.started = threading.Event()
        self.calls = 0

    def __getattr__(self, name):
        return getattr(self._operator, name)

    def core(self, padded, halo):
        self.calls += 1
        self.started.set()
        assert self.open.wait(20)
        return self._operator.core(padded, halo)


@pytest.mark.parametrize("axes", ["TCYX", "CYXT", "YTXC", "YX", "ZXY"])
def test_noisy_at_once_denoised_later(axes, pyramid, noisy, open_progressive):
    sizes = {"T": 3, "Z": 3, "C": 2, "Y": 85, "X": 70}
    volume = volume_of(noisy([sizes[n] for n in axes]), axes=axes)
    gate = Gate(pyramid(n_channels=volume.n_channels))
    progressive = open_progressive(gate, volume, tile=32)
    (level,) = progressive.levels
    plane = (1,) if {"T", "Z"} & set(axes) else ()
    key = tuple(1 if name in "TZ" else slice(None) for name in axes)
    assert level.shape == volume.shape
    assert level.ndim == volume.ndim
    assert level.size == volume.levels[0].size
    assert level.dtype == level[key].dtype == np.float32
    np.testing.assert_array_equal(level[key], volume.levels[0][key])
    whole_plane(progressive, *plane)
    assert progressive.pending == 9
    assert gate.started.wait(20)
    np.testing.assert_array_equal(level[key], volume.levels[0][key])
    gate.open.set()
    finish(progressive)
    done = denoise_region(gate, volume, everything(volume))
    np.testing.assert_allclose(level[key], done[key], rtol=1e-6)
    other = tuple(2 if name in "TZ" else slice(None) for name in axes)
    if plane:
        np.testing.assert_array_equal(level[other], volume.levels[0][other])


class Slow:
    """An array on a slow disk."""

    def __init__(self, array, seconds=0.0):
        self.array, self.shape, self.dtype = array, array.shape, array.dtype
        self.seconds = seconds
        self.read, self.threads = [], set()

    def __getitem__(self, region):
        time.sleep(self.seconds)
        self.read.append(region[0].start)
        self.threads.add(threading.current_thread().name)
        return self.array[region]


def test_a_slow_source_is_not_waited_for(pyramid, noisy, open_progressive):
    source = Slow(noisy((9, 64, 64)), seconds=0.15)
    told = []
    progressive = open_progressive(
        pyramid(), volume_of(source), patience=0.01, on_ready=lambda: told.append(1)
    )
    level = progressive.levels[0]
    start = time.monotonic()
    assert np.isnan(level[4]).all()
    assert np.isnan(level[5]).all()
    assert time.monotonic() - start < 0.12
    eventually(lambda: len(told) >= 1)
    eventually(lambda: not np.isnan(level[5]).any())
    np.testing.assert_array_equal(level[5], source.array[5])
    assert source.threads == {READER}
    # A view of several planes has no other way.
    np.testing.assert_array_equal(np.asarray(level[6:8]), source.array[6:8])


def test_the_next_planes_are_read_ahead(pyramid, noisy, open_progressive):
    source = Slow(noisy((9, 64, 64)))
    progressive = open_progressive(pyramid(), volume_of(source), patience=10)
    level = progressive.levels[0]
    level[3]
    eventually(lambda: sorted(source.read) == [2, 3, 4, 5])
    level[2]
    eventually(lambda: sorted(source.read) == [0, 1, 2, 3, 4, 5])
    level[0, 5:10]
    eventually(lambda: len(source.read) == 6)
    source.seconds = 1000  # all is there: nobody goes to the disk again
    np.testing.assert_array_equal(level[1], source.array[1])


def test_what_is_too_large_to_keep_is_read_in_place(
    pyramid, noisy, monkeypatch, open_progressive
):
    monkeypatch.setattr("napari_blindsound.inference.patchwork.NOISY_BYTES", 10_000)
    source = Slow(noisy((9, 64, 64)))
    told = []
    progressive = open_progressive(
        pyramid(), volume_of(source), patience=1e-9, on_ready=lambda: told.append(1)
    )
    np.testing.assert_array_equal(progressive.levels[0][3], source.array[3])
    assert source.read == [3]
    assert not told


def test_parts_and_windows(pyramid, noisy, open_progressive):
    volume = volume_of(noisy((4, 2, 70, 90)), axes="ZCYX")
    progressive = open_progressive(pyramid(n_channels=2), volume, tile=32)
    (level,) = progressive.levels
    whole_plane(progressive, 2)
    finish(progressive)
    counts = volume.levels[0].astype(np.float32)
    counts[2] = denoise_region(pyramid(n_channels=2), volume, everything(volume))[2]
    for key in (
        np.s_[2, 1, 10:50, 33:34],
        np.s_[2],
        np.s_[-2, ..., 5],
        np.s_[2:3, 0],
        np.s_[2, 1, ::3, 40:70],
        np.s_[np.int64(2), np.int64(1)],
        np.s_[1:4, :, 3:60],  # a view, read when numpy wants it
        np.s_[:],
        np.s_[..., 0:0],
        np.s_[::2, 1],
    ):
        np.testing.assert_allclose(np.asarray(level[key]), counts[key], rtol=1e-6)
    window = level[:, :, 10:60, 0:64]
    assert not isinstance(window, np.ndarray)
    assert isinstance(window[2, 1], np.ndarray)
    np.testing.assert_allclose(window[2, 1], counts[2, 1, 10:60, :64], rtol=1e-6)
    with pytest.raises(IndexError):
        level[4]


def test_a_view_of_many_planes_reads_nothing_until_it_is_cut(pyramid, tmp_path):
    array = zarr.create_array(
        tmp_path / "a.zarr", shape=(10**6, 10**5, 10**5), chunks=(1, 64, 64), dtype="u2"
    )
    progressive = Progressive(pyramid(), volume_of(array))
    window = progressive.levels[0][:, 100:200, 300:350]
    assert window[10**5].shape == (100, 50)


def test_as_a_whole_it_is_never_noisy(pyramid, noisy, open_progressive):
    volume = volume_of(noisy((2, 64, 64)))
    progressive = open_progressive(pyramid(), volume, tile=32)
    progressive.want((0,), (slice(0, 32), slice(0, 32)))
    finish(progressive)
    done = denoise_region(pyramid(), volume, everything(volume))
    level = progressive.levels[0]
    np.testing.assert_allclose(np.asarray(level), done, rtol=1e-6)
    assert np.asarray(level, dtype=np.float64).dtype == np.float64
    np.testing.assert_allclose(np.mean(level), done.mean(), rtol=1e-5)
    np.testing.assert_allclose(level.to_dask()[1].compute(), done[1], rtol=1e-6)
    (array,) = progressive.denoised
    assert array.name == level.to_dask().name == progressive.denoised[:1][0].name
    with pytest.raises(ValueError, match="copy"):
        np.array(level, dtype=np.float64, copy=False)
    assert copy.deepcopy(level) is level
    assert len(level) == 2
    assert "(2, 64, 64)" in repr(level)


def test_nearest_to_the_middle_first(pyramid, noisy, open_progressive):
    gate = Gate(pyramid())
    volume = volume_of(noisy((1, 160, 160)))
    progressive = open_progressive(gate, volume, tile=32)
    whole_plane(progressive, 0, center=(140.0, 20.0))
    gate.open.set()
    done = []
    eventually(lambda: done.append(shown(progressive)) or progressive.pending == 0)
    assert shown(progressive).all()
    middles = np.arange(16, 160, 32)
    distance = np.hypot(middles[:, None] - 140, middles[None] - 20)
    for state in done:
        if state.any() and not state.all():
            assert distance[state].max() <= distance[~state].min() + 1e-9


def shown(progressive):
    """Which tiles of the first plane are denoised."""
    plane = progressive.levels[0][0]
    counts = progressive.volume.levels[0][0]
    same = (plane == counts).reshape(5, 32, 5, 32).mean(axis=(1, 3))
    return same < 0.9


def test_what_scrolled_away_is_dropped(pyramid, noisy, open_progressive):
    gate = Gate(pyramid())
    volume = volume_of(noisy((9, 96, 96)))
    progressive = open_progressive(gate, volume, tile=32)
    for number in range(9):
        whole_plane(progressive, number)
        assert progressive.pending == 9
    gate.open.set()
    finish(progressive)
    assert gate.calls <= 10
    done = denoise_region(gate, volume, everything(volume))
    np.testing.assert_allclose(progressive.levels[0][8], done[8], rtol=1e-6)
    calls = gate.calls
    whole_plane(progressive, 8)
    assert progressive.pending == 0
    assert gate.calls == calls


def test_a_tile_is_left_half_way_when_nobody_looks(pyramid, noisy, open_progressive):
    gate = Gate(pyramid(bytes_per_pixel=2**20))  # so costly that it is cut into pieces
    progressive = open_progressive(gate, volume_of(noisy((1, 1024, 1024))), tile=1024)
    whole_plane(progressive, 0)
    assert gate.started.wait(20)
    progressive.rest()
    assert progressive.pending == 0
    gate.open.set()
    eventually(lambda: progressive._busy is None)
    assert gate.calls == 1
    assert progressive.nbytes == 0


def test_memory_has_a_limit(pyramid, noisy, open_progressive):
    operator = pyramid()
    volume = volume_of(noisy((6, 128, 128)))
    limit = 20 * 32 * 32 * 4
    progressive = open_progressive(operator, volume, memory=limit, tile=32)
    for number in range(6):
        whole_plane(progressive, number)
        finish(progressive)
        assert progressive.nbytes <= limit
    done = denoise_region(operator, volume, everything(volume))
    np.testing.assert_allclose(progressive.levels[0][5], done[5], rtol=1e-6)
    np.testing.assert_array_equal(progressive.levels[0][0], volume.levels[0][0])


def test_of_more_than_fits_the_nearest_is_kept(pyramid, noisy, open_progressive):
    operator = pyramid()
    volume = volume_of(noisy((1, 160, 160)))
    progressive = open_progressive(operator, volume, memory=11 * 4096, tile=32)
    whole_plane(progressive, 0, center=(80.0, 80.0))
    finish(progressive)
    expected = np.zeros((5, 5), bool)
    expected[1:4, 1:4] = True
    np.testing.assert_array_equal(shown(progressive), expected)
    assert len(operator.shapes) == 9


def test_coarser_levels_show_means_of_denoised_tiles(pyramid, noisy, open_progressive):
    fine = noisy((2, 150, 130))
    levels = [fine]
    for _ in range(2):
        levels.append(halved(levels[-1]))
    operator = pyramid()
    volume = volume_of(*levels, noisy((1, 19, 17)))
    progressive = open_progressive(operator, volume, tile=64)
    assert [level.shape for level in progressive.levels] == [
        level.shape for level in volume.levels
    ]
    np.testing.assert_array_equal(progressive.levels[2][1], levels[2][1])
    progressive.want((1,), (slice(0, 64), slice(64, 128)), level=2)
    finish(progressive)
    assert len(operator.shapes) == 1
    done = denoise_region(operator, volume, everything(volume))
    for number in (1, 2):
        done = halved(done)
        shown, source = progressive.levels[number], levels[number]
        here = np.s_[: 64 >> number, 64 >> number : 128 >> number]
        np.testing.assert_allclose(shown[1][here], done[1][here], rtol=1e-5)
        np.testing.assert_array_equal(shown[0], source[0])
        below = np.s_[64 >> number :]
        np.testing.assert_array_equal(shown[1][below], source[1][below])
    whole_plane(progressive, 1, level=1)
    finish(progressive)
    np.testing.assert_allclose(progressive.levels[2][1], done[1], rtol=1e-5)
    # A level with fewer planes is no mean of tiles: it stays the source's.
    progressive.want((0,), (slice(0, 150), slice(0, 130)), level=3)
    assert progressive.pending == 0
    np.testing.assert_array_equal(progressive.levels[3][0], volume.levels[3][0])


@pytest.mark.parametrize("floor", [False, True])
def test_coarse_shapes_of_others(floor, pyramid, noisy, open_progressive):
    fine = noisy((1, 101, 99))
    coarse = halved(halved(fine))
    coarse = coarse[:, : 101 // 4, : 99 // 4] if floor else coarse
    volume = volume_of(fine, coarse)
    progressive = open_progressive(pyramid(), volume, tile=32)
    whole_plane(progressive, 0, level=1)
    finish(progressive)
    done = halved(halved(denoise_region(pyramid(), volume, everything(volume))))
    shown = progressive.levels[1][0]
    assert shown.shape == coarse.shape[1:]
    np.testing.assert_allclose(
        shown, done[0, : shown.shape[0], : shown.shape[1]], rtol=1e-5
    )


def test_large_images_get_a_pyramid(pyramid, noisy, monkeypatch, open_progressive):
    monkeypatch.setattr(levels_of, "LARGEST_SIDE", 64)
    monkeypatch.setattr(levels_of, "SMALLEST_SIDE", 8)
    counts = noisy((3, 201, 2, 130))
    volume = volume_of(counts, axes="ZYCX")
    progressive = open_progressive(pyramid(n_channels=2), volume, tile=64)
    assert [level.shape for level in progressive.levels] == [
        (3, 201, 2, 130),
        (3, 101, 2, 65),
        (3, 51, 2, 33),
    ]
    by_channel = np.moveaxis(counts, 2, 1).astype(np.float32)
    coarse = halved(halved(by_channel))
    np.testing.assert_allclose(progressive.levels[2][1, :, 1], coarse[1, 1], rtol=1e-6)
    part = progressive.levels[1][2, 30:40, 0, 60:]
    np.testing.assert_allclose(part, halved(by_channel)[2, 0, 30:40, 60:], rtol=1e-6)
    assert len(progressive.denoised) == 3
    assert progressive.denoised[2].shape == (3, 51, 2, 33)
    flat = open_progressive(pyramid(), volume_of(noisy((65, 33)), axes="YX"))
    assert flat.levels[-1].shape == (5, 3)


def test_news_are_throttled_and_complete(pyramid, noisy, open_progressive):
    told = []
    progressive = open_progressive(pyramid(), volume_of(noisy((1, 320, 320))), tile=32)
    progressive.on_ready = lambda: told.append((time.monotonic(), progressive.pending))
    whole_plane(progressive, 0)
    finish(progressive)
    eventually(lambda: told and told[-1][1] == 0)
    times = [at for at, _ in told]
    gaps = np.diff(times[:-1])
    assert (gaps > 0.19).all()
    assert len(told) <= 5 * (times[-1] - times[0]) + 3


def test_a_failure_is_told_and_survived(pyramid, noisy, open_progressive):
    class Failing(pyramid):
        def core(self, padded, halo):
            if padded.mean() > 1000:
                msg = "the device fell off the bus"
                raise RuntimeError(msg)
            return super().core(padded, halo)

    errors = []
    counts = noisy((2, 64, 64))
    counts[0] += 5000
    progressive = open_progressive(
        Failing(), volume_of(counts), tile=32, on_error=errors.append
    )
    whole_plane(progressive, 0)
    finish(progressive)
    eventually(lambda: errors)
    assert len(errors) == 1  # not once a tile
    assert "bus" in str(progressive.error)
    assert errors[0].__traceback__ is None
    np.testing.assert_array_equal(progressive.levels[0][0], counts[0])
    whole_plane(progressive, 1)
    finish(progressive)
    assert (progressive.levels[0][1] != counts[1]).mean() > 0.9


def test_a_bad_pixel_spoils_its_tiles_only(pyramid, noisy, open_progressive):
    errors = []
    counts = noisy((1, 128, 128)).astype(np.float32)
    counts[0, 30, 30] = np.nan
    progressive = open_progressive(
        pyramid(), volume_of(counts), tile=32, on_error=errors.append
    )
    whole_plane(progressive, 0)
    finish(progressive)
    eventually(lambda: len(errors) == 4)
    assert "nan" in str(errors[0])
    assert (progressive.levels[0][0, 64:] != counts[0, 64:]).mean() > 0.9


def test_no_memory_is_told(pyramid, noisy, open_progressive):
    progressive = open_progressive(
        pyramid(most_pixels=1), volume_of(noisy((1, 64, 64))), tile=32
    )
    whole_plane(progressive, 0)
    finish(progressive)
    assert isinstance(progressive.error, MemoryError)


def test_a_file_deleted_meanwhile(tmp_path, pyramid, noisy, open_progressive):
    path = tmp_path / "a.zarr"
    counts = noisy((3, 64, 64))
    zarr.create_array(path, data=counts, chunks=(1, 32, 32))
    volume = volume_of(zarr.open_array(path, mode="r"), source=str(path))
    errors = []
    progressive = open_progressive(pyramid(), volume, tile=32, on_error=errors.append)
    whole_plane(progressive, 0)
    finish(progressive)
    before = progressive.levels[0][0]
    shutil.move(path, tmp_path / "elsewhere.zarr")
    whole_plane(progressive, 1)
    finish(progressive)
    assert np.isnan(progressive.levels[0][2]).all()
    np.testing.assert_array_equal(progressive.levels[0][0], before)
    eventually(lambda: len(errors) == 2)
    for error in errors:
        assert isinstance(error, ImageNotFoundError)
        assert str(path) in str(error)
    shutil.move(tmp_path / "elsewhere.zarr", path)
    whole_plane(progressive, 1)
    finish(progressive)
    assert (progressive.levels[0][1] != counts[1]).mean() > 0.9
    np.testing.assert_array_equal(progressive.levels[0][2], counts[2])


def test_noisy_planes_are_read_once(pyramid, noisy, open_progressive):
    source = Slow(noisy((3, 64, 96)))
    progressive = open_progressive(pyramid(), volume_of(source))
    level = progressive.levels[0]
    level[1, 10:20, 30:40]
    assert source.read == [1]
    level[1]
    level[1, 5:]
    level[1, :, 90:]
    assert len(source.read) == 2


@pytest.mark.parametrize("when", ["before", "while working", "after"])
def test_close_ends_the_thread_and_frees_the_model(when, pyramid, noisy):
    gate = Gate(pyramid())
    model = weakref.ref(gate)
    progressive = Progressive(gate, volume_of(noisy((1, 96, 96))), tile=32)
    if when != "before":
        whole_plane(progressive, 0)
        assert gate.started.wait(20)
    gate.open.set()
    if when == "after":
        finish(progressive)
    del gate
    progressive.close()
    assert progressive.join(10)
    gc.collect()
    assert model() is None
    assert progressive.nbytes == 0
    whole_plane(progressive, 0)
    assert progressive.pending == 0
    assert not progressive.is_running
    assert progressive.levels[0][0].shape == (96, 96)
    with pytest.raises(ModelError, match="closed"):
        np.asarray(progressive.levels[0])
    progressive.close()


def test_a_failure_keeps_no_model(pyramid, noisy):
    class Failing(pyramid):
        def core(self, padded, halo):
            msg = "no"
            raise ValueError(msg)

    operator = Failing()
    model = weakref.ref(operator)
    progressive = Progressive(operator, volume_of(noisy((1, 32, 32))))
    whole_plane(progressive, 0)
    finish(progressive)
    eventually(lambda: progressive.error is not None)
    del operator
    progressive.close()
    assert progressive.join(10)
    gc.collect()
    assert model() is None


def test_the_thread_ends_without_work_and_starts_again(
    pyramid, noisy, monkeypatch, open_progressive
):
    monkeypatch.setattr("napari_blindsound.inference.progressive.IDLE_SECONDS", 0.01)
    operator = pyramid()
    progressive = open_progressive(operator, volume_of(noisy((3, 32, 32))))
    assert not progressive.is_running
    for number in range(3):
        whole_plane(progressive, number)
        finish(progressive)
        eventually(lambda: not progressive.is_running)
    assert len(operator.shapes) == 3
    assert threading.get_ident() not in operator.threads
    assert THREAD not in [thread.name for thread in threading.enumerate()]


def test_one_core_is_left_to_others():
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    try:
        found = {}

        def work():
            leave_a_core()
            torch.ones(64, 64) @ torch.ones(64, 64)
            found["here"] = torch.get_num_threads()
            other = threading.Thread(
                target=lambda: found.update(later=torch.get_num_threads())
            )
            other.start()
            other.join()

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        assert found == {"here": 3, "later": 4}
        assert torch.get_num_threads() == 4
    finally:
        torch.set_num_threads(before)


def test_wrong_channels_are_refused(pyramid, noisy):
    with pytest.raises(ModelMismatchError):
        Progressive(pyramid(n_channels=2), volume_of(noisy((1, 32, 32))))


def test_no_torch_is_imported(run):
    assert run(
        "import json, sys\n"
        "import napari_blindsound.inference.progressive\n"
        "print(json.dumps('torch' not in sys.modules))"
    )
