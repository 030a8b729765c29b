from __future__ import annotations

from importlib import resources

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tests.networks.filters import member, save

from napari_blindsound.errors import ModelError
from napari_blindsound.images.axes import Axes
from napari_blindsound.images.context import center_first
from napari_blindsound.images.phantom import phantom
from napari_blindsound.images.volume import Volume
from napari_blindsound.networks import family as shipped
from napari_blindsound.networks.blind_spot import BlindSpotNet
from napari_blindsound.networks.family import family
from napari_blindsound.networks.unet import UNet
from napari_blindsound.networks.unet3d import UNet3d
from napari_blindsound.training.preprocessing import Preprocessing

MEMBERS, COMPLAINTS = family()


def test_all_that_is_shipped_is_whole_and_small():
    assert COMPLAINTS == []
    assert 8 in {made.width for made in MEMBERS}
    for made in MEMBERS:
        beside = f"_neighbors{made.neighbors}" if made.neighbors else ""
        assert made.name == f"width{made.width}{beside}"
        assert made.depth == 3
        assert all(w.dtype == torch.float32 for w in made.weights.values())
    files = [f for f in resources.files(shipped).iterdir() if f.is_file()]
    assert any(file.name == "README.md" for file in files)
    sizes = [len(f.read_bytes()) for f in files if f.name.endswith(".safetensors")]
    assert sum(sizes) <= 2e6


@pytest.mark.parametrize(
    ("made", "kind"),
    [
        pytest.param(made, kind, id=f"{made.name}-{kind}")
        for made in MEMBERS
        for kind in ("2d", "zstack", "timelapse")
        if kind != "2d" or made.inputs == 1
    ],
)
def test_denoises_what_it_never_saw(made, kind):
    recorded = phantom(kind, size=192, seed=77)
    planes = recorded.noisy.reshape(-1, *recorded.noisy.shape[-2:])
    at, beside = len(planes) // 2, made.neighbors
    clean, noisy = recorded.clean.reshape(planes.shape)[at], planes[at]
    image = Volume((noisy,), Axes.parse("YX"), kind)
    fitted = Preprocessing.fit([image])
    seen = planes[at - beside : at + beside + 1, None]
    normalized = torch.from_numpy(center_first(fitted.normalize(seen), beside))[None]
    denoised = fitted.restore(made.network()(normalized)[0].numpy())[0]
    before, after = (np.mean((im - clean) ** 2) for im in (noisy, denoised))
    assert 10 * np.log10(before / after) > 5
    assert abs(denoised.mean() - clean.mean()) < 0.03 * clean.std() + 1


def test_further_inputs_have_no_say_and_further_outputs_little():
    made = member()
    network = UNet(3, 2, width=4, depth=2)
    before = network.last[2].weight[1].clone()
    made.give(network)
    seen = torch.rand(2, 3, 32, 32)
    with torch.inference_mode():
        found = network(seen)
        expected = made.network()(seen[:, :1])
    torch.testing.assert_close(found[:, :1], expected)
    torch.testing.assert_close(network.last[2].weight[1], 0.1 * before)
    assert network.head[0].weight.is_contiguous(memory_format=torch.channels_last)
    assert all(weight.requires_grad for weight in network.parameters())


@pytest.mark.parametrize("around", [1, 2, 3])
def test_neighbors_are_the_nearest_wherever_there_are_more(around):
    made = member(neighbors=1)
    assert (made.inputs, made.neighbors) == (3, 1)
    network = UNet(2 * around + 1, 1, width=4, depth=2)
    made.give(network)
    window = np.random.default_rng(0).random((2 * around + 1, 1, 32, 32), np.float32)
    seen = torch.from_numpy(center_first(window, around))[None]
    near = torch.from_numpy(center_first(window[around - 1 : around + 2], 1))[None]
    with torch.inference_mode():
        found, expected = network(seen), made.network()(near)
        far = network(seen * (torch.arange(len(window)) == 0).view(1, -1, 1, 1))
    torch.testing.assert_close(found, expected)
    assert not torch.allclose(found, far)
    assert (network.up_path[-1].conv_1.weight[:2, -len(window) :] != 0).sum() == 54


@pytest.mark.parametrize("inputs", [1, 2, 4])
def test_neighbors_need_as_many(inputs):
    made, network = member(neighbors=1), UNet(inputs, 1, width=4, depth=2)
    assert not made.fits(network)
    assert made.known(inputs) == []
    with pytest.raises(ModelError, match="that takes 3 planes"):
        made.give(network)


def test_further_inputs_can_learn():
    network = UNet(3, 1, width=4, depth=2)
    member().give(network)
    network(torch.rand(1, 3, 32, 32)).sum().backward()
    skip = network.up_path[-1].conv_1.weight
    assert (skip.grad[:2, -2:] != 0).all()


@pytest.mark.parametrize(
    "network",
    [
        UNet(1, 1, width=5, depth=2),
        UNet(1, 1, width=4, depth=3),
        UNet3d(1, 1, planes=1, width=4, depth=2),
        BlindSpotNet(1, 1, width=4, blocks=2),
    ],
    ids=["wider", "deeper", "3d", "another"],
)
def test_what_does_not_fit_is_left_alone(network):
    before = {name: w.clone() for name, w in network.state_dict().items()}
    assert not member().fits(network)
    with pytest.raises(ModelError, match="width 4 and depth 2"):
        member().give(network)
    after = network.state_dict()
    assert all(torch.equal(after[name], w) for name, w in before.items())


def test_a_member_leaves_others_random_numbers_alone():
    made = member()
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    made.network()
    assert torch.equal(torch.rand(3), expected)


def test_reads_a_folder(tmp_path):
    save(member(name="width4"), tmp_path)
    save(member(width=6, name="width6"), tmp_path)
    (tmp_path / "README.md").write_text("a card")
    members, complaints = family(tmp_path)
    assert [(made.width, made.depth) for made in members] == [(4, 2), (6, 2)]
    assert complaints == []


def test_an_empty_folder_has_no_members(tmp_path):
    assert family(tmp_path) == ([], [])


@pytest.mark.parametrize("damage", ["cut", "text", "nan", "other", "missing"])
def test_damaged_files_are_told_of_and_left_out(tmp_path, damage):
    save(member(name="width4"), tmp_path)
    path = save(member(width=6, name="width6"), tmp_path)
    weights = {
        name: w.contiguous().clone() for name, w in member(width=6).weights.items()
    }
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-100])
    elif damage == "text":
        path.write_text("no weights")
    elif damage == "nan":
        weights["last.2.bias"][0] = torch.nan
    elif damage == "missing":
        del weights["last.2.bias"]
    if damage in ("nan", "missing"):
        save_file(weights, path)
    elif damage == "other":
        save_file({"weight": torch.zeros(3)}, path)
    members, (complaint,) = family(tmp_path)
    assert [made.name for made in members] == ["width4"]
    assert "width6.safetensors" in complaint
    assert complaint.endswith("install the package again")
    assert "\n" not in complaint
