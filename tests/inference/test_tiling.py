from __future__ import annotations

import itertools
import logging
import math
import pickle

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from napari_blindsound.errors import DataError, ModelMismatchError, NotEnoughMemoryError
from napari_blindsound.images.axes import Axes
from napari_blindsound.images.volume import Volume
from napari_blindsound.inference import tiling
from napari_blindsound.inference.tiling import (
    Tiler,
    denoise_region,
    even,
    is_out_of_memory,
    tile_size,
)

# The fixtures below are classes and functions, the same for every example.
FIXTURES = [HealthCheck.function_scoped_fixture]


def volume_of(array, axes="YX"):
    return Volume((array,), Axes.parse(axes), "noisy")


def everything(volume):
    return tuple(slice(0, n) for n in volume.shape)


def expected(operator, volume, denoise_whole):
    """The whole image by hand: planes by numpy, one call a plane."""
    names, array = volume.axes.names, np.asarray(volume.levels[0])
    order = [names.index(n) for n in names if n in "TZ"]
    order += [names.index(n) for n in "CYX" if n in names]
    moved = array.transpose(order)
    planes = moved.reshape(-1, volume.n_channels, *moved.shape[-2:])
    done = np.stack([denoise_whole(operator, plane[None])[0] for plane in planes])
    return done.reshape(moved.shape).transpose(np.argsort(order))


@settings(deadline=None)
@given(size=st.integers(1, 5000), room=st.integers(-50, 2000), power=st.integers(0, 5))
def test_even_steps_are_aligned_within_room_and_never_leave_a_sliver(size, room, power):
    stride = 2**power
    step = even(size, room, stride)
    pieces = math.ceil(size / step)
    assert step % stride == 0
    assert step <= max(room, stride)
    assert pieces == math.ceil(size / max(stride, room // stride * stride))
    assert step * pieces - size < pieces * stride


@settings(deadline=None)
@given(
    height=st.integers(1, 200),
    width=st.integers(1, 200),
    halo=st.integers(0, 6),
    pixels=st.integers(1, 100_000),
)
def test_tiles_stay_within_their_pixels(height, width, halo, pixels):
    stride, halo = 8, 8 * halo
    tall, wide = tile_size(
        8 * height, 8 * width, halo=halo, stride=stride, pixels=pixels
    )
    assert tall % stride == wide % stride == 0
    least = tall == stride or wide == stride
    assert least or (tall + 2 * halo) * (wide + 2 * halo) <= pixels


def test_an_image_slightly_larger_than_a_tile_is_halved():
    assert tile_size(1032, 1032, halo=8, stride=8, pixels=1040**2) == (520, 1032)


@settings(max_examples=40, deadline=None, suppress_health_check=FIXTURES)
@given(data=st.data())
def test_tiled_equals_whole(data, pyramid, denoise_whole, noisy):
    lead = data.draw(st.sampled_from(["", "T", "Z", "TZ", "ZT"]))
    channels = data.draw(st.sampled_from([None, 1, 2]))
    names = list(lead + "YX" + ("C" if channels else ""))
    names = "".join(data.draw(st.permutations(names)))
    sizes = {"C": channels}
    sizes |= {n: data.draw(st.integers(1, 3), label=n) for n in lead}
    sizes |= {n: data.draw(st.integers(1, 75), label=n) for n in "YX"}
    volume = volume_of(noisy([sizes[n] for n in names]), axes=names)
    operator = pyramid(n_channels=channels or 1)
    budget = data.draw(st.integers(1, 64 * 20_000))
    tiled = denoise_region(
        operator, volume, everything(volume), tiler=Tiler(operator, budget)
    )
    assert tiled.dtype == np.float32
    reference = expected(operator, volume, denoise_whole)
    np.testing.assert_allclose(tiled, reference, rtol=1e-6)


@settings(max_examples=30, deadline=None, suppress_health_check=FIXTURES)
@given(data=st.data())
def test_a_region_is_a_part_of_the_whole(data, pyramid, noisy):
    volume = volume_of(noisy((3, 2, 61, 83)), axes="TCYX")
    operator = pyramid(n_channels=2)
    region = []
    for size in volume.shape:
        start = data.draw(st.integers(0, size - 1))
        region.append(slice(start, data.draw(st.integers(start + 1, size))))
    whole = denoise_region(operator, volume, everything(volume))
    part = denoise_region(operator, volume, tuple(region))
    np.testing.assert_allclose(part, whole[tuple(region)], rtol=1e-6)


def test_large_regions_are_read_in_parts(pyramid, noisy, monkeypatch):
    volume = volume_of(noisy((5, 130, 170)), axes="ZYX")
    operator = pyramid()
    region = (slice(1, 5), slice(3, 129), slice(2, 170))
    at_once = denoise_region(operator, volume, region)
    operator.shapes.clear()
    monkeypatch.setattr(tiling, "READ_PIXELS", 100 * 110)
    in_parts = denoise_region(operator, volume, region)
    assert len(operator.shapes) > 4
    assert max(math.prod(shape) for shape in operator.shapes) <= 100 * 110
    np.testing.assert_array_equal(in_parts, at_once)


def test_small_planes_go_through_together(pyramid, noisy):
    volume = volume_of(noisy((20, 24, 24)), axes="TYX")
    operator = pyramid()
    denoise_region(operator, volume, everything(volume))
    assert operator.shapes == [(20, 1, 56, 56)]


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (MemoryError, ""),
        (torch.OutOfMemoryError, "Allocation on device"),
        (RuntimeError, "DefaultCPUAllocator: can't allocate memory: you tried"),
        (RuntimeError, "not enough memory: you tried to allocate 4 bytes"),
        (RuntimeError, "MPS backend out of memory (MPS allocated: 1 GB)"),
    ],
)
def test_out_of_memory_is_answered_by_smaller_tiles(
    error, message, pyramid, noisy, caplog
):
    volume = volume_of(noisy((6, 90, 70)), axes="TYX")
    reference = denoise_region(pyramid(), volume, everything(volume))
    operator = pyramid(most_pixels=80 * 80, error=error, message=message)
    tiler = Tiler(operator)
    with caplog.at_level(logging.WARNING):
        survived = denoise_region(operator, volume, everything(volume), tiler=tiler)
    np.testing.assert_allclose(survived, reference, rtol=1e-6)
    failed = [n * h * w for n, _, h, w in operator.shapes if n * h * w > 80 * 80]
    assert failed == sorted(set(failed), reverse=True)  # no size is tried twice
    assert len(failed) == caplog.text.count("out of memory") > 0
    operator.shapes.clear()
    denoise_region(operator, volume, everything(volume), tiler=tiler)
    assert max(n * h * w for n, _, h, w in operator.shapes) <= 80 * 80


