from __future__ import annotations

import os
import pickle
import time
from contextlib import contextmanager

import dask
import dask.array as da
import numpy as np
import pytest
import tifffile
import torch
import zarr
from distributed import Client, LocalCluster
from tests.inference.counted import Counted, noted, plus

from napari_blindsound.errors import ModelMismatchError
from napari_blindsound.images.axes import Axes
from napari_blindsound.images.open import open_volume
from napari_blindsound.images.volume import Volume
from napari_blindsound.inference.carried import Carried
from napari_blindsound.inference.denoiser import Denoiser
from napari_blindsound.inference.lazy import lazy
from napari_blindsound.inference.tiling import denoise_region
from napari_blindsound.methods.blind2unblind import Blind2Unblind, Blind2UnblindConfig
from napari_blindsound.training.preprocessing import Preprocessing


def volume_of(*levels, axes="YX", source=None):
    return Volume(levels, Axes.parse(axes), "noisy", source=source)


def stored(path, array, chunks):
    zarr.create_array(path, data=array, chunks=chunks)
    return zarr.open_array(path, mode="r")


def everything(volume):
    return tuple(slice(0, n) for n in volume.shape)


@pytest.mark.parametrize("scheduler", ["synchronous", "threads"])
@pytest.mark.parametrize("axes", ["TCYX", "CYXT", "YTXC"])
def test_lazy_equals_the_whole(scheduler, axes, pyramid, noisy):
    sizes = {"T": 3, "C": 2, "Y": 85, "X": 70}
    volume = volume_of(noisy([sizes[n] for n in axes]), axes=axes)
    operator = pyramid(n_channels=2)
    (array,) = lazy(operator, volume, block=30)
    assert array.shape == volume.shape
    assert array.dtype == np.float32
    block = {"T": 1, "C": 2, "Y": 32, "X": 32}
    assert array.chunksize == tuple(block[n] for n in axes)
    done = array.compute(scheduler=scheduler)
    reference = denoise_region(operator, volume, everything(volume))
    np.testing.assert_allclose(done, reference, rtol=1e-6)


def test_only_what_is_looked_at_is_computed(pyramid, noisy):
    operator = pyramid()
    volume = volume_of(noisy((5, 200, 200)), axes="ZYX")
    (array,) = lazy(operator, volume, block=100)
    array[3, 20:60, 120:180].compute(scheduler="synchronous")
    assert len(operator.shapes) == 1
    array[3].compute(scheduler="synchronous")
    assert len(operator.shapes) == 5


def test_coarser_levels_are_those_of_the_source(tmp_path, pyramid, noisy):
    fine = noisy((2, 64, 96))
    coarse = noisy((2, 32, 48), seed=1)
    levels = (
        stored(tmp_path / "0.zarr", fine, (1, 32, 32)),
        stored(tmp_path / "1.zarr", coarse, (1, 32, 32)),
    )
    arrays = lazy(pyramid(), volume_of(*levels, axes="ZYX"))
    assert [a.shape for a in arrays] == [fine.shape, coarse.shape]
    assert all(a.dtype == np.float32 for a in arrays)
    np.testing.assert_array_equal(arrays[1].compute(), coarse)
    assert arrays[0].name != arrays[1].name


def test_names_follow_model_and_source(tmp_path, pyramid, noisy):
    def name(operator, array, **origin):
        return lazy(operator, volume_of(array, **origin))[0].name

    one, other = noisy((40, 40)), noisy((40, 40), seed=1)
    assert name(pyramid(), one) == name(pyramid(), one.copy())
    assert name(pyramid(), one).startswith("blindsound-pyramid-1-")
    assert name(pyramid(), one) != name(pyramid(revision="2"), one)
    assert name(pyramid(), one) != name(pyramid(), other)
    path = tmp_path / "a.zarr"
    array = stored(path, one, (20, 20))
    first = name(pyramid(), array, source=str(path))
    assert first == name(pyramid(), zarr.open_array(path, mode="r"), source=str(path))
    os.utime(path, (1, 1))
    assert first != name(pyramid(), array, source=str(path))


def test_parts_of_one_file_have_their_own_names(tmp_path, pyramid, noisy):
    path = tmp_path / "a.zarr"
    volume = volume_of(
        stored(path, noisy((4, 40, 40)), (1, 40, 40)), axes="ZYX", source=str(path)
    )
    names = [
        lazy(pyramid(), volume.select(Z=part))[0].name
        for part in (slice(0, 2), slice(0, 2), slice(2, 4))
    ]
    assert names[0] == names[1] != names[2]


@pytest.mark.parametrize(
    ("size", "chunk", "side"),
    [
        (2048, 512, 1024),
        (2100, 512, 1024),  # three blocks either way
        (1100, 1024, 1024),  # two blocks either way
        (300, 300, 300),
        (301, 301, 304),
        (1100, 100, 600),
        (4096, 4096, 1024),
    ],
)
def test_default_blocks_are_even_and_on_chunks(size, chunk, side, pyramid):
    array = da.zeros((size, 8), chunks=(chunk, 8), dtype=np.uint16)
    blocks = lazy(pyramid(), volume_of(array))[0].chunks[0]
    assert blocks[0] == min(side, size)
    assert sum(blocks) == size


def test_one_plane_of_64_000_blocks_is_scheduled_at_once(tmp_path, pyramid):
    class Stub(pyramid):
        def core(self, padded, halo):
            n, c, h, w = padded.shape
            return np.zeros((n, c, h - 2 * halo, w - 2 * halo), np.float32)

    array = zarr.create_array(
        tmp_path / "a.zarr", shape=(16_000, 128, 128), chunks=(1, 64, 64), dtype="u2"
    )
    volume = volume_of(array, axes="ZYX")
    lazy(Stub(), volume, block=64)[0][7].compute()
    start = time.perf_counter()
    (lazily,) = lazy(Stub(revision="2"), volume, block=64)
    plane = lazily[8000].compute()
    seconds = time.perf_counter() - start
    assert lazily.npartitions == 64_000
    assert plane.shape == (128, 128)
    assert seconds < 0.3  # 0.01 on an idle machine


