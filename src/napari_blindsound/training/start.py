"""What a training starts from: random weights, or those that synthetic images taught.

A network that never saw such an image may know it nevertheless, or not at all: where
the range is another, noise is shared by neighbors, or structures are too strange. It is
asked to predict pixels that it cannot see, in a few crops that are the same each time.
If it does not clearly beat the mean of the pixels around them, it is left alone. Where
planes are seen with their neighbors, networks that know what to make of these are asked
beside those that see a plane alone. A blind pixel has more need of neighbors than one
that is seen: they are listened to only where they are likely to tell something.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional as F

from napari_blindsound.methods.masking import (
    mask_phases,
    mask_regions,
    split_phases,
)
from napari_blindsound.networks.family import family
from napari_blindsound.training.places import places
from napari_blindsound.training.windows import fitting_patch, read_window

if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.resources.abc import Traversable

    from numpy.typing import NDArray
    from torch import Tensor

    from napari_blindsound.images.volume import Volume
    from napari_blindsound.methods.base import Method
    from napari_blindsound.networks.family import Member
    from napari_blindsound.training.preprocessing import Preprocessing

    Doubles = NDArray[np.float64]

_WINDOWS, _SIDE = 6, 128  # px
_MARGIN = 8  # px of a crop's border, where context is missing
_PHASES = 2  # of blind pixels, a window; more where there are fewer windows
_BLOCK = 4  # blind pixels a side of what counts as one, as neighbors' errors are alike
_SURE = 3.0  # standard errors
_LIKELY = 1.5  # of them
_FEWEST_BLOCKS = 8
_CELLS = (4, 8, 16, 32)
_ROOM = 2.0  # times the pixels that are hidden, so that their frames are seen
_AT_RANDOM = "the training starts from random weights"


@dataclass(frozen=True)
class Start:
    """First weights of a network, and why these.

    Parameters
    ----------
    words : str
        In a sentence without a full stop; empty where nobody asked for others.
    member : str
        The member of the family that they are of; empty for random weights.
    """

    words: str
    member: str = ""


def begin(
    method: Method,
    images: Sequence[Volume],
    preprocessing: Preprocessing,
    *,
    seed: int = 0,
    length: float = math.inf,
    folder: Traversable | None = None,
) -> Start:
    """Give a method the first weights that its settings ask for, where they fit.

    Parameters
    ----------
    method : Method
        New, with random weights, on the CPU.
    images : sequence of Volume
        To be trained on.
    preprocessing : Preprocessing
        As in training.
    seed : int
        Of the choice of crops.
    length : float
        Steps or seconds of the training; none leaves it at the first weights.
    folder : Traversable, optional
        Of the family, in place of the package's.

    Returns
    -------
    Start
        Random weights, too, have their reason.

    Raises
    ------
    DataError
        If a pixel that is read is not finite, or an image is too small.
    """
    wish = getattr(method.config, "start", "cold")
    if wish == "cold":
        return Start("")
    members, complaints = family(folder)
    fitting = _fitting(members, method)
    if not fitting:
        return Start(
            "; ".join([f"{_AT_RANDOM}: {_unfit(method, members)}", *complaints])
        )
    if wish == "auto" and length and _is_cut_off(method):
        return Start(
            f"{_AT_RANDOM}: neighbors share the noise along rows and along columns, "
            f"and then the training may end worse from what synthetic images taught"
        )
    crops = _Crops.read(images, preprocessing, method, seed)
    best, errors = _best(fitting, crops)
    away = 100 * (1 - float(errors.mean()) / max(float(crops.plain.mean()), 1e-12))
    if wish == "auto" and not _is_less(errors, crops.plain, _SURE):
        return Start(
            f"{_AT_RANDOM}: those that synthetic images taught do not surely predict "
            f"hidden pixels of these images better than their neighbors' mean does "
            f"(error {-away:+.1f} %)"
        )
    method.start_from(best)
    than = "better" if away >= 0 else "worse"
    return Start(
        f"the training starts from weights that synthetic images taught ({best.name})"
        f"{_with_neighbors(best, method)}: they predict hidden pixels of these images "
        f"{abs(away):.1f} % {than} than their neighbors' mean does",
        best.name,
    )


def _is_cut_off(method: Method) -> bool:
    """Whether blind pixels are hidden with their neighbors on all sides.

    To predict them from so far is what the family knows least of. Random weights learn
    it sooner, which at first see only what is smooth; those of the family, for which
    shared noise looks like structure, can lose in a short training what they knew
    (0.3 to 0.7 dB), however much the visible branch is trusted or how slow they learn.
    """
    return min(getattr(method.config, "hidden", (1, 1))) > 1


def _fitting(members: Sequence[Member], method: Method) -> list[list[Member]]:
    """Members that fit, in groups: each must be likely to be better than those before.

    Those that see a plane alone, those that have learned what its neighbors tell, and
    the first again, given the mean of them.
    """
    starter = method.starter
    if starter is None:
        return []
    alone = [member for member in members if not member.neighbors]
    beside = [member for member in members if member.neighbors]
    mean = [member.averaging() for member in alone] if method.context.planes else []
    groups = ([m for m in group if m.fits(starter)] for group in (alone, beside, mean))
    return [group for group in groups if group]


def _best(groups: Sequence[Sequence[Member]], crops: _Crops) -> tuple[Member, Doubles]:
    """The best member, and its errors block by block."""
    firsts = []
    for group in groups:
        tried = [(member, crops.errors(member)) for member in group]
        firsts.append(min(tried, key=lambda one: float(one[1].mean())))
    chosen = firsts[0]
    for one in firsts[1:]:
        if _is_less(one[1], chosen[1], _LIKELY):
            chosen = one
    return chosen


def _with_neighbors(best: Member, method: Method) -> str:
    """What becomes of neighboring planes, where there are any."""
    if not method.context.planes:
        return ""
    if best.neighbors:
        return ", with what the nearest planes tell"
    return ", in which neighboring planes have no say yet"


def _unfit(method: Method, members: Sequence[Member]) -> str:
    """Why no member fits."""
    if method.channels > 1:
        return "there are no others for channels that are denoised jointly"
    sizes = sorted({(member.width, member.depth) for member in members})
    if not sizes:
        return "this installation has no others"
    there = ", ".join(f"width {width} and depth {depth}" for width, depth in sizes)
    return f"there are others only for a plain U-Net of {there}"


def _is_less(errors: Doubles, plain: Doubles, sure: float) -> bool:
    """Whether a mean error is less than another, by so many standard errors."""
    less = plain - errors
    if len(less) < _FEWEST_BLOCKS:
        return False
    spread = float(less.std(ddof=1)) / math.sqrt(len(less))
    return float(less.mean()) > sure * spread


class _Crops:
    """Crops with blind pixels, predicted by networks and by the mean around them.

    Parameters
    ----------
    noisy, valid : Tensor
        (n, inputs, s, s), normalized, the plane to predict before its neighbors; and
        (n, 1, s, s), 0 where a pixel does not count.
    hidden : tuple of int
        Rows and columns that are hidden around a blind pixel.
    cell : int
        Side of the cells that have one blind pixel each.
    seed : int
        Of the choice of blind pixels.
    """

    def __init__(
        self,
        noisy: Tensor,
        valid: Tensor,
        hidden: tuple[int, int],
        cell: int,
        seed: int,
    ) -> None:
        random = torch.Generator().manual_seed(seed)
        count = round(_PHASES * _WINDOWS / len(noisy))
        phases = torch.randperm(cell**2, generator=random)[:count]
        plane, self._beside = noisy[:, :1], noisy[:, 1:]
        if hidden == (1, 1):
            masked = means = mask_phases(plane, phases, cell)
        else:
            masked = mask_regions(plane, phases, cell, hidden, random)
            means = mask_regions(plane, phases, cell, hidden)
        self._cell, self._phases = cell, phases
        self._masked = masked.unflatten(0, (len(phases), -1))
        self._truth, self._valid = (
            split_phases(part, cell)[phases] for part in (plane, valid)
        )
        split = means.unflatten(0, (len(phases), -1))
        self.plain = self._in_blocks(
            torch.stack(
                [
                    split_phases(copy, cell)[phase]
                    for copy, phase in zip(split, phases, strict=True)
                ]
            )
        )

    @classmethod
    def read(
        cls,
        images: Sequence[Volume],
        preprocessing: Preprocessing,
        method: Method,
        seed: int,
    ) -> _Crops:
        """Crops of the images; what is hidden in them is as wide as shared noise."""
        rows, columns = (2 * extent + 1 for extent in preprocessing.region())
        hidden = getattr(method.config, "hidden", (rows, columns))
        room = max(max(hidden) + 1, math.sqrt(_ROOM * math.prod(hidden)))
        cell = next(cell for cell in _CELLS if cell >= room)
        stride = math.lcm(method.stride, cell)
        side = min(fitting_patch(image, _SIDE, stride) for image in images)
        read = [
            read_window(image, region, preprocessing, method.context)
            for image, (region,) in places(images, side, _WINDOWS, 1, seed)
        ]
        noisy = torch.from_numpy(np.stack([window for window, _ in read]))
        valid, edge = torch.zeros_like(noisy[:, :1]), min(_MARGIN, side // 8)
        valid[..., edge : side - edge, edge : side - edge] = 1
        for index, (_, may_count) in enumerate(read):
            if may_count is not None:
                valid[index] *= torch.from_numpy(may_count)
        return cls(noisy, valid, hidden, cell, seed)

    def errors(self, member: Member) -> Doubles:
        """Squared error of a member's predictions, block by block."""
        network, found = member.network(), []
        known = member.known(1 + self._beside.shape[1])
        with torch.inference_mode():
            for masked, phase in zip(self._masked, self._phases.tolist(), strict=True):
                row, column = divmod(phase, self._cell)
                seen = torch.cat([masked, self._beside], dim=1)[:, known]
                features = network.trunk(seen)
                found.append(network.tail_at(features, row, column, self._cell))
        return self._in_blocks(torch.stack(found))

    def _in_blocks(self, predicted: Tensor) -> Doubles:
        """Mean squared error in each block, (P, n, 1, h, w) to (blocks,)."""
        errors = (self._valid * (predicted - self._truth) ** 2).mean(0)
        block = min(_BLOCK, *errors.shape[-2:])
        sums, counts = (
            F.avg_pool2d(part, block).flatten()
            for part in (errors, self._valid.mean(0))
        )
        counted = counts > 0
        found = sums[counted] / counts[counted]
        return np.asarray(found.numpy(), np.float64)