def test_a_large_allocation_that_really_fails_is_recognized():
    with pytest.raises((RuntimeError, MemoryError)) as failure:
        torch.empty(2**60, dtype=torch.uint8)
    assert is_out_of_memory(failure.value)
    with pytest.raises(MemoryError) as failure:
        np.empty(2**60, np.uint8)
    assert is_out_of_memory(failure.value)


def test_no_memory_at_all_is_told_and_other_errors_pass(pyramid, noisy):
    volume = volume_of(noisy((64, 64)))
    with pytest.raises(NotEnoughMemoryError, match="smallest this model can do"):
        denoise_region(pyramid(most_pixels=10), volume, everything(volume))
    operator = pyramid(most_pixels=10, error=RuntimeError, message="shapes differ")
    with pytest.raises(RuntimeError, match="shapes differ"):
        denoise_region(operator, volume, everything(volume))
    assert len(operator.shapes) == 1


def test_steps_add_up(pyramid, noisy):
    operator = pyramid(most_pixels=60 * 60)
    padded = noisy((3, 1, 64 + 32, 80 + 32))
    out = np.empty((3, 1, 64, 80), np.float32)
    done = list(Tiler(operator).steps(padded, out))
    assert sum(done) == 3 * 64 * 80
    assert len(done) > 3


def test_pixels_that_are_no_numbers_are_named(pyramid, noisy):
    array = noisy((4, 60, 60), dtype=np.float32)
    array[2, 40, 7] = np.nan
    volume = volume_of(array, axes="TYX")
    with pytest.raises(DataError, match="T=2, Y=40, X=7"):
        denoise_region(pyramid(), volume, everything(volume))
    beside = (slice(2, 3), slice(0, 30), slice(0, 30))
    with pytest.raises(DataError, match="T=2, Y=40, X=7"):
        denoise_region(pyramid(), volume, beside)
    far = (slice(0, 2), slice(0, 60), slice(0, 60))
    assert np.isfinite(denoise_region(pyramid(), volume, far)).all()


@pytest.mark.parametrize(("n_channels", "remedy"), [(1, "select"), (3, "train")])
def test_another_number_of_channels_is_refused(n_channels, remedy, pyramid, noisy):
    volume = volume_of(noisy((2, 30, 30)), axes="CYX")
    with pytest.raises(ModelMismatchError, match=remedy):
        denoise_region(pyramid(n_channels), volume, everything(volume))


def test_every_order_of_axes(pyramid, noisy, denoise_whole):
    array = noisy((2, 3, 2, 21, 18))
    operator = pyramid(n_channels=2)
    straight = volume_of(array, axes="TZCYX")
    reference = expected(operator, straight, denoise_whole)
    for order in itertools.islice(itertools.permutations(range(5)), 0, 120, 7):
        volume = volume_of(
            array.transpose(order), axes="".join("TZCYX"[i] for i in order)
        )
        done = denoise_region(operator, volume, everything(volume))
        np.testing.assert_allclose(done, reference.transpose(order), rtol=1e-6)


def test_the_stand_in_notices_a_small_halo_and_a_shifted_grid(pyramid, noisy):
    array = noisy((96, 96))
    volume = volume_of(array)
    reference = denoise_region(pyramid(), volume, everything(volume))
    wrong = pyramid(halo=8)
    tiler = Tiler(wrong, wrong.bytes_per_pixel * 52 * 52)
    tiled = denoise_region(wrong, volume, everything(volume), tiler=tiler)
    assert np.abs(tiled - reference).max() > 1e-3
    shifted = volume_of(array[2:])
    off = denoise_region(pyramid(), shifted, everything(shifted))
    assert np.abs(off[20:] - reference[22:]).max() > 1e-3


def test_the_operator_pickles(pyramid):
    assert pickle.loads(pickle.dumps(pyramid())) == pyramid()
