"""The frozen result of a training: counts in, counts out, one file on disk."""

from __future__ import annotations

import hashlib
import json
import threading
from collections import defaultdict
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from numpy.lib.stride_tricks import as_strided, sliding_window_view
from pydantic import ValidationError
from safetensors.torch import load as load_bytes
from safetensors.torch import save as save_bytes

from napari_blindsound import methods as registry
from napari_blindsound.errors import ModelError
from napari_blindsound.images.context import center_first
from napari_blindsound.inference.deviation import (
    Deviation,
    Uncertainty,
    check_deviation,
    knows_deviation,
)
from napari_blindsound.inference.estimate import Estimate
from napari_blindsound.inference.tiling import denoise_array
from napari_blindsound.methods.base import DEVIATION
from napari_blindsound.networks.device import mixed_precision, pick_device
from napari_blindsound.networks.memory import keep_freed_memory
from napari_blindsound.networks.transfer import download, upload
from napari_blindsound.networks.weights import seeded
from napari_blindsound.training.checkpoint import (
    load_tensors,
    prefixed,
    save_tensors,
    under,
)
from napari_blindsound.training.preprocessing import Preprocessing

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from torch import Tensor

    from napari_blindsound.images.context import Context
    from napari_blindsound.methods.base import Method

FORMAT = 1
SUFFIX = ".blindsound"

# One forward pass at a time on a device: more only fight for its memory and cores.
_LOCKS: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)


