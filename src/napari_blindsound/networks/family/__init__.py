"""The family: small networks that synthetic images taught, for trainings to start from.

The files beside this one hold the weights of ``UNet(N, 1, width=W, depth=D)``, which
map a noisy image, normalized as all images are, to the clean one: seen alone, or with
its neighbors in a stack or a movie. The card, README.md, says how they were made, of
what, and what they cannot do. What fits a network is told by the shapes of its weights
alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError
from safetensors.torch import load

from napari_blindsound.errors import ModelError
from napari_blindsound.networks.unet import UNet
from napari_blindsound.networks.weights import seeded

if TYPE_CHECKING:
    from collections.abc import Mapping
    from importlib.resources.abc import Traversable

    from torch import Tensor, nn

_SUFFIX = ".safetensors"
_FIRST, _LAST = "head.0.block.0.weight", "last.2"
_MEAN = (0.5, 0.25, 0.25)
_LITTLE = 0.1
"""Of their random weights for numbers that the family knows nothing of."""


@dataclass(frozen=True, eq=False)
class Member:
    """One network of the family.

    Parameters
    ----------
    name : str
        Of its file, such as ``width8`` or ``width8_neighbors1``; or ``width8_mean1``,
        see :meth:`averaging`.
    weights : dict of str to Tensor
        float32, by their names in a `UNet`.
    """

    name: str
    weights: Mapping[str, Tensor] = field(repr=False)

    @property
    def width(self) -> int:
        """Channels of the downward path."""
        return self.weights[_FIRST].shape[0]

    @property
    def depth(self) -> int:
        """Poolings by 2."""
        levels = {n.split(".")[1] for n in self.weights if n.startswith("up_path.")}
        return len(levels)

    @property
    def inputs(self) -> int:
        """Planes that it sees: one, and as many neighbors before it as after it."""
        return self.weights[_FIRST].shape[1]

    @property
    def neighbors(self) -> int:
        """Planes that it sees on each side of one."""
        return self.inputs // 2

    def network(self) -> UNet:
        """The network itself, without gradients.

        Noisy (B, inputs, H, W) to denoised (B, 1, H, W), the plane before its
        neighbors.
        """
        with seeded(0):
            made = UNet(self.inputs, 1, width=self.width, depth=self.depth)
        made.load_state_dict(self.weights)
        return made.requires_grad_(requires_grad=False)

    def known(self, inputs: int) -> list[int]:
        """Which of a network's inputs it knows, in its own order.

        Parameters
        ----------
        inputs : int
            Of the network: a plane before its neighbors, as
            :func:`napari_blindsound.images.context.center_first` has them.

        Returns
        -------
        list of int
            The plane, and the nearest of its neighbors; none if the network sees fewer.
        """
        if self.inputs == 1:
            return [0]
        beside, around = self.neighbors, inputs // 2
        if beside > around or inputs % 2 == 0:
            return []
        return [
            0,
            *range(1 + around - beside, 1 + around),
            *range(1 + around, 1 + around + beside),
        ]

    def averaging(self) -> Member:
        """The same network, that sees the mean of a plane and those next to it.

        The plane counts half, the other two a quarter each: where they are much alike,
        that is a plane with little more than a third of the noise's variance, and the
        best start of all. It is a network of three inputs, since what inputs meet first
        is linear.
        """
        shares = torch.tensor(_MEAN)[:, None, None]
        widened = dict(self.weights)
        for name in (_FIRST, self._skip):
            below, seen = widened[name].tensor_split([-1], dim=1)
            widened[name] = torch.cat([below, seen * shares], dim=1)
        return Member(f"{self.name}_mean1", widened)

    def fits(self, network: nn.Module) -> bool:
        """Whether a network can begin with these weights, see :meth:`give`."""
        shapes = {name: tensor.shape for name, tensor in network.state_dict().items()}
        widened = self._for(network)
        return widened is not None and shapes == {
            n: t.shape for n, t in widened.items()
        }

    def give(self, network: nn.Module) -> None:
        """Let a network begin with these weights.

        Its first input is the image and its first output the estimate. Inputs that are
        not :meth:`known`, such as neighboring planes, begin without a say; further
        outputs with a tenth of the random weights that they have.

        Raises
        ------
        ModelError
            If they do not fit.
        """
        widened = self._for(network)
        if widened is None or not self.fits(network):
            msg = (
                f"the weights {self.name} are those of a U-Net of width {self.width} "
                f"and depth {self.depth} that takes {self._taken}; give a network like "
                f"it"
            )
            raise ModelError(msg)
        network.load_state_dict(widened)

    @property
    def _skip(self) -> str:
        """Where the inputs are met again, after what comes from below."""
        return f"up_path.{self.depth - 1}.conv_1.block.0.weight"

    @property
    def _taken(self) -> str:
        return "one image" if self.inputs == 1 else f"{self.inputs} planes"

    def _for(self, network: nn.Module) -> dict[str, Tensor] | None:
        """The weights with inputs and outputs as a U-Net has them; None for others."""
        if not isinstance(network, UNet):
            return None
        if (network.width, network.depth) != (self.width, self.depth):
            return None
        known = self.known(network.inputs)
        if not known:
            return None
        own = network.state_dict()
        widened = dict(self.weights)
        for name in (_FIRST, self._skip):
            below, seen = widened[name].tensor_split([-self.inputs], dim=1)
            inputs = seen.new_zeros(len(seen), network.inputs, *seen.shape[2:])
            inputs[:, known] = seen
            widened[name] = torch.cat([below, inputs], dim=1)
        for name in (f"{_LAST}.weight", f"{_LAST}.bias"):
            widened[name] = torch.cat([widened[name], _LITTLE * own[name][1:]])
        return widened


def family(folder: Traversable | None = None) -> tuple[list[Member], list[str]]:
    """All members, and what is wrong with the files that hold none.

    Parameters
    ----------
    folder : Traversable, optional
        In place of that of the package.

    Returns
    -------
    members : list of Member
        By name.
    complaints : list of str
        One for each file that cannot be read, without a full stop.
    """
    folder = folder or resources.files(__name__)
    members, complaints = [], []
    for file in sorted(folder.iterdir(), key=lambda file: file.name):
        if not file.name.endswith(_SUFFIX):
            continue
        try:
            members.append(_read(file))
        except ModelError as error:
            complaints.append(str(error))
    return members, complaints


def _read(file: Traversable) -> Member:
    """Read one member.

    Raises
    ------
    ModelError
        If the file is damaged, or holds something else.
    """
    name = Path(file.name).stem
    try:
        tensors = {
            name: tensor.float() for name, tensor in load(file.read_bytes()).items()
        }
        member = Member(name, tensors)
        is_whole = all(bool(tensor.isfinite().all()) for tensor in tensors.values())
        is_whole = is_whole and member.fits(member.network())
    except (SafetensorError, OSError, KeyError, IndexError, RuntimeError) as error:
        why = str(error).partition("\n")[0]
        msg = (
            f"the first weights {file.name} cannot be read ({why}): install the "
            f"package again"
        )
        raise ModelError(msg) from error
    if not is_whole:
        msg = f"the first weights {file.name} are damaged: install the package again"
        raise ModelError(msg)
    return member
