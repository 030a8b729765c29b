"""How the gradient of a step is found: its precision, group by group, perhaps compiled.

A compiled network runs fewer and larger kernels, for the price of a compiler's work at
the beginning: a minute or more, which only long trainings earn back. What keeps it from
working ends the compiled form, never the training.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import torch

from napari_blindsound.networks.device import mixed_precision

if TYPE_CHECKING:
    import threading

    from torch import Tensor, nn

    from napari_blindsound.methods.base import Method

log = logging.getLogger(__name__)

# What compilers, and the programs they call, end with.
_FAILURES = (RuntimeError, OSError, ImportError)


class Gradient:
    """Finds the gradients of a method's loss.

    Parameters
    ----------
    method : Method
        Its parameters get the gradients.
    device : torch.device
        Where it is.
    compiled : bool
        Whether to compile, in its networks, what they name as `costly`. A third-party
        network that names nothing stays as it is.
    backend : str
        Of ``torch.compile``.
    """

    def __init__(
        self,
        method: Method,
        device: torch.device,
        *,
        compiled: bool = False,
        backend: str = "inductor",
    ) -> None:
        self._method, self._device = method, device
        self._width = getattr(method.config, "width", None)
        self._compiled: list[tuple[nn.Module, str]] = []
        if compiled:
            self._compile(backend)

    @property
    def is_compiled(self) -> bool:
        """Whether compiled networks are in use."""
        return bool(self._compiled)

    def find(
        self,
        noisy: Tensor,
        weight: Tensor | None,
        progress: float,
        stop: threading.Event,
    ) -> dict[str, Tensor]:
        """Add the gradients of all groups of the loss to the parameters'.

        Parameters
        ----------
        noisy, weight, progress
            As of ``Method.losses``.
        stop : threading.Event
            Looked at before each group. The method's random numbers are then those
            from before.

        Returns
        -------
        dict of str to Tensor
            The terms of the loss; none if stopped.
        """
        random = self._method.random.get_state()
        try:
            total = self._find(noisy, weight, progress, stop)
        except _FAILURES as error:
            if not self.is_compiled:
                raise
            self._undo(error)
            self._method.random.set_state(random)
            self._method.zero_grad()
            total = self._find(noisy, weight, progress, stop)
        if not total:
            self._method.random.set_state(random)
        return total

    def _find(
        self,
        noisy: Tensor,
        weight: Tensor | None,
        progress: float,
        stop: threading.Event,
    ) -> dict[str, Tensor]:
        total: dict[str, Tensor] = {}
        with mixed_precision(self._device, self._width):
            for terms in self._method.losses(noisy, progress, weight):
                if stop.is_set():
                    return {}
                torch.stack(list(terms.values())).sum().backward()
                for name, term in terms.items():
                    total[name] = total.get(name, 0) + term.detach()
        return total

    def _compile(self, backend: str) -> None:
        for network in self._method.modules():
            name = getattr(type(network), "costly", None)
            if name is None:
                continue
            plain = getattr(network, name)
            # Shapes are those of the crops, which do not change.
            setattr(network, name, torch.compile(plain, dynamic=False, backend=backend))
            self._compiled.append((network, name))

    def _undo(self, error: BaseException) -> None:
        for network, name in self._compiled:
            delattr(network, name)  # that of the class is the plain one
        self._compiled.clear()
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        log.warning(
            "the network could not be compiled (%s); training goes on without", reason
        )