@pytest.fixture
def notes(tmp_path):
    folder = tmp_path / "notes"
    folder.mkdir()
    return folder


@contextmanager
def cluster(workers):
    options = {"threads_per_worker": 2, "processes": True, "dashboard_address": ":0"}
    with (
        LocalCluster(n_workers=workers, **options) as made,
        Client(made) as client,
    ):
        yield client


@contextmanager
def scheduler(kind):
    """Have dask compute by a scheduler, the processes being new ones."""
    if kind == "distributed":
        with cluster(2):
            yield
    else:
        with dask.config.set(scheduler=kind, num_workers=2):
            yield


@pytest.mark.parametrize("kind", ["threads", "processes", "distributed"])
def test_every_scheduler_does_the_same(kind, tmp_path, notes, noisy):
    counts = noisy((6, 90, 70))
    volume = volume_of(stored(tmp_path / "a.zarr", counts, (1, 30, 30)), axes="ZYX")
    (array,) = lazy(Counted(str(notes)), volume, block=30)
    expected = 2.0 * counts + len("counted-1")
    with scheduler(kind):
        np.testing.assert_array_equal(array.compute(), expected)
        part = array.map_blocks(plus, 1, dtype=np.float32)[2:4, 20:40]
        np.testing.assert_array_equal(part.compute(), expected[2:4, 20:40] + 1)
        array.rechunk((2, 45, 70)).to_zarr(str(tmp_path / "out.zarr"))
    np.testing.assert_array_equal(zarr.open_array(tmp_path / "out.zarr")[:], expected)
    unpickled = noted(notes, "unpickled")
    processes = noted(notes, "core")
    # The processes scheduler has new ones for each of the three.
    assert len(processes) == {"threads": 0, "processes": 6, "distributed": 2}[kind]
    assert set(unpickled.values()) <= {1}
    assert processes.keys() <= unpickled.keys()


def test_every_source_travels(tmp_path, notes, noisy):
    counts = noisy((4, 40, 40))
    words = {"photometric": "minisblack", "metadata": {"axes": "TYX"}}
    tifffile.imwrite(tmp_path / "a.tif", counts, **words)
    for number, frame in enumerate(counts):
        tifffile.imwrite(tmp_path / f"t{number}.tif", frame)
    sources = (
        tmp_path / "a.tif",
        tmp_path / "t*.tif",
        da.from_array(counts, chunks=20),
        counts,
    )
    arrays = []
    for source in sources:
        volume = open_volume(source, axes="TYX").select(T=slice(1, 4))
        arrays += lazy(Counted(str(notes)), volume, block=20)
    with scheduler("processes"):
        done = dask.compute(*arrays)
    for found in done:
        np.testing.assert_array_equal(found, 2.0 * counts[1:] + len("counted-1"))
    assert len(noted(notes, "core")) == 2
    assert set(noted(notes, "unpickled").values()) == {1}  # for all four images


def test_copies_of_a_model_take_turns_on_the_device(monkeypatch):
    """A process may hold several, each of another array of the same model."""
    torch.manual_seed(0)
    counts = np.random.default_rng(0).poisson(300, (64, 64)).astype(np.uint16)
    volume = volume_of(counts)
    config = Blind2UnblindConfig(width=4, depth=2)
    networks = [Blind2Unblind(config)]
    model = Denoiser(networks, Preprocessing.fit([volume]), device="cpu")
    busy, most = [], []
    usual = Blind2Unblind.denoise

    def watched(self, noisy, *, halo, output):
        busy.append(self)
        most.append(len(busy))
        time.sleep(0.02)
        done = usual(self, noisy, halo=halo, output=output)
        busy.remove(self)
        return done

    copies = [pickle.loads(pickle.dumps(model)) for _ in range(3)]
    assert len({id(copy.methods[0]) for copy in copies}) == 3
    monkeypatch.setattr(Blind2Unblind, "denoise", watched)
    arrays = [lazy(copy, volume, block=32)[0] for copy in copies]
    dask.compute(*[array + i for i, array in enumerate(arrays)], scheduler="threads")
    assert len(most) >= 4
    assert max(most) == 1


def test_what_arrives_is_unpickled_once_and_few_are_kept(notes):
    model = Counted(str(notes))
    packed = pickle.dumps(Carried("one", Carried("two", model)))
    first, second = pickle.loads(packed), pickle.loads(packed)
    assert first is second
    assert first.value.value is second.value.value is not model
    for number in range(20):
        pickle.loads(pickle.dumps(Carried(f"other {number}", number)))
    assert pickle.loads(packed) is not first


def test_it_composes_with_dask(tmp_path, pyramid, noisy):
    volume = volume_of(noisy((70, 90)))
    (array,) = lazy(pyramid(), volume, block=32)
    whole = array.compute()
    np.testing.assert_allclose((array - 1).max().compute(), whole.max() - 1)
    array.to_zarr(str(tmp_path / "out.zarr"))
    np.testing.assert_array_equal(zarr.open_array(tmp_path / "out.zarr")[:], whole)


def test_what_cannot_be_is_refused(pyramid, noisy):
    volume = volume_of(noisy((2, 30, 30)), axes="CYX")
    with pytest.raises(ModelMismatchError, match="select"):
        lazy(pyramid(), volume)
    with pytest.raises(ValueError, match="above zero"):
        lazy(pyramid(n_channels=2), volume, block=0)
