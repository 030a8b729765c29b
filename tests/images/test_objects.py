from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
import zarr

from napari_blindsound.errors import (
    AxesError,
    DataError,
    ImageFormatError,
)
from napari_blindsound.images.open import open_volume


def everything(volume):
    return volume.read(tuple(slice(0, n) for n in volume.shape))


def test_numpy(hyperstack):
    volume = open_volume(hyperstack, axes="tzcyx", name="cells")
    assert volume.levels[0] is hyperstack
    assert volume.axes.names == "TZCYX"
    assert volume.name == "cells"
    assert volume.source is None
    assert open_volume(hyperstack[0, 0, 0]).axes.names == "YX"
    with pytest.raises(AxesError, match=r"the array has shape .* does not say"):
        open_volume(hyperstack)


def test_dask_stays_dask(hyperstack):
    lazy = da.from_array(hyperstack, chunks=(1, 1, 1, 30, 45))
    volume = open_volume(lazy, axes="TZCYX")
    assert volume.levels[0] is lazy
    assert isinstance(volume.select(C=0).levels[0], da.Array)
    assert np.array_equal(everything(volume), hyperstack)


def test_nothing_is_computed_on_opening():
    def fail(block):
        message = "computed"
        raise AssertionError(message)

    lazy = da.zeros((8, 64, 64), chunks=(1, 64, 64)).map_blocks(
        fail, dtype=np.float32, meta=np.empty((0, 0, 0), np.float32)
    )
    assert open_volume(lazy, axes="TYX").select(T=slice(0, 3)).shape == (3, 64, 64)


def test_zarr_arrays_name_their_dimensions(rng):
    stored = zarr.create_array(
        zarr.storage.MemoryStore(),
        data=rng.random((3, 8, 9)),
        dimension_names=("z", "y", "x"),
    )
    assert open_volume(stored).axes.names == "ZYX"
    assert open_volume(stored, axes="TYX").axes.names == "TYX"


def test_xarray_names_axes_and_places_pixels(rng):
    xarray = pytest.importorskip("xarray")
    array = xarray.DataArray(
        rng.random((3, 8, 9)),
        dims=("time", "y", "x"),
        coords={
            "time": [0.0, 1.0, 5.0],
            "y": ("y", 2.0 + 0.5 * np.arange(8), {"units": "um"}),
        },
        name="cells",
    )
    for stored in (array, array.chunk({"time": 1})):
        volume = open_volume(stored)
        assert volume.name == "cells"
        assert volume.axes.names == "TYX"
        assert volume.axes[0].scale == 1.0  # uneven
        assert volume.axes[1].scale == pytest.approx(0.5)
        assert volume.axes[1].unit == "micrometer"
        assert volume.axes[1].translate == 2.0
        assert volume.axes[2].scale == 1.0
        assert np.array_equal(everything(volume), array.to_numpy())
        last = volume.select(T=-1, Y=slice(2, 5))
        assert np.array_equal(everything(last), array.to_numpy()[-1, 2:5])
    with pytest.raises(AxesError, match="does not say"):
        open_volume(array.rename({"time": "phase"}))


def test_volumes_come_back_as_they_are(hyperstack):
    volume = open_volume(hyperstack, axes="TZCYX", scale={"Z": 0.5}, unit={"Z": "um"})
    assert open_volume(volume) is volume
    again = open_volume(volume, axes="ZTCYX", scale={"T": 9.0}, name="other")
    assert again.levels is volume.levels
    assert again.axes.names == "ZTCYX"
    assert (again.axes[0].scale, again.axes[0].unit) == (0.5, "micrometer")
    assert again.axes[1].scale == 9.0
    assert again.name == "other"


@pytest.mark.parametrize("thing", [3, None, {"a": 1}, object(), [[1, 2], [3, 4]]])
def test_what_is_no_image_is_refused(thing):
    with pytest.raises(ImageFormatError, match=r"(cannot be made of|must hold paths)"):
        open_volume(thing)


@pytest.mark.parametrize(
    ("array", "error"),
    [
        (np.zeros(5), DataError),
        (np.zeros((4, 4), complex), DataError),
        (np.zeros((4, 4), object), DataError),
        (np.zeros((4, 0)), DataError),
        (np.zeros((2, 2, 2, 2, 2, 2)), AxesError),
    ],
)
def test_bad_arrays_are_refused(array, error):
    with pytest.raises(error):
        open_volume(array)


@pytest.mark.parametrize("axes", ["YX", "TTYX", "TZQX", "TZCT", "TZCY"])
def test_bad_axes_are_refused(axes):
    with pytest.raises(AxesError):
        open_volume(np.zeros((2, 3, 4, 5)), axes=axes)


def test_there_is_nothing_to_choose_from_an_array():
    with pytest.raises(ImageFormatError, match="holds 1 image, none of them number 1"):
        open_volume(np.zeros((4, 4)), image=1)
