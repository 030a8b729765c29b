"""Step by step downhill: the optimizer, what keeps it safe, the average of the weights.

A stage of a training begins with the averaged weights of the stage before and with
nothing else of it: no momentum, no bound of the gradient, no memory in the average.
"""

from __future__ import annotations

import logging
from copy import deepcopy
from typing import TYPE_CHECKING, Any

import torch

from napari_blindsound.training.checkpoint import prefixed, under
from napari_blindsound.training.clipping import Clip

if TYPE_CHECKING:
    from torch import Tensor

    from napari_blindsound.methods.base import Method

log = logging.getLogger(__name__)

BAD_STEPS = 10
"""Non-finite steps in a row before the last good weights come back."""


_TRUST = 100
"""Steps that a good start counts for in the average."""


class Descent:
    """Moves the weights of a method down its gradients.

    Parameters
    ----------
    method : Method
        Trained in place.

    Attributes
    ----------
    averaged : Method
        Running average of the weights.
    damping : float
        Of the learning rate: halved after too many steps that were not finite.
    stage : int
        Number of the method's stage.
    optimizer : Adam
    """

    def __init__(self, method: Method) -> None:
        self._method = method
        self.averaged = deepcopy(method).requires_grad_(requires_grad=False)
        self.damping, self._bad_steps = 1.0, 0
        self.stage, self._steps = 0, 0
        self._clips = self._new_clips()
        self.optimizer = torch.optim.Adam(
            [
                {"params": list(part.parameters()), "rate": rate}
                for part, rate in method.parts()
            ],
            lr=method.config.learning_rate,
            weight_decay=method.config.weight_decay,
            fused=True,
        )

    def enter(self, stage: int) -> None:
        """Begin a stage, if it is another one."""
        if stage == self.stage:
            return
        self.stage, self._steps = stage, 0
        self._clips = self._new_clips()
        self._start_over()

    def prepare(self, rate: float) -> None:
        """Forget the last gradient; `rate` is that of the schedule, from 0 to 1."""
        rate *= self.damping
        for group in self.optimizer.param_groups:
            group["lr"] = self._method.config.learning_rate * rate * group["rate"]
        self.optimizer.zero_grad()

    def step(self, number: int) -> None:
        """Follow the gradient, unless it is not finite; `number` is for the log."""
        if self._is_finite(number):
            self.optimizer.step()
            self._average()
        self._steps += 1

    def _new_clips(self) -> list[Clip]:
        return [Clip(part, self._method.config) for part, _ in self._method.parts()]

    def _start_over(self) -> None:
        """Go back, or on, to the averaged weights."""
        self._method.load_state_dict(self.averaged.state_dict())
        self.optimizer.state.clear()

    def _is_finite(self, number: int) -> bool:
        """Clip the gradient; a step that is not finite is skipped, ten undo more."""
        norms = [clip.apply() for clip in self._clips]
        if all(torch.isfinite(norm) for norm in norms):
            self._bad_steps = 0
            return True
        self._bad_steps += 1
        log.warning("step %d is not finite and was skipped", number)
        if self._bad_steps == BAD_STEPS:
            self._bad_steps = 0
            self.damping /= 2
            self._start_over()
            log.warning(
                "%d steps in a row were not finite: back to the last good weights, at "
                "half the learning rate",
                BAD_STEPS,
            )
        return False

    @torch.no_grad()
    def _average(self) -> None:
        # The average forgets a random start: early on it follows more closely.
        first = _TRUST if self._method.is_delicate and not self.stage else 1
        early = (first + self._steps) / (first + 9 + self._steps)
        decay = min(self._method.config.averaging, early)
        torch._foreach_lerp_(
            list(self.averaged.parameters()),
            list(self._method.parameters()),
            1 - decay,
        )
        for kept, buffer in zip(
            self.averaged.buffers(), self._method.buffers(), strict=True
        ):
            kept.copy_(buffer)

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """All that the next steps depend on: tensors and plain data."""
        adam = self.optimizer.state_dict()["state"]
        tensors = {
            **prefixed("weights", self._method.state_dict()),
            **prefixed("averaged", self.averaged.state_dict()),
            **prefixed(
                "adam", {f"{i}.{k}": v for i in adam for k, v in adam[i].items()}
            ),
        }
        numbers = {
            "damping": self.damping,
            "bad_steps": self._bad_steps,
            "clips": [clip.state() for clip in self._clips],
            "stage": self.stage,
            "steps_of_stage": self._steps,
        }
        return tensors, numbers

    def restore(self, tensors: dict[str, Tensor], numbers: dict[str, Any]) -> None:
        """Continue from :meth:`state`, identically."""
        self._method.load_state_dict(under("weights", tensors))
        self.averaged.load_state_dict(under("averaged", tensors))
        parameters = [p for part, _ in self._method.parts() for p in part.parameters()]
        adam = self.optimizer.state_dict()
        adam["state"] = {}
        for name, tensor in under("adam", tensors).items():
            index, key = name.split(".")
            # Files hold no strides, and the fused Adam relies on the parameter's.
            like = parameters[int(index)] if tensor.ndim else tensor
            kept = torch.empty_like(like, requires_grad=False).copy_(tensor)
            adam["state"].setdefault(int(index), {})[key] = kept
        self.optimizer.load_state_dict(adam)
        self.damping, self._bad_steps = numbers["damping"], numbers["bad_steps"]
        for clip, state in zip(self._clips, numbers["clips"], strict=True):
            clip.restore(state)
        # Checkpoints from before there were stages have one.
        self.stage = numbers.get("stage", 0)
        self._steps = numbers.get("steps_of_stage", numbers["step"])
