from __future__ import annotations

import numpy as np
import pytest

from napari_blindsound.errors import DataError, ModelMismatchError
from napari_blindsound.images.axes import Axes
from napari_blindsound.images.context import (
    NO_CONTEXT,
    Context,
    center_first,
    read_around,
)
from napari_blindsound.images.volume import Volume


def numbered(shape: tuple[int, ...], axes: str, along: str = "Z") -> Volume:
    """Every pixel has the number of its plane along an axis."""
    at = axes.index(along)
    sizes = [1] * len(shape)
    sizes[at] = shape[at]
    planes = np.arange(shape[at], dtype=np.uint16).reshape(sizes)
    return Volume((np.broadcast_to(planes, shape).copy(),), Axes.parse(axes), "n")


def plane(volume: Volume, axis: str, at: int) -> tuple[slice, ...]:
    return tuple(
        slice(at, at + 1) if a.name == axis else slice(0, n)
        for a, n in zip(volume.axes, volume.shape, strict=True)
    )


@pytest.mark.parametrize("planes", [1, 2, 3])
@pytest.mark.parametrize("size", [4, 5, 9])
def test_no_plane_is_its_own_neighbor(planes, size):
    volume, context = numbered((size, 6, 5), "ZYX"), Context("Z", planes)
    for at in range(size):
        region = plane(volume, "Z", at)
        seen = read_around(volume, region, context)[:, 0, 0, 0].tolist()
        assert seen[planes] == at
        assert at not in seen[:planes] + seen[planes + 1 :]
        if planes <= at < size - planes:
            assert seen == list(range(at - planes, at + planes + 1))


def test_one_neighbor_is_reflected_at_the_ends():
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 99, (4, 6, 5))
    volume = Volume((pixels,), Axes.parse("TYX"), "t")
    whole = tuple(slice(0, n) for n in pixels.shape)
    found = Context("T", 1).read(volume, whole, (0, 2, 2))
    expected = np.pad(pixels, ((1, 1), (2, 2), (2, 2)), mode="reflect")
    assert np.array_equal(found, expected)


@pytest.mark.parametrize(
    ("axes", "shape", "axis"),
    [
        ("ZYX", (5, 6, 7), "Z"),
        ("TZCYX", (2, 5, 2, 6, 7), "Z"),
        ("TZCYX", (5, 2, 2, 6, 7), "T"),
        ("YXZ", (6, 7, 5), "Z"),
        ("CZYX", (2, 5, 6, 7), "Z"),
    ],
)
def test_windows_are_planes_among_their_neighbors(axes, shape, axis):
    rng = np.random.default_rng(0)
    volume = Volume((rng.integers(0, 999, shape),), Axes.parse(axes), "v")
    context = Context(axis, 1)
    region = tuple(slice(0, n) for n in shape)
    lead = [n for name, n in zip(axes, shape, strict=True) if name in "TZ"]
    planes = volume.axes.as_planes(context.read(volume, region))
    windows = context.windows(planes, lead, axes)
    for number, one in enumerate(volume.planes()):
        expected = read_around(volume, one, context)
        assert np.array_equal(windows[number], expected.reshape(windows[number].shape))


def test_windows_of_one_stack_are_a_view():
    volume = numbered((8, 16, 16), "ZYX")
    region = tuple(slice(0, n) for n in volume.shape)
    context = Context("Z", 2)
    planes = volume.axes.as_planes(context.read(volume, region))
    windows = context.windows(planes, [8], "ZYX")
    assert windows.shape == (8, 5, 16, 16)
    assert np.shares_memory(windows, planes)


def test_networks_get_the_plane_before_its_neighbors():
    windows = np.arange(5 * 2).reshape(1, 5, 2, 1, 1)
    assert center_first(windows, 2).ravel().tolist() == [4, 5, 0, 1, 2, 3, 6, 7, 8, 9]
    assert center_first(windows[:, :1], 0).ravel().tolist() == [0, 1]


def test_names_and_words():
    assert NO_CONTEXT.name == "none"
    assert Context("T", 2).name == "T2"
    assert Context("Z", 1).words == "1 neighboring plane along Z on each side"


@pytest.mark.parametrize(
    ("shape", "axes"), [((8, 8), "YX"), ((1, 8, 8), "ZYX"), ((5, 8, 8), "TYX")]
)
def test_an_image_without_neighbors_is_refused(shape, axes):
    volume = Volume((np.zeros(shape, np.uint8),), Axes.parse(axes), "flat")
    with pytest.raises(ModelMismatchError, match="stack of at least 2 planes along Z"):
        Context("Z", 1).check(volume)
    NO_CONTEXT.check(volume)


def test_what_is_no_number_in_a_neighbor_is_refused_with_its_place():
    pixels = np.zeros((5, 8, 8), np.float32)
    pixels[3, 1, 2] = np.nan
    volume = Volume((pixels,), Axes.parse("ZYX"), "bad")
    with pytest.raises(DataError, match="Z=3, Y=1, X=2"):
        read_around(volume, plane(volume, "Z", 4), Context("Z", 1))
    read_around(volume, plane(volume, "Z", 4), NO_CONTEXT)
