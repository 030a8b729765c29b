"""May a result be trusted? Tests after training, without a clean image.

Noise without an image goes in, beads of known brightness are planted, and what was
taken away is looked at: a model that invents structure, swallows it, or copies its
input shows it in one of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari_blindsound.inference.reading import check_channels
from napari_blindsound.quality import findings
from napari_blindsound.quality.trial import Trial
from napari_blindsound.quality.verdict import Finding, Verdict, worst

if TYPE_CHECKING:
    import threading

    from napari_blindsound.images.volume import Volume
    from napari_blindsound.inference.denoiser import Denoiser
    from napari_blindsound.noise.calibration import NoiseModel
    from napari_blindsound.quality.blank import Blank
    from napari_blindsound.quality.flat import Bias
    from napari_blindsound.quality.injection import Injection
    from napari_blindsound.quality.residual import Residual
    from napari_blindsound.quality.ring import Ring

_SUMMARY: dict[Verdict, str] = {
    "pass": "No test found anything wrong.",
    "unknown": "Nothing wrong was found, but not every test could be done.",
    "warn": "Usable with care: see what the tests marked with a warning say.",
    "fail": "Do not rely on this result: see what the failed tests say.",
}


@dataclass(frozen=True, eq=False)
class ChannelTrust:
    """What the tests found for one channel.

    Parameters
    ----------
    title : str
        Which channel, for a heading; empty where there is one.
    noise : NoiseModel
        The noise, as the model was trained with.
    pixels : int
        Pixels of the image that were looked at.
    findings : tuple of Finding
        One a test, in the order in which to read them.
    bias, residual : Bias, Residual or None
        None where the model's result is not finite.
    blank, injection : Blank, Injection or None
        None where they could not be done.
    rings : tuple of Ring, or None
        Agreement of two simulated exposures, noisy and denoised.
    """

    title: str
    noise: NoiseModel
    pixels: int
    findings: tuple[Finding, ...]
    bias: Bias | None = None
    residual: Residual | None = None
    blank: Blank | None = None
    injection: Injection | None = None
    rings: tuple[Ring, Ring] | None = None

    @property
    def verdict(self) -> Verdict:
        """The worst of the findings."""
        return worst(finding.verdict for finding in self.findings)

    def as_rows(self) -> dict[str, str]:
        """For people."""
        rows = {
            finding.test: " ".join(
                [finding.verdict.upper().ljust(7), finding.found, finding.advice]
            ).rstrip()
            for finding in self.findings
        }
        if self.rings:
            before, after = (ring.resolution() for ring in self.rings)
            rows["repeats"] = (
                f"        Two exposures would agree down to {after:.3g} pixels, before"
                f" denoising {before:.3g} (ring correlation 1/7)."
            )
        return rows

    def as_data(self) -> dict[str, Any]:
        """For programs."""
        parts = {
            "blank": self.blank,
            "injection": self.injection,
            "bias": self.bias,
            "residual": self.residual,
        }
        rings = [ring.resolution() for ring in self.rings] if self.rings else None
        return {
            "channel": self.title.removeprefix(" of "),
            "verdict": self.verdict,
            "findings": [finding.as_data() for finding in self.findings],
            "noise": self.noise.to_json(),
            "pixels_read": self.pixels,
            **{name: part.as_data() if part else None for name, part in parts.items()},
            "repeats_agree_pixels": rings,
        }


@dataclass(frozen=True, eq=False)
class Trust:
    """What the tests found.

    Parameters
    ----------
    channels : tuple of ChannelTrust
        One a channel.
    seed : int
        Of the noise and the places.
    stopped : bool
        Whether the tests were ended before they were done.
    """

    channels: tuple[ChannelTrust, ...]
    seed: int
    stopped: bool = False

    @property
    def verdict(self) -> Verdict:
        """The worst of all channels."""
        return worst(channel.verdict for channel in self.channels)

    @property
    def summary(self) -> str:
        """The verdict in a sentence."""
        return _SUMMARY[self.verdict]

    def as_data(self) -> dict[str, Any]:
        """For programs."""
        return {
            "verdict": self.verdict,
            "summary": self.summary,
            "ended": "stopped" if self.stopped else "done",
            "seed": self.seed,
            "channels": [channel.as_data() for channel in self.channels],
        }


def trust(
    denoiser: Denoiser,
    volume: Volume,
    *,
    seed: int = 0,
    stop: threading.Event | None = None,
) -> Trust:
    """Test what a model does to an image and to noise.

    The work is bounded, however large the image: some four windows are denoised, five
    flat fields, and up to eight copies of one window with fresh noise.

    Parameters
    ----------
    denoiser : Denoiser
        The model.
    volume : Volume
        An image that it is to be used on.
    seed : int
        Of the places that are looked at, and of the noise.
    stop : threading.Event, optional
        Set it from anywhere to end after the test at work: those not done are then
        unknown.

    Raises
    ------
    ModelMismatchError
        If the image has another number of channels than the model.
    DataError
        If a pixel is not finite, or the image is smaller than 16 x 16 pixels.
    """
    check_channels(denoiser, volume)
    trial = Trial(denoiser, volume, seed)
    for _ in trial.steps():
        if stop is not None and stop.is_set():
            break
    names = volume.channel_names or [f"channel {i}" for i in range(volume.n_channels)]
    titles = [f" of {name}" if volume.n_channels > 1 else "" for name in names]
    channels = [
        _channel(trial, index, title, denoiser.preprocessing.noise[index])
        for index, title in enumerate(titles)
    ]
    return Trust(tuple(channels), seed, stopped=not trial.is_done)


def _channel(trial: Trial, index: int, title: str, noise: NoiseModel) -> ChannelTrust:
    """Judge what was measured in a channel."""
    pixels = trial.pixels
    if not trial.is_finite:
        return ChannelTrust(title, noise, pixels, (findings.not_finite(),))
    bias, residual = trial.bias(index), trial.residual(index)
    blank, injection = trial.blank(index), trial.injection(index)
    found = (
        findings.of_blank(blank)
        if blank
        else findings.not_done(findings.BLANK, trial.why_not),
        findings.of_injection(injection)
        if injection
        else findings.not_done(findings.INJECTION, trial.why_not),
        findings.of_single_frames(injection) if injection else None,
        findings.of_dark(bias),
        findings.of_intensity(bias),
        findings.of_residual(residual),
        findings.of_whiteness(residual),
        findings.of_identity(residual),
        findings.of_grid(blank, residual, trial.sigma(index)),
    )
    return ChannelTrust(
        title,
        noise,
        pixels,
        tuple(finding for finding in found if finding is not None),
        bias,
        residual,
        blank,
        injection,
        trial.rings(index),
    )
