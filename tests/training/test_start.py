"""What trainings start from, and what they do with a good start."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from tests.networks.filters import BINOMIAL, SHARP, member, save

from napari_blindsound import methods
from napari_blindsound.errors import ModelError
from napari_blindsound.images.axes import Axes
from napari_blindsound.images.phantom import phantom
from napari_blindsound.images.volume import Volume
from napari_blindsound.inference.tiling import denoise_region
from napari_blindsound.methods.base import WarmConfig
from napari_blindsound.methods.blind2unblind import Blind2Unblind, Blind2UnblindConfig
from napari_blindsound.networks.family import family
from napari_blindsound.recipe import Recipe, Training
from napari_blindsound.training import start
from napari_blindsound.training.config import TrainConfig
from napari_blindsound.training.events import Finished, Judged, Progress
from napari_blindsound.training.preprocessing import Preprocessing
from napari_blindsound.training.schedules import care
from napari_blindsound.training.start import begin

SMALL = {"width": 4, "depth": 2, "patch": 32, "batch": 1, "context": "none"}
WARM = [n for n, m in methods.available().items() if issubclass(m.Config, WarmConfig)]


def image(pixels: np.ndarray) -> Volume:
    return Volume((pixels,), Axes.parse("TCYX"[-pixels.ndim :]), "test")


CLEAN = gaussian_filter(phantom("2d", size=192, seed=4).clean, 4.0)
INSIDE = (slice(16, -16),) * 2


@pytest.fixture(scope="module")
def cells() -> Volume:
    """An image that is all the better for being smoothed."""
    noise = np.random.default_rng(0).normal(size=CLEAN.shape)
    return image((CLEAN + 0.5 * CLEAN.std() * noise).astype(np.float32))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A family of a filter that smooths."""
    save(member(BINOMIAL), tmp_path)
    monkeypatch.setattr(start, "family", lambda _: family(tmp_path))
    return tmp_path


def spots() -> np.ndarray:
    """Pixels that nothing tells of, some a million times brighter than others."""
    rng = np.random.default_rng(0)
    return np.exp(6 * rng.normal(size=CLEAN.shape)).astype(np.float32)


def settings(method: str) -> dict:
    if method == "dbsn":
        return {"width": 4, "blocks": 1, "student_width": 4, "student_depth": 2}
    names = methods.find(method).Config.model_fields
    return {name: value for name, value in SMALL.items() if name in names}


def make(volume: Volume, method: str = "blind2unblind", **changes: object) -> Training:
    train = {"steps": 20, "ending": "last", "device": "cpu"}
    chosen = {n: changes.pop(n) for n in ("start", "learning_rate") if n in changes}
    channels = changes.pop("channels", "each")
    return Training(
        [volume],
        Recipe(
            method=method,
            settings={**settings(method), **chosen},
            channels=channels,
            train=TrainConfig(**{**train, **changes}),
        ),
    )


def chosen(volume: Volume, **changes: object):
    length = changes.pop("length", 20)
    fitted = Preprocessing.fit([volume])
    config = Blind2UnblindConfig(**{**SMALL, **changes}).suited(fitted.region())
    method = Blind2Unblind(config, volume.n_channels)
    return begin(method, [volume], fitted, length=length), method


def denoised(training: Training, volume: Volume) -> np.ndarray:
    return training.denoiser()(volume.levels[0])


def weights(training: Training) -> torch.Tensor:
    (method,) = training.denoiser().methods
    return torch.cat([p.detach().ravel() for p in method.parameters()])


def test_a_member_that_knows_the_image_gives_its_weights(cells, folder):
    found, method = chosen(cells)
    assert found.member == method.started_from == "width4"
    assert "starts from weights that synthetic images taught (width4)" in found.words
    expected = member().weights["last.2.weight"]
    torch.testing.assert_close(
        method.network.last[2].weight.data, expected, rtol=1e-3, atol=0
    )


def test_of_several_the_best_is_taken(cells, folder):
    save(member(SHARP, name="width4_a"), folder)
    save(member(BINOMIAL / 2, name="width4_z"), folder)
    assert chosen(cells)[0].member == "width4"


@pytest.mark.parametrize("kernel", [SHARP, 3 * BINOMIAL, 0 * BINOMIAL])
def test_one_that_does_not_is_left(cells, folder, kernel):
    save(member(kernel), folder)
    found, method = chosen(cells)
    assert (found.member, method.started_from) == ("", "")
    assert "starts from random weights" in found.words
    assert "do not surely predict" in found.words


def test_who_wants_it_gets_it(cells, folder):
    save(member(SHARP), folder)
    assert chosen(cells, start="warm")[0].member == "width4"
    found, _ = chosen(cells, start="cold")
    assert (found.words, found.member) == ("", "")


def test_the_choice_is_the_same_each_time(cells, folder):
    assert chosen(cells)[0] == chosen(cells)[0]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"width": 5}, "only for a plain U-Net of width 4 and depth 2"),
        ({"depth": 3}, "only for a plain U-Net of width 4 and depth 2"),
        ({"context": "Z1", "convolutions": "3d"}, "only for a plain U-Net"),
    ],
)
def test_a_network_without_a_member_starts_at_random(cells, folder, changes, reason):
    for wish in ("auto", "warm"):
        found, method = chosen(cells, start=wish, **changes)
        assert found.member == method.started_from == ""
        assert "starts from random weights: there are others" in found.words
        assert reason in found.words


