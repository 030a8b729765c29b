"""Trains the networks that a training on an image starts from.

    python benchmarks/pretrain.py --width 8 --steps 30000
    python benchmarks/pretrain.py --width 16 --steps 30000
    python benchmarks/pretrain.py --width 8 --steps 14000 --neighbors 1 --begin width8

They see nothing but scenes that are drawn at random (`scenes.py`), as cameras of all
kinds would record them, and learn to tell the clean scene: of the noisy image, and of
the noisy image with blind pixels, as the methods show it to them; with neighbors,
of the planes beside it, too (`moments.py`), of which nothing is hidden. The same seed
gives the same scenes and the same order; interrupted, the same command goes on where it
was.
The result goes to ``src/napari_blindsound/networks/family``, with its facts inside.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from safetensors.torch import save_file
from torch.nn import functional as F

from moments import Moments
from napari_blindsound.methods.masking import mask_phases, mask_regions
from napari_blindsound.networks.family import family
from napari_blindsound.networks.unet import UNet
from scenes import draw_scene

if TYPE_CHECKING:
    from torch import Tensor

FAMILY = Path(__file__).parents[1] / "src/napari_blindsound/networks/family"
DEPTH, CELL, SIDE = 3, 4, 192
PATCH, BATCH = 96, 8
PEAK_RATE, AVERAGING, WARMING = 2e-3, 0.9995, 0.02
BEGUN = 0.5  # of that rate, for what has learned before
LEAST_ERROR = 1e-3  # in parts of the noise's
REGIONS = 0.15  # of the steps, with more than a pixel hidden


def main() -> None:
    """Train one network, or go on with it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--width", type=int, default=8)
    parser.add_argument("--steps", type=int, default=30_000)
    parser.add_argument("--scenes", type=int, default=400)
    parser.add_argument(
        "--neighbors", type=int, default=0, help="planes seen on each side of one"
    )
    parser.add_argument(
        "--begin", default="", metavar="MEMBER", help="of the family, to begin with"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=FAMILY)
    parser.add_argument("--work", type=Path, default=Path("pretraining"))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    options.work.mkdir(exist_ok=True, parents=True)
    scenes = pool(options.work, options.scenes, options.seed)
    Course(options, scenes).run()


def pool(folder: Path, count: int, seed: int) -> Tensor:
    """Scenes (count, 1, SIDE, SIDE), drawn once."""
    path = folder / f"scenes_{count}_{seed}.npy"
    if not path.exists():
        drawn = [
            draw_scene(np.random.default_rng([seed, number]), SIDE)
            for number in range(count)
        ]
        np.save(path, np.stack(drawn).astype(np.float16))
    return torch.from_numpy(np.load(path).astype(np.float32))[:, None]


def begin(network: UNet, name: str) -> None:
    """Give a network the weights of a member of the family.

    With neighbors it begins with their mean: to use them less is learned sooner than to
    use them at all.
    """
    (member,) = (one for one in family()[0] if one.name == name)
    (member.averaging() if network.inputs > 1 else member).give(network)


