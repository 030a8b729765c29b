"""What first weights are taught with: planes beside one another, and a few steps."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from napari_blindsound.networks.family import family

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def moments(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    import moments

    return moments


@pytest.fixture
def pretrain(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    import pretrain

    return pretrain


@pytest.fixture
def scenes():
    """Two soft scenes."""
    light = torch.rand(2, 1, 192, 192, generator=torch.Generator().manual_seed(0))
    for _ in range(4):
        light = torch.nn.functional.avg_pool2d(light, 5, 1, 2)
    return (light - light.min()) / (light.max() - light.min())


def drawn(moments, scenes, kind: str, neighbors: int = 1) -> torch.Tensor:
    random = torch.Generator().manual_seed(1)
    return moments.Moments(scenes, neighbors, 32, random).draw(6, kind)


@pytest.mark.parametrize("neighbors", [1, 2])
def test_planes_follow_one_another_the_middle_one_first(moments, scenes, neighbors):
    for kind in ("", *moments.KINDS):
        light = drawn(moments, scenes, kind, neighbors)
        assert light.shape == (6, 2 * neighbors + 1, 32, 32)
        assert light.isfinite().all()
        assert light.min() >= 0


def test_what_is_farther_has_moved_more(moments, scenes):
    made = moments.Moments(scenes, 2, 32, torch.Generator().manual_seed(1))
    moves = made.moves(400, 6.0)
    assert moves[:, 0].abs().max() == 0
    lengths = moves.norm(dim=-1).mean(0)
    assert lengths[[2, 3]].tolist() == pytest.approx([2, 2], abs=0.4)
    assert lengths[[1, 4]].tolist() == pytest.approx([4, 4], abs=0.8)
    is_steady = (moves[:, 2] + moves[:, 3]).norm(dim=-1) < 1e-3
    assert 0.4 < is_steady.float().mean() < 0.6


def test_what_is_still_is_alike_and_what_is_strange_is_not(moments, scenes):
    away = {}
    for kind in moments.KINDS:
        light = drawn(moments, scenes, kind)
        light = light / light.mean((2, 3), keepdim=True)
        away[kind] = float((light[:, 1:] - light[:, :1]).square().mean())
    assert away["still"] < 1e-6
    assert min(away["shift"], away["flow"], away["stack"]) > 1e-6
    assert max(away["shift"], away["flow"]) < away["strange"]


def test_blur_spreads_light_and_keeps_it(moments):
    light = torch.zeros(1, 3, 41, 41)
    light[..., 20, 20] = 1
    found = moments.blurred(light, torch.tensor([[0.0, 1.0, 2.0]]))[0]
    torch.testing.assert_close(found.sum((1, 2)), torch.ones(3), rtol=1e-3, atol=0)
    torch.testing.assert_close(found[0], light[0, 0])
    across = torch.arange(-20.0, 21) ** 2
    assert (found.sum(1) * across).sum(1).sqrt().tolist() == pytest.approx(
        [0, 1, 2], abs=0.02
    )


def test_a_course_with_neighbors_goes_on_and_leaves_a_member(
    pretrain, scenes, tmp_path, monkeypatch, capsys
):
    words = f"--steps 2 --neighbors 1 --begin width8 --work {tmp_path} --out {tmp_path}"
    monkeypatch.setattr(sys, "argv", ["pretrain.py", *words.split()])
    monkeypatch.setattr(pretrain, "pool", lambda *_: scenes)
    monkeypatch.setattr(pretrain, "PATCH", 32)
    threads = torch.get_num_threads()
    try:
        pretrain.main()
    finally:
        torch.set_num_threads(threads)
    (made,), complaints = family(tmp_path)
    assert (made.name, made.inputs, complaints) == ("width8_neighbors1", 3, [])
    (plain,) = (one for one in family()[0] if one.name == "width8")
    kernel, expected = (
        one.weights["head.0.block.0.weight"] for one in (made, plain.averaging())
    )
    assert not torch.equal(kernel, expected)
    torch.testing.assert_close(kernel, expected, rtol=0, atol=0.01)