def test_channels_denoised_jointly_start_at_random(cells, folder):
    pixels = np.stack([cells.levels[0]] * 2)
    found, _ = chosen(image(pixels))
    assert not found.member
    assert "channels that are denoised jointly" in found.words


def test_each_channel_has_its_own_start(cells, folder):
    both = image(np.stack([cells.levels[0], spots()]))
    training = make(both)
    assert [found.member for found in training.starts] == ["width4", ""]
    assert training.denoiser().provenance["started_from"] == ["width4", ""]
    training.close()


def shared(sigma: float | tuple[float, float], strength: float = 1.0) -> Volume:
    """Noise that neighbors share."""
    noise = gaussian_filter(np.random.default_rng(0).normal(size=CLEAN.shape), sigma)
    noisy = CLEAN + strength * noise / noise.std() * CLEAN.std()
    return image(noisy.astype(np.float32))


@pytest.mark.parametrize("method", ["blind2unblind", "blind2sound"])
def test_no_training_begins_warm_where_neighbors_on_all_sides_share_noise(
    method, folder
):
    training = make(shared(0.8), method)
    assert min(training.config.hidden) > 1
    assert training.starts[0].member == ""
    assert "neighbors share the noise along rows and" in training.starts[0].words
    training.close()
    forced = make(shared(0.8), method, start="warm")
    assert forced.starts[0].member == "width4"
    forced.close()


def test_first_weights_alone_are_asked_there_what_they_know(folder):
    trained, _ = chosen(shared(0.8, 0.5))
    alone, _ = chosen(shared(0.8, 0.5), length=0)
    assert "hidden pixels" not in trained.words
    assert "hidden pixels of these images" in alone.words


def test_lines_that_share_noise_leave_neighbors_that_do_not(folder):
    found, method = chosen(shared((0.0, 0.8), 0.5))
    assert min(method.config.hidden) == 1 < max(method.config.hidden)
    assert "hidden pixels of these images" in found.words


def test_noise_beyond_what_is_hidden_is_noticed(folder):
    found, method = chosen(shared(1.0), length=0)
    assert max(method.config.hidden) > 1
    assert not found.member


def test_extreme_intensities_are_noticed(cells, folder):
    assert not chosen(image(spots()))[0].member


def test_damaged_and_missing_weights_mean_random_ones(cells, folder):
    path = folder / "width4.safetensors"
    path.write_bytes(path.read_bytes()[:500])
    found, _ = chosen(cells)
    assert not found.member
    assert "width4.safetensors cannot be read" in found.words
    path.unlink()
    training = make(cells)
    assert "this installation has no others" in training.starts[0].words
    assert [type(event) for event in training.run()][-1] is Finished
    training.close()


@pytest.mark.parametrize("method", WARM)
def test_every_method_begins_as_good_as_the_member(method, cells, folder):
    training = make(cells, method, start="warm")
    assert training.starts[0].member == "width4"
    fitted = training.preprocessing
    noisy = torch.from_numpy(fitted.normalize(cells.levels[0][None]))[None]
    expected = fitted.restore(member().network()(noisy)[0].numpy())[0]
    found = denoised(training, cells)
    np.testing.assert_allclose(found[INSIDE], expected[INSIDE], rtol=1e-3)
    assert training.denoiser().provenance["started_from"] == ["width4"]
    for event in training.run():
        assert isinstance(event, Progress | Finished)
    assert np.isfinite(denoised(training, cells)).all()
    training.close()


def test_neighbors_that_tell_nothing_begin_without_a_say(folder):
    volume = movie(40)
    fitted = Preprocessing.fit([volume])
    method = Blind2Unblind(Blind2UnblindConfig(**{**SMALL, "context": "T1"}))
    found = begin(method, [volume], fitted)
    assert found.member == "width4"
    assert "neighboring planes have no say yet" in found.words
    seen = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        found = method.denoise(seen)
        expected = member().network()(seen[:, :1])
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=0)


def movie(move: int, axes: str = "TYX") -> Volume:
    """Planes of one scene that is moved on from each to the next, px."""
    rng = np.random.default_rng(0)
    planes = [np.roll(CLEAN, move * number, axis=1) for number in range(4)]
    noise = 0.5 * CLEAN.std() * rng.normal(size=(4, *CLEAN.shape))
    return Volume((np.float32(planes + noise),), Axes.parse(axes), "movie")


@pytest.mark.parametrize(
    ("context", "words"),
    [
        ("Z1", "(width4_neighbors1), with what the nearest planes tell: they predict"),
        ("Z2", "(width4_neighbors1), with what the nearest planes tell: they predict"),
        ("none", "(width4): they predict"),
    ],
)
def test_planes_are_asked_with_their_neighbors(folder, context, words):
    save(member(SHARP), folder)
    save(member(BINOMIAL, neighbors=1), folder)
    changes = {"context": context, "start": "warm"}
    fitted = Preprocessing.fit([movie(0, "ZYX")])
    method = Blind2Unblind(Blind2UnblindConfig(**{**SMALL, **changes}))
    found = begin(method, [movie(0, "ZYX")], fitted)
    assert words in found.words
    assert found.member in words


