"""When a training ends, and which of its weights are kept.

Judged at steps that do not depend on the clock, so that a training by steps is repeated
to the bit. Two judgements are told apart by the pixels that both looked at.
"""

from __future__ import annotations

import math
from copy import deepcopy
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from napari_blindsound.training.checkpoint import prefixed, under
from napari_blindsound.training.judgement import Judgement
from napari_blindsound.training.schedules import HOLD, WARM_STEPS, OpenEnd

if TYPE_CHECKING:
    import threading

    from torch import Tensor

    from napari_blindsound.methods.base import Method
    from napari_blindsound.training.events import Ending, Reason, Source
    from napari_blindsound.training.judge import Judge

FIRST_STEP = 100
GROWTH = 1.15
"""A judgement is followed by the next after so many times the steps, or later."""
SHARE = 0.05
"""Most of a training's work that judging may take."""
LEAST_GAIN = 0.05
"""Decibels that twice the steps must bring for a training to go on, where nobody says
how many."""
_SETTLING = 2 * WARM_STEPS  # before, the learning rate changes what is seen
_SURE = 2.0  # standard errors by which earlier weights must be better
_AGAIN = 2  # judgements in a row without a gain


class Stopping:
    """Judges a training now and then, keeps its best weights and sees when to end.

    Parameters
    ----------
    judge : Judge
    ending : {"best", "auto"}
        Whether the training may end before its budget.
    step_pixels : int
        Pixels that go through the network in one step, forward or backward.
    schedule : str
        Of the learning rate.
    stages : int
        Of the training. Where there are several, each needs its share of the length,
        and the weights of an earlier one estimate something else: such a training is
        judged, but neither ended early nor led back.
    warm : bool
        Whether the first weights denoise already: they are judged before any step.
    least_gain : float
        Decibels that twice the steps must bring for the training to go on.

    Attributes
    ----------
    judgements : list of Judgement
        One a judged step, in order.
    """

    def __init__(
        self,
        judge: Judge,
        ending: Ending,
        *,
        step_pixels: int,
        schedule: str = "one-cycle",
        stages: int = 1,
        warm: bool = False,
        least_gain: float = LEAST_GAIN,
    ) -> None:
        self._judge, self.ending = judge, ending
        self._least_gain = least_gain
        self._spacing = math.ceil(judge.cost / (SHARE * max(1, step_pixels)))
        self._has_stages, self._is_warm = stages > 1, warm
        is_open = ending == "auto" and not self._has_stages
        self.open_end = OpenEnd(HOLD[schedule]) if is_open else None
        self.judgements: list[Judgement] = []
        self._best: Method | None = None
        self._before: tuple[Method | None, OpenEnd | None] = (None, None)
        self.has_settled = False

    @property
    def source(self) -> Source:
        """What the judgements rest on."""
        return self._judge.source

    def keep_within(self, step: int, fraction: float) -> None:
        """Begin to cool down where the budget would be too short later."""
        if self.open_end and self.open_end.must_cool(fraction):
            self.open_end.cool(step, fraction)

    def is_due(self, step: int) -> bool:
        """Whether the weights after `step` steps are to be judged."""
        if self._is_warm and not self.judgements:
            return True
        last = self.judgements[-1].step if self.judgements else 0
        if not last:
            return step >= max(FIRST_STEP, self._spacing)
        return step >= max(last + self._spacing, math.ceil(last * GROWTH))

    def look(
        self,
        method: Method,
        step: int,
        fraction: float,
        stop: threading.Event | None = None,
    ) -> Judgement | None:
        """Judge the averaged weights; None if stopped or if they were judged before.

        Parameters
        ----------
        method : Method
            With the averaged weights.
        step : int
            Steps done.
        fraction : float
            Of the budget used.
        stop : threading.Event, optional
            Ends the work early; it is then done when the training goes on.
        """
        if self.judgements and self.judgements[-1].step == step:
            return None
        first = self.judgements[0] if self.judgements else None
        judgement = self._judge.judge(method, step, stop, first)
        if judgement is None:
            return None
        self._before = self._best, deepcopy(self.open_end)
        best = self.best
        self.judgements.append(judgement)
        if best is None or judgement.error < best.error:
            self._best = deepcopy(method)
        if self.open_end and self.open_end.cools_from is None and self._is_settled():
            self.has_settled = True
            self.open_end.cool(step, fraction)
        return judgement

    def forget(self, step: int) -> None:
        """Take back what was judged at a step that was not left any more.

        A training stopped there is repeated by steps alone, which judge it later.
        """
        if self.judgements and self.judgements[-1].step == step:
            self.judgements.pop()
            self._best, before = self._before
            if before != self.open_end:
                self.open_end, self.has_settled = before, False

    @property
    def best(self) -> Judgement | None:
        """The judgement with the smallest error, the first of equals."""
        return min(self.judgements, key=lambda j: j.error, default=None)

    @property
    def kept(self) -> Judgement | None:
        """The judgement to rely on: the last, unless an earlier was surely better."""
        best = self.best
        if best is None:
            return None
        if self._has_stages:
            return self.judgements[-1]
        decibels, error = self.judgements[-1].worse_by(best)
        return best if decibels > _SURE * error else self.judgements[-1]

    def kept_step(self, step: int) -> int:
        """Steps after which the weights were those of :meth:`chosen`, now at `step`."""
        kept = self.kept
        return step if kept is None or kept is self.judgements[-1] else kept.step

    def chosen(self, last: Method) -> Method:
        """The weights to keep: the best judged, or `last`, the averaged ones as now."""
        is_last = not self.judgements or self.kept is self.judgements[-1]
        return last if is_last or self._best is None else self._best

    def words(self, reason: Reason, step: int) -> str:
        """Why the training ended and what was kept, in a sentence."""
        kept = self.kept
        why = {
            "done": f"all {step} steps or the time given were used",
            "stopped": f"stopped after {step} steps",
            "converged": f"ended after {step} steps, as twice the steps had brought "
            f"less than {self._least_gain:g} dB",
        }[reason]
        if self._has_stages:
            why += (
                "; a training in stages is not ended early, and keeps its last weights"
            )
        if kept is None:
            return why
        if kept is not self.judgements[-1]:
            why += f"; the weights after {kept.step} steps were better, and are kept"
        gain = f"; estimated gain {kept.gain:.1f} dB" if kept.noise > 0 else ""
        return why + gain

    def _is_settled(self) -> bool:
        """Whether twice the steps have brought next to nothing, several times."""
        return len(self.judgements) > _AGAIN and all(
            self._gain_of_doubling(len(self.judgements) - back) < self._least_gain
            for back in range(_AGAIN)
        )

    def _gain_of_doubling(self, count: int) -> float:
        """Decibels gained since half the steps, as of the first `count` judgements."""
        last = self.judgements[count - 1]
        earlier = [
            judgement
            for judgement in self.judgements[:count]
            if _SETTLING <= judgement.step <= last.step / 2
        ]
        return earlier[-1].worse_by(last)[0] if earlier else math.inf

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """All that later decisions depend on: tensors and plain data."""
        tensors: dict[str, Tensor] = {}
        if self._best is not None:
            errors = np.stack([j.errors for j in self.judgements])
            tensors = {
                "errors": torch.from_numpy(errors),
                "held": torch.from_numpy(self.judgements[0].held),
                **prefixed("best", self._best.state_dict()),
            }
        end = self.open_end
        numbers = {
            "judged": [
                [j.step, j.noise, j.identity, j.excess] for j in self.judgements
            ],
            "cools_from": list(end.cools_from) if end and end.cools_from else None,
            "has_settled": self.has_settled,
        }
        return tensors, numbers

    def restore(
        self, tensors: dict[str, Tensor], numbers: dict[str, Any], like: Method
    ) -> None:
        """Continue from :meth:`state`; `like` is a method of the same shape."""
        self.judgements, self._best = [], None
        for row, (step, noise, identity, excess) in enumerate(numbers["judged"]):
            errors, held = tensors["errors"][row].numpy(), tensors["held"].numpy()
            held = held[: None if row == 0 else 0]
            self.judgements.append(
                Judgement(step, errors, noise, identity, excess, held)
            )
        if self.judgements:
            self._best = deepcopy(like)
            self._best.load_state_dict(under("best", tensors))
        self.has_settled = numbers["has_settled"]
        if self.open_end and numbers["cools_from"]:
            step, fraction = numbers["cools_from"]
            self.open_end.cools_from = (step, fraction)
