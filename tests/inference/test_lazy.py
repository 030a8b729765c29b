from __future__ import annotations

import os
import sys
import time

import cloudpickle
import dask.array as da
import numpy as np
import pytest
import zarr
from distributed import Client, LocalCluster

from napari_blindsound.errors import ModelMismatchError
from napari_blindsound.images.axes import Axes
from napari_blindsound.images.volume import Volume
from napari_blindsound.inference.lazy import lazy
from napari_blindsound.inference.tiling import denoise_region


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


def test_under_distributed_with_processes(tmp_path, pyramid, noisy):
    counts = noisy((3, 60, 50))
    volume = volume_of(stored(tmp_path / "a.zarr", counts, (1, 30, 30)), axes="ZYX")
    (array,) = lazy(pyramid(), volume, block=32)
    reference = array.compute(scheduler="synchronous")
    # The workers cannot import this folder; the package itself they can.
    stand_in = sys.modules[pyramid.__module__]
    cloudpickle.register_pickle_by_value(stand_in)
    try:
        with (
            LocalCluster(
                n_workers=2,
                threads_per_worker=1,
                processes=True,
                dashboard_address=":0",
            ) as cluster,
            Client(cluster) as client,
        ):
            done = client.compute(array).result(timeout=60)
    finally:
        cloudpickle.unregister_pickle_by_value(stand_in)
    np.testing.assert_array_equal(done, reference)


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