class Denoiser:
    """A trained model, applied to images of any size.

    Safe to call from several threads; they take turns on the device.

    Parameters
    ----------
    methods : sequence of Method
        One, trained on all channels jointly, or one a channel.
    preprocessing : Preprocessing
        What the training data were normalized by.
    output : str, optional
        Which of the method's estimates to return; its default if not given.
    blend : float, optional
        Return this mixture of the method's `ends` instead: from 0, the first of them,
        to 1, the second. At 0 and 1 only that one is computed.
    turns : bool
        Denoise in all eight orientations and return the mean: eight times the work for
        some hundredths of a decibel.
    device : str
        ``auto``, ``cpu``, ``cuda`` or ``mps``.
    provenance : mapping, optional
        Where the model comes from: plain data, stored with it.
    uncertainty : Uncertainty, optional
        How the method's deviations were calibrated.

    Raises
    ------
    ModelError
        If the method has no such estimate.
    """

    def __init__(
        self,
        methods: Sequence[Method],
        preprocessing: Preprocessing,
        *,
        output: str | None = None,
        blend: float | None = None,
        turns: bool = False,
        device: str = "auto",
        provenance: Mapping[str, Any] | None = None,
        uncertainty: Uncertainty | None = None,
    ) -> None:
        output = output or methods[0].outputs[0]
        self._estimate = Estimate(type(methods[0]), output, blend, turns)
        if output == DEVIATION:
            msg = (
                "the deviation is no estimate of the image: have it beside one "
                "(Denoiser.deviation, --uncertainty)"
            )
            raise ModelError(msg)
        keep_freed_memory()
        self.device = pick_device(device)
        self.methods = tuple(
            method.to(self.device).eval().requires_grad_(requires_grad=False)
            for method in methods
        )
        self.preprocessing = preprocessing
        self.provenance = dict(provenance or {})
        self.uncertainty = uncertainty
        self._device_name = device

    @property
    def method(self) -> type[Method]:
        """The method that was trained."""
        return type(self.methods[0])

    @property
    def output(self) -> str:
        """Which of the method's estimates is returned, unless there is a blend."""
        return self._estimate.output

    @property
    def blend(self) -> float | None:
        """Weight of the second of the method's ends; None where it is not asked for."""
        return self._estimate.blend

    @property
    def estimate_name(self) -> str:
        """What to call the estimate that is returned, a blend included."""
        return self._estimate.name

    @property
    def turns(self) -> bool:
        """Whether results are means over the eight orientations."""
        return self._estimate.turns

    @property
    def trained_blend(self) -> float | None:
        """Blend that the training used, a mean over networks; None without ends."""
        found = [method.trained_blend for method in self.methods]
        known = [blend for blend in found if blend is not None]
        return sum(known) / len(known) if known else None

    @property
    def n_channels(self) -> int:
        """Channels an image must have."""
        return len(self.preprocessing.noise)

    @property
    def context(self) -> Context:
        """Neighboring planes that each plane is seen with."""
        return self.methods[0].context

    @property
    def stride(self) -> int:
        """Pixels to which origin and size of tiles are aligned."""
        return max(method.stride for method in self.methods)

    @property
    def halo(self) -> int:
        """Context a side: the method's, and a pixel for the repair of hot ones.

        A multiple of :attr:`stride`.
        """
        needed = max(method.halo for method in self.methods) + 1
        return -(-needed // self.stride) * self.stride

    @property
    def bytes_per_pixel(self) -> int:
        """Working memory that a pixel of a tile needs."""
        return max(method.bytes_per_pixel for method in self.methods)

    @cached_property
    def revision(self) -> str:
        """Name that changes whenever results would: a hash of all they depend on."""
        facts = {**self._header(), "provenance": None}
        facts.pop("uncertainty", None)
        digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
        for name, tensor in sorted(self._tensors().items()):
            digest.update(name.encode())
            digest.update(tensor.cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()[:16]

    def __call__(self, noisy: np.ndarray) -> np.ndarray:
        """Denoise an array.

        Parameters
        ----------
        noisy : ndarray
            Counts, (..., Y, X), or (..., C, Y, X) for a model of several channels. One
            that sees neighboring planes (:attr:`context`) needs their axis before that.

        Returns
        -------
        ndarray
            Counts, float32, of the same shape.

        Raises
        ------
        ModelMismatchError
            If the array has no such axes, or another number of channels.
        DataError
            If a pixel is not finite.
        """
        return denoise_array(self, noisy)

    def core(self, padded: np.ndarray, halo: int) -> np.ndarray:
        """Denoise the core of tiles that bring their context along.

        Parameters
        ----------
        padded : ndarray
            Counts, (N, C, h + 2 halo, w + 2 halo), finite; with a :attr:`context` (N,
            depth * C, ...), each plane between its neighbors.
        halo : int
            At least :attr:`halo`; it and h and w are multiples of :attr:`stride`.

        Returns
        -------
        ndarray
            Counts, float32, (N, C, h, w).
        """
        return self.preprocessing.restore(self._computed(padded, halo, self._estimate))

    def deviation(self) -> Deviation | None:
        """The standard deviation of the results, as an operator of its own.

        Returns
        -------
        Deviation or None
            Applied as this model is, in the same counts. None where the method knows no
            deviation, or only that of another estimate: `check_deviation` says so.
        """
        known = knows_deviation(self.method, self.estimate_name, self._meant)
        return Deviation(self) if known else None

    def check_deviation(self) -> None:
        """Refuse to give standard deviations where :meth:`deviation` is None.

        Raises
        ------
        ModelError
            With what is known, and what to do.
        """
        check_deviation(self.method, self.estimate_name, self._meant)

    @property
    def _meant(self) -> str | None:
        """Estimate whose deviations were calibrated."""
        return None if self.uncertainty is None else self.uncertainty.output

    def predicted_deviation(self, padded: np.ndarray, halo: int) -> np.ndarray:
        """What the network says of its errors, normalized and not calibrated.

        Parameters
        ----------
        padded, halo
            As of :meth:`core`.

        Returns
        -------
        ndarray
            Float32, (N, C, h, w).
        """
        estimate = Estimate(self.method, DEVIATION, turns=self.turns)
        return self._computed(padded, halo, estimate)

    def _computed(
        self, padded: np.ndarray, halo: int, estimate: Estimate
    ) -> np.ndarray:
        """Normalized estimate of the core of tiles in counts."""
        windows = self._normalized(padded)
        # One network takes all channels, several take one each. Copies to and from a
        # device go on while it computes for another thread.
        shares = [
            upload(
                torch.from_numpy(center_first(share, self.context.planes)), self.device
            )
            for share in np.array_split(windows, len(self.methods), axis=2)
        ]
        with _LOCKS[str(self.device)], torch.inference_mode():
            parts = [
                self._forward(method, share, halo, estimate)
                for method, share in zip(self.methods, shares, strict=True)
            ]
            joined = parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)
        return download(joined).numpy()

    def _normalized(self, padded: np.ndarray) -> np.ndarray:
        """Windows (N, depth, C, h, w) as the network knows them.

        Planes that windows share, as :func:`read_padded` has them, are worked on once.
        """
        depth, channels = self.context.depth, self.n_channels
        n, _, *sides = padded.shape
        step, plane, *_ = padded.strides
        if depth == 1 or n == 1 or step != channels * plane:
            counts = padded.reshape(n, depth, channels, *sides)
            return self.preprocessing.normalize(counts)
        planes = as_strided(
            padded,
            (n + depth - 1, channels, *sides),
            (step, plane, *padded.strides[2:]),
            writeable=False,
        )
        normalized = self.preprocessing.normalize(planes)
        return np.moveaxis(sliding_window_view(normalized, depth, axis=0), -1, 1)

    def with_output(
        self,
        output: str | None = None,
        *,
        turns: bool | None = None,
        blend: float | None = None,
    ) -> Denoiser:
        """The same model, returning another estimate; what is not given stays.

        The weights are shared, not copied. A slider asks for both ``method.ends`` once
        and mixes them itself: ``(1 - blend) * first + blend * second``.

        Parameters
        ----------
        output : str, optional
            Name of the estimate, in place of any blend.
        turns : bool, optional
            Whether to average over the eight orientations.
        blend : float, optional
            Weight of the second of the method's two ends, from 0 to 1.

        Raises
        ------
        ModelError
            If the method has no such estimate, or an output and a blend are asked for.
        """
        if output and blend is not None:
            msg = f"output {output!r} and blend {blend} exclude each other: give one"
            raise ModelError(msg)
        estimate = Estimate(
            self.method,
            output or self.output,
            self.blend if blend is None and not output else blend,
            turns=self.turns if turns is None else turns,
        )
        return self._of(self.methods, self.preprocessing, estimate, self.uncertainty)

    def adjusted(self, changes: Mapping[str, object]) -> Denoiser:
        """The same model with other settings, of those that no weight depends on.

        The weights are shared, not copied. What was calibrated of its deviations is
        forgotten, as it was found with the settings before.

        Parameters
        ----------
        changes : mapping of str to object
            By names in ``Denoiser.method.Config.adjustable``, such as ``{"noise":
            "gamma", "alpha": 26}``; ``"estimated"`` leaves one to the images again.

        Raises
        ------
        ModelError
            If the method has no such setting, it decides on the weights, or a value is
            out of bounds.
        """
        if not changes:
            return self
        try:
            twins = [method.adjusted(changes) for method in self.methods]
        except ValidationError as error:
            raise ModelError(_first_fault(error)) from error
        except ValueError as error:
            msg = f"{self.method.title}: {error}"
            raise ModelError(msg) from error
        return self._of(twins, self.preprocessing, self._estimate, None)

    def with_uncertainty(self, uncertainty: Uncertainty | None) -> Denoiser:
        """The same model, with another calibration of its deviations, or none."""
        return self._of(self.methods, self.preprocessing, self._estimate, uncertainty)

    def of_channel(self, index: int) -> Denoiser:
        """The model of one channel alone, where each has a network of its own."""
        if len(self.methods) == 1:
            return self
        found = self.uncertainty
        return self._of(
            [self.methods[index]],
            self.preprocessing.of_channel(index),
            self._estimate,
            None if found is None else found.of_channel(index),
        )

    def _of(
        self,
        methods: Sequence[Method],
        preprocessing: Preprocessing,
        estimate: Estimate,
        uncertainty: Uncertainty | None,
    ) -> Denoiser:
        return Denoiser(
            methods,
            preprocessing,
            output=estimate.output,
            blend=estimate.blend,
            turns=estimate.turns,
            device=self._device_name,
            provenance=self.provenance,
            uncertainty=uncertainty,
        )

    def save(self, path: Path | str) -> Path:
        """Write the model to one file, which replaces an earlier one when complete.

        Raises
        ------
        OutputError
            If the file cannot be written.
        """
        return save_tensors(path, self._tensors(), self._header())

    @classmethod
    def load(cls, path: Path | str, device: str = "auto") -> Self:
        """Read what :meth:`save` wrote.

        Raises
        ------
        ModelNotFoundError
            If there is no such file.
        ModelError
            If it is no model, is cut off, comes from a newer version, or its method is
            of a package that is not installed.
        """
        tensors, header = load_tensors(path)
        _check_installed(path, header)
        try:
            return cls._from_parts(tensors, header, device)
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            msg = (
                f"{path} cannot be used as a model ({error}); update this package if "
                f"the model is newer, or train it again"
            )
            raise ModelError(msg) from error

    def __reduce__(self) -> tuple[Any, ...]:
        tensors = {n: t.cpu().contiguous() for n, t in self._tensors().items()}
        return _unpickle, (save_bytes(tensors), self._header(), self._device_name)

    def _forward(
        self, method: Method, normalized: Tensor, halo: int, estimate: Estimate
    ) -> Tensor:
        width = getattr(method.config, "width", None)
        with mixed_precision(self.device, width):
            return estimate.of(method, normalized, halo).float()

    def _tensors(self) -> dict[str, Tensor]:
        tensors: dict[str, Tensor] = {}
        for index, method in enumerate(self.methods):
            tensors |= prefixed(str(index), method.state_dict())
        return tensors

    def _header(self) -> dict[str, Any]:
        # Without a blend, models have the revision that they had before there was one.
        more: dict[str, Any] = {} if self.blend is None else {"blend": self.blend}
        if self.uncertainty is not None:
            more |= {"uncertainty": self.uncertainty.to_json()}
        return {
            **more,
            "format": FORMAT,
            "method": self.method.name,
            "config": self.methods[0].config.facts(),
            "networks": len(self.methods),
            "output": self.output,
            "turns": self.turns,
            "preprocessing": self.preprocessing.to_json(),
            "provenance": self.provenance,
        }

    @classmethod
    def _from_parts(
        cls, tensors: Mapping[str, Tensor], header: Mapping[str, Any], device: str
    ) -> Self:
        if header.get("format") != FORMAT:
            msg = f"its format is {header.get('format')}, this version reads {FORMAT}"
            raise ValueError(msg)
        kind = registry.find(header["method"])
        config = kind.Config.model_validate(header["config"])
        preprocessing = Preprocessing.from_json(header["preprocessing"])
        count = header["networks"]
        channels = len(preprocessing.noise) if count == 1 else 1
        with seeded(0):  # only so that nobody else's draws are disturbed
            methods = [kind(config, channels) for _ in range(count)]
        found = header.get("uncertainty")
        for index, method in enumerate(methods):
            method.load_state_dict(under(str(index), tensors))
        return cls(
            methods,
            preprocessing,
            output=header["output"],
            blend=header.get("blend"),
            turns=header["turns"],
            device=device,
            provenance=header["provenance"],
            uncertainty=Uncertainty.from_json(found) if found else None,
        )


def _check_installed(path: Path | str, header: Mapping[str, Any]) -> None:
    """Say where a model's method comes from, if it is not here."""
    name, known = header.get("method"), registry.available()
    if name is None or name in known:
        return
    package = header.get("provenance", {}).get("package")
    remedy = f"install {package}" if package else "install the package that brings it"
    msg = (
        f"{path} was trained with the method {name}, which is not here: {remedy}, or "
        f"train again with {' or '.join(known)}"
    )
    raise ModelError(msg)


def _first_fault(error: ValidationError) -> str:
    """The first setting that is wrong, in a sentence."""
    first = error.errors()[0]
    reason = first["msg"].removeprefix("Value error, ")
    name = ".".join(map(str, first["loc"]))
    if not name:
        return reason
    return f"{name} is {first['input']!r}: {reason[:1].lower()}{reason[1:]}"


def _unpickle(tensors: bytes, header: dict[str, Any], device: str) -> Denoiser:
    return Denoiser._from_parts(load_bytes(tensors), header, device)
