from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_blindsound.inference.shards import Shards, output_order, pixels_of


@settings(deadline=None)
@given(data=st.data())
def test_shards_cover_everything_once_and_are_made_of_chunks(data):
    names = output_order(data.draw(st.sampled_from(["YX", "XYT", "ZYXC", "TZCYX"])))
    shape = tuple(data.draw(st.integers(1, 40 if n in "YX" else 6)) for n in names)
    shards = Shards(names, shape, chunk=8, side=16)
    covered = np.zeros(shape, int)
    count = 0
    for region in shards:
        covered[region] += 1
        count += 1
    assert (covered == 1).all()
    assert count == len(shards)
    pairs = zip(shards.shard_shape, shards.chunk_shape, strict=True)
    assert all(shard % chunk == 0 for shard, chunk in pairs)


@pytest.mark.parametrize(
    ("shape", "shard"),
    [
        ((16, 2048, 2048), (1, 2048, 2048)),
        ((4000, 256, 256), (64, 256, 256)),
        ((3, 20_000, 30_000), (1, 2048, 2048)),
        ((1, 2100, 300), (1, 1536, 300)),  # two, rather than 2048 and a sliver
    ],
)
def test_a_shard_is_as_large_whatever_the_planes(shape, shard):
    assert Shards("ZYX", shape, chunk=512, side=2048).shard_shape == shard


def test_all_channels_share_a_shard():
    shards = Shards("TCZYX", (5, 3, 4, 100, 100), chunk=64, side=256)
    assert shards.chunk_shape == (1, 1, 1, 64, 64)
    assert shards.shard_shape == (1, 3, 1, 128, 128)
    assert pixels_of(next(iter(shards))) == 3 * 100 * 100


def test_a_million_shards_are_not_listed():
    shards = Shards("TZYX", (1000, 1000, 2048, 2048), chunk=512, side=2048)
    assert len(shards) == 1_000_000
    assert next(iter(shards))[0] == slice(0, 1)


@settings(deadline=None, max_examples=50)
@given(data=st.data())
def test_shards_are_found_by_number_and_by_what_they_meet(data):
    names = output_order(data.draw(st.sampled_from(["YX", "XYT", "ZYXC", "TZCYX"])))
    shape = tuple(data.draw(st.integers(1, 40 if n in "YX" else 6)) for n in names)
    shards = Shards(names, shape, chunk=8, side=16)
    regions = list(shards)
    assert [shards[number] for number in range(len(shards))] == regions
    assert [shards.number(region) for region in regions] == list(range(len(shards)))
    spans = [sorted(data.draw(st.tuples(*[st.integers(0, n)] * 2))) for n in shape]
    box = tuple(slice(low, max(high, low + 1)) for low, high in spans)
    cut = tuple(
        slice(min(b.start, n - 1), min(b.stop, n))
        for b, n in zip(box, shape, strict=True)
    )
    met = [
        number
        for number, region in enumerate(regions)
        if all(
            part.start < end.stop and end.start < part.stop
            for part, end in zip(region, cut, strict=True)
        )
    ]
    assert list(shards.meeting(cut)) == met


@pytest.mark.parametrize("number", [-1, 6])
def test_there_is_no_other_shard(number):
    with pytest.raises(IndexError):
        Shards("YX", (40, 30), chunk=8, side=16)[number]