class Course:
    """One training from begin to end."""

    def __init__(self, options: argparse.Namespace, scenes: Tensor) -> None:
        self.options, self.scenes = options, scenes
        torch.manual_seed(options.seed)
        self.inputs = 2 * options.neighbors + 1
        self.network = UNet(self.inputs, 1, width=options.width, depth=DEPTH)
        self.averaged = UNet(self.inputs, 1, width=options.width, depth=DEPTH)
        if options.begin:
            begin(self.network, options.begin)
        self.averaged.load_state_dict(self.network.state_dict())
        self.adam = torch.optim.Adam(self.network.parameters(), PEAK_RATE, fused=True)
        self.random = torch.Generator().manual_seed(options.seed)
        self.peak_rate = PEAK_RATE * (BEGUN if options.begin else 1.0)
        self.moments = Moments(scenes, options.neighbors, PATCH, self.random)
        self.step = 0
        self.name = f"width{options.width}"
        if options.neighbors:
            self.name += f"_neighbors{options.neighbors}"
        self.kept = options.work / f"{self.name}_{options.seed}.pt"
        if self.kept.exists():
            self.restore()

    def run(self) -> None:
        """Train, keep now and then, and write the result."""
        began, errors = time.monotonic(), []
        while self.step < self.options.steps:
            errors.append(self.advance())
            if self.step % 250 == 0:
                self.keep()
                print(
                    f"step {self.step:6d}  {time.monotonic() - began:6.0f} s  error "
                    f"{np.mean(errors):.4f} of the noise",
                    flush=True,
                )
                errors = []
                self.write()
        self.write()

    def advance(self) -> float:
        """One step; the error, in parts of the noise's."""
        done = self.step / self.options.steps
        rate = min(1.0, done / WARMING) * (1 + np.cos(np.pi * done)) / 2
        for group in self.adam.param_groups:
            group["lr"] = self.peak_rate * max(rate, 1e-3)
        noisy, clean, share = self.draw()
        shown, share = self.hide(noisy, share)
        self.adam.zero_grad()
        error = self.error(share * (self.network(shown) - clean) ** 2)
        error.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.adam.step()
        self.step += 1
        keep = min(AVERAGING, self.step / (self.step + 10))
        for mean, now in zip(
            self.averaged.parameters(), self.network.parameters(), strict=True
        ):
            mean.data.lerp_(now.data, 1 - keep)
        error = error.detach()
        return float(error if self.inputs == 1 else error.exp())

    def error(self, errors: Tensor) -> Tensor:
        """What is to become less.

        A plane alone: the mean. With neighbors: the mean of its logarithm, so that all
        crops count alike. Otherwise those with little noise would teach to leave the
        neighbors alone, which is best for them.
        """
        if self.inputs == 1:
            return errors.mean()
        return (errors.mean((1, 2, 3)) + LEAST_ERROR).log().mean()

    def hide(self, noisy: Tensor, share: Tensor) -> tuple[Tensor, Tensor]:
        """Blind pixels in every second crop, which count so much more.

        Of planes with neighbors, in the first of them.
        """
        half = len(noisy) // 2
        cell, region = CELL, (1, 1)
        if torch.rand(1, generator=self.random) < REGIONS:
            number = torch.randint(3, (1,), generator=self.random)
            cell, region = 8, ((1, 5), (5, 1), (5, 5))[number]
        phase = torch.randint(cell**2, (1,), generator=self.random)
        plane = noisy[:, :1]
        if region == (1, 1):
            masked = mask_phases(plane[:half], phase, cell, "reflect")
        else:
            masked = mask_regions(plane[:half], phase, cell, region, self.random)
        row, column = divmod(int(phase), cell)
        share = share.expand_as(plane).clone()
        share[:half, :, row::cell, column::cell] *= cell**2 / 2
        shown = torch.cat([masked, plane[half:]])
        return torch.cat([shown, noisy[:, 1:]], dim=1), share

    def draw(self) -> tuple[Tensor, Tensor, Tensor]:
        """Noisy and clean crops, normalized, and one over the noise's variance.

        Of planes with neighbors, the first is to be told: only it comes clean.
        """
        if self.inputs > 1:
            clean = self.moments.draw(BATCH)
        else:
            which = torch.randint(len(self.scenes), (BATCH,), generator=self.random)
            clean = torch.stack([self.crop(self.scenes[number]) for number in which])
        noisy, clean = self.record(clean)
        noise = (noisy - clean).square().mean((1, 2, 3), keepdim=True)
        some = noisy.flatten(1)[:, :: self.inputs]
        low, high = torch.quantile(some, torch.tensor([0.005, 0.999]), dim=1)
        span = torch.maximum(high - low, 5 * noise.flatten().sqrt())
        # A crop is not the whole image, whose darkest and brightest it need not hold.
        span = span * torch.exp(0.5 * torch.rand(BATCH, generator=self.random) - 0.1)
        low = low - 0.05 * span * torch.rand(BATCH, generator=self.random)
        low, span = low.view(-1, 1, 1, 1), span.view(-1, 1, 1, 1)
        share = span**2 / (noise + 1e-4 * span**2)
        return (noisy - low) / span, (clean[:, :1] - low) / span, share

    def crop(self, scene: Tensor) -> Tensor:
        """A crop at random, turned at random."""
        row, column, turn, flip = torch.randint(
            0, SIDE - PATCH + 1, (4,), generator=self.random
        ).tolist()
        crop = scene[:, row : row + PATCH, column : column + PATCH].rot90(turn, (1, 2))
        return crop.flip(1) if flip % 2 else crop

    def record(self, clean: Tensor) -> tuple[Tensor, Tensor]:
        """What cameras make of light, in photons at most, and its mean.

        Photon counts from 1 to 400, read noise of up to several photons, one crop in
        five with noise that neighbors share, one in twenty saturated.
        """
        draw = torch.rand(7, BATCH, 1, 1, 1, generator=self.random)
        photons = 10 ** (2.6 * draw[0])
        light = clean * photons
        read = photons.sqrt() * 10 ** (draw[1] * 2 - 1.7)
        noise = torch.poisson(light, generator=self.random) - light
        noise += read * torch.randn(light.shape, generator=self.random)
        blurred = self.blur(noise, 0.25 + 0.75 * float(draw[2, 0]))
        noise = torch.where(draw[3] < 0.2, blurred, noise)
        limit = torch.where(draw[4] < 0.05, photons * (0.4 + 0.6 * draw[5]), 1e9)
        return torch.minimum(light + noise, limit), torch.minimum(light, limit)

    def blur(self, noise: Tensor, width: float) -> Tensor:
        """Noise that neighbors share: of rows, of columns, or of both."""
        taps = torch.exp(-0.5 * (torch.arange(-2.0, 3.0) / width) ** 2)
        taps = taps / taps.sum()
        kind = torch.randint(3, (1,), generator=self.random)
        shape, noise = noise.shape, noise.flatten(0, 1)[:, None]
        if kind != 1:
            noise = F.conv2d(noise, taps.view(1, 1, 1, 5), padding=(0, 2))
        if kind != 2:
            noise = F.conv2d(noise, taps.view(1, 1, 5, 1), padding=(2, 0))
        return noise.view(shape)

    def keep(self) -> None:
        """Save all that the rest depends on."""
        state = {
            "network": self.network.state_dict(),
            "averaged": self.averaged.state_dict(),
            "adam": self.adam.state_dict(),
            "random": self.random.get_state(),
            "step": self.step,
        }
        part = self.kept.with_suffix(".part")
        torch.save(state, part)
        part.replace(self.kept)

    def restore(self) -> None:
        """Go on where it was left."""
        state = torch.load(self.kept)
        self.network.load_state_dict(state["network"])
        self.averaged.load_state_dict(state["averaged"])
        self.adam.load_state_dict(state["adam"])
        self.random.set_state(state["random"])
        self.step = state["step"]

    def write(self) -> None:
        """Write the averaged weights with their facts."""
        self.options.out.mkdir(exist_ok=True, parents=True)
        options = self.options
        facts = {
            "width": options.width,
            "depth": DEPTH,
            "inputs": self.inputs,
            "outputs": 1,
            "steps": self.step,
            "scenes": options.scenes,
            "seed": options.seed,
            "made by": "benchmarks/pretrain.py",
            **({"begun with": options.begin} if options.begin else {}),
        }
        path = options.out / f"{self.name}.safetensors"
        weights = self.averaged.state_dict()
        save_file(
            {name: one.half().contiguous() for name, one in weights.items()},
            path,
            {name: str(fact) for name, fact in facts.items()},
        )
        path.chmod(0o644)


if __name__ == "__main__":
    main()