@pytest.mark.parametrize("context", ["T1", "T2"])
def test_without_a_member_for_neighbors_their_mean_is_seen(folder, context):
    volume = movie(0)
    method = Blind2Unblind(Blind2UnblindConfig(**{**SMALL, "context": context}))
    assert begin(method, [volume], Preprocessing.fit([volume])).member == "width4_mean1"
    inputs = method.inputs
    near = [0, 1, 2] if inputs == 3 else [0, 2, 3]
    seen = torch.rand(1, inputs, 64, 64)
    mean = (seen[:, near[:1]] * 2 + seen[:, near[1:2]] + seen[:, near[2:]]) / 4
    with torch.inference_mode():
        found, expected = method.denoise(seen), member().network()(mean)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-5)


def test_no_step_at_all_and_neighbors_are_used():
    """With the weights that are shipped, of a movie in which nothing moves."""
    clean = (phantom("2d", size=128, seed=11).clean - 100) / 4
    noisy = np.random.default_rng(0).poisson(clean, (4, *clean.shape))
    volume = Volume((noisy.astype(np.uint16),), Axes.parse("TYX"), "repeats")
    errors = {}
    for context in ("auto", "none"):
        training = Training(
            [volume], Recipe(preset="instant", settings={"context": context})
        )
        list(training.run())
        denoiser = training.denoiser()
        region = tuple(slice(0, size) for size in volume.shape)
        found = denoise_region(denoiser, volume, region)
        errors[context] = ((found - clean) ** 2).mean()
        training.close()
        (chosen,) = denoiser.provenance["started_from"]
        assert (chosen in ("width8", "width16")) == (context == "none")
    assert 10 * np.log10(errors["none"] / errors["auto"]) > 1


def test_cold_is_as_if_there_were_no_family(cells, folder):
    cold = make(cells, start="cold")
    (folder / "width4.safetensors").unlink()
    none = make(cells)
    for training in (cold, none):
        list(training.run())
        training.close()
    assert torch.equal(weights(cold), weights(none))
    assert "start" not in cold.denoiser().provenance


def test_the_first_event_comes_before_any_step(cells, folder):
    training = make(cells, start="warm")
    first, *rest = training.run()
    assert isinstance(first, Progress)
    assert (first.step, first.terms) == (0, {})
    assert rest[-1].step == 20
    training.close()
    training = make(cells, start="cold")
    first, *_ = training.run()
    assert first.step > 0
    training.close()


def test_trusts_what_it_sees_from_the_start(cells, folder):
    warm, cold = make(cells, start="warm"), make(cells, start="cold")
    blends = [training.denoiser().trained_blend for training in (warm, cold)]
    assert blends == pytest.approx([10 / 11, 2 / 3])
    warm.close()
    cold.close()


def test_first_steps_do_not_spoil_what_is_good():
    recorded = phantom("2d", size=128, seed=4)
    training = Training(
        [image(recorded.noisy)],
        Recipe(train=TrainConfig(steps=300, ending="last", device="cpu")),
    )
    assert training.starts[0].member == "width8"

    def gain():
        found = training.denoiser()(recorded.noisy)
        before, after = (
            ((im - recorded.clean) ** 2).mean() for im in (recorded.noisy, found)
        )
        return 10 * np.log10(before / after)

    gains = []
    for event in training.run():
        gains.append(gain())
        if event.step >= 40:
            break
    assert gains[0] > 5
    assert min(gains) > gains[0] - 0.1
    training.close()


def test_the_best_weights_may_be_the_first(cells, folder):
    training = make(cells, start="warm", steps=150, ending="best", learning_rate=3.0)
    events = list(training.run())
    judged = [event for event in events if isinstance(event, Judged)]
    assert len(judged) == 2
    assert judged[0].is_best
    assert events[-1].best_step == 0
    again = make(cells, start="warm")
    np.testing.assert_allclose(
        denoised(training, cells)[INSIDE], denoised(again, cells)[INSIDE], rtol=1e-3
    )
    training.close()
    again.close()


def test_goes_on_from_a_checkpoint_as_it_would_have(cells, folder, tmp_path):
    whole, part, again = (make(cells, steps=30) for _ in range(3))
    list(whole.run())
    for event in part.run():
        if event.step:
            break
    path = part.save(tmp_path / "checkpoint")
    again.restore(path)
    list(again.run())
    assert torch.equal(weights(whole), weights(again))
    with pytest.raises(ModelError, match="another training"):
        make(cells, steps=30, start="cold").restore(path)
    for training in (whole, part, again):
        training.close()


def test_care_grows_with_what_can_be_won_back():
    shares = [care(steps) for steps in (0, 100, 1000, 4000, 10_000, 100_000)]
    assert shares == sorted(shares)
    assert 0 < shares[0] < shares[-1] == 1
