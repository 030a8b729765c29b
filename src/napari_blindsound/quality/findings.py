"""From measured numbers to verdicts, each in a sentence that says what to do.

The thresholds were set on Blind2Unblind's fast preset, 300 to 1500 steps: ten phantoms
of 8 to 100 photons and FMDD Confocal_FISH and Confocal_MICE, view 00; against networks
that pass their input through, return a constant, were stopped after 40 steps, or have
learned 32 x 32 or 64 x 64 pixels by heart. What the good ones showed stands beside
each. They judge the tests, not the specimen: a pass means that nothing wrong was seen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_blindsound.quality.verdict import Finding, Verdict, graded, worst

if TYPE_CHECKING:
    from napari_blindsound.quality.blank import Blank
    from napari_blindsound.quality.flat import Bias
    from napari_blindsound.quality.grid import Peak
    from napari_blindsound.quality.injection import Injection
    from napari_blindsound.quality.residual import Residual

# Each pair: from where to warn, from where to fail.
_LEFT = (0.45, 0.7)  # of the noise; good: 0.07 to 0.30, a copy of the input: 1
_INVENTED = (1.45, 2.0)  # power; good: up to 1.27 (chance 0.06); bad: 1.5 to 9
_FIELD = (0.45, 0.9)  # noise levels; good: up to 0.22, 0.34 where 8 bits clip at zero
_KEPT = (0.55, 0.35)  # of a bead; good: 0.65 to 1.0, at 8 photons 0.49; 40 steps: 0.27
_SWOLLEN = (1.25, 1.6)  # of a bead; good: up to 1.0
_LIMIT = (0.75, 0.95)  # of the limit before; good: 0.3 to 0.48, a copy of the input: 1
_DARK = (0.2, 0.5)  # noise levels; good: up to 0.11; 40 steps: 0.7
_SLOPE = (0.08, 0.2)  # counts a count; good: up to 0.04
_SURE = 3.0  # standard errors, below which a shift is no shift
_UNDER, _OVER = (0.7, 0.4), (1.25, 2.0)  # variance; good: 0.87 to 0.98; bad: 0, 1.3, 4
_COLORED = (0.15, 0.35)  # correlation; good: up to 0.11; 40 steps 0.25, a constant 0.76
_IDENTITY = (0.5, 0.2)  # METHODS 10.6: good: 0.74 to 0.96
_GRID = (0.03, 0.1)  # noise levels; good: up to 0.006, with ratios of up to 19
_GRID_RATIO = 4.0  # power over that beside it, below which a grid is chance

BLANK, INJECTION = "blank test", "injection test"
_SINGLE, _BRIEF = "single frames", "what lasts for one frame is kept"
_EXPECTED = {
    BLANK: "pure noise comes out nearly flat",
    INJECTION: "brightness is kept, fainter spots are seen",
}
_MOST_PERCENT = 1000
_LONGER = "Train longer, or on more images of this kind."
_COPY = (
    "The model copies its input: is the noise correlated between pixels, or was it"
    " trained on very few? Train it anew on more images, or use the blind estimate."
)
_FAINT = "Do not interpret faint structure; train on more images, or a smaller network."


def not_done(test: str, why: str, advice: str = "") -> Finding:
    """A test that says nothing."""
    return Finding(test, "unknown", why, _EXPECTED[test], advice)


def not_finite() -> Finding:
    """Judge a result that is no image."""
    return Finding(
        "result",
        "fail",
        "The model returns pixels that are no numbers.",
        "an image",
        "Train it again, with a lower learning rate.",
    )


def of_blank(blank: Blank) -> Finding:
    """Judge what came of pure noise."""
    test, expected = BLANK, _EXPECTED[BLANK]
    left = float(blank.left.max())
    power = {name: float(gain.max()) for name, gain in blank.gain.items()}
    field = int(np.argmax(np.abs(blank.bias)))
    shift = float(blank.bias[field])
    grades = {
        "left": graded(left, *_LEFT),
        "invented": graded(max(power.values()), *_INVENTED),
        "field": graded(abs(shift), *_FIELD),
    }
    verdict = worst(grades.values())
    if verdict == "pass":
        found = (
            f"Of pure noise at most {_percent(left)} is left; its slow waves have"
            f" {power['low']:.2f} times the power they had, at most."
        )
        return Finding(test, "pass", found, expected)
    reason = next(name for name, grade in grades.items() if grade == verdict)
    if max(power.values()) > _INVENTED[1]:
        reason = "invented"
    found, advice = {
        "left": (f"Of pure noise {_percent(left)} comes out again.", _COPY),
        "invented": (
            f"Pure noise comes out as clouds of {max(power.values()):.3g} times the"
            f" power it had: structure is invented where there is nothing.",
            _FAINT,
        ),
        "field": (
            f"An even field of {blank.levels[field]:.4g} counts comes out"
            f" {abs(shift):.2g} noise levels too {'bright' if shift > 0 else 'dark'}.",
            _LONGER,
        ),
    }[reason]
    return Finding(test, verdict, found, expected, advice)


def of_injection(injection: Injection) -> Finding:
    """Judge what became of planted beads."""
    after, slope = injection.denoised, injection.denoised.slope
    before = min(injection.noisy.limit, 10.0)
    sizes = worst([graded(slope, *_KEPT), graded(slope, *_SWOLLEN)])
    limits = graded(after.limit / before, *_LIMIT)
    verdict = worst([sizes, limits])
    seen = f"seen from {after.limit:.2g} times the noise on (before: {before:.2g})"
    if not np.isfinite(after.limit):
        seen = "not told from the background"
    found = (
        f"Planted spots come out with {_percent(slope)} ± {_percent(after.slope_error)}"
        f" of their brightness, and are {seen}."
    )
    advice = ""
    if sizes != "pass" and slope < 1:
        advice = f"Do not measure small spots in the result. {_LONGER}"
    elif sizes != "pass":
        advice = f"Do not measure small spots in the result. {_FAINT}"
    elif limits != "pass":
        advice = _COPY
    return Finding(INJECTION, verdict, found, _EXPECTED[INJECTION], advice)


def of_single_frames(injection: Injection) -> Finding | None:
    """Warn of what a model that sees several frames makes of events in one of them."""
    if injection.alone is None:
        return None
    kept, error = injection.alone.slope, injection.alone.slope_error
    found = (
        f"Spots that light up in one frame alone come out with {_percent(kept)} ± "
        f"{_percent(error)} of their brightness."
    )
    if graded(kept, *_KEPT) == "pass":
        return Finding(_SINGLE, "pass", found, _BRIEF)
    advice = "Where such events matter, train a model with context=none."
    return Finding(_SINGLE, "warn", found, _BRIEF, advice)


def of_dark(bias: Bias) -> Finding:
    """Judge the shift of the mean in dark, flat regions."""
    test, expected = "dark regions", "the mean stays what it was"
    if not np.isfinite(bias.dark):
        found = f"The image has too few dark regions to tell ({bias.windows})."
        return Finding(test, "unknown", found, expected)
    shift = abs(bias.dark) / max(bias.sigma, 1e-9)
    sure = abs(bias.dark) > _SURE * bias.error
    verdict = graded(shift, *_DARK) if sure else "pass"
    found = (
        f"The darkest flat regions shift by {bias.dark:+.3g} ± {bias.error:.2g} counts,"
        f" {shift:.2g} of their noise."
    )
    advice = "" if verdict == "pass" else f"Measure backgrounds in raw data. {_LONGER}"
    return Finding(test, verdict, found, expected, advice)


def of_intensity(bias: Bias) -> Finding:
    """Judge the shift of the mean over the range of intensities."""
    test, expected = "intensities", "bright and dark keep their distance"
    if not np.isfinite(bias.slope):
        found = "The result has one intensity only."
        return Finding(test, "fail", found, expected, _LONGER)
    sure = abs(bias.slope) > _SURE * bias.slope_error
    verdict = graded(abs(bias.slope), *_SLOPE) if sure else "pass"
    word = "closer to the mean" if bias.slope < 0 else "further from the mean"
    found = (
        f"Over 8 x 8 pixels, intensities come out {_percent(abs(bias.slope))} {word}"
        f" (± {_percent(bias.slope_error)})."
    )
    advice = "" if verdict == "pass" else f"Compare intensities in raw data. {_LONGER}"
    return Finding(test, verdict, found, expected, advice)


def of_residual(residual: Residual) -> Finding:
    """Judge how much was taken away."""
    test = "amount removed"
    expected = "as much varies as in the noise"
    ratio = residual.ratio
    verdict = worst([graded(ratio, *_UNDER), graded(ratio, *_OVER)])
    found = f"The variance of what was removed is {_percent(ratio)} of the noise's."
    advice = ""
    if verdict != "pass":
        advice = _COPY if ratio < 1 else f"Structure was removed, too. {_LONGER}"
    return Finding(test, verdict, found, expected, advice)


def of_whiteness(residual: Residual) -> Finding:
    """Judge whether what was taken away looks like noise."""
    test = "pattern removed"
    expected = "neighbors are independent"
    largest = residual.largest
    verdict = graded(abs(largest), *_COLORED)
    found = f"Nearby pixels of what was removed correlate by {largest:+.2g} at most."
    if verdict == "pass":
        return Finding(test, verdict, found, expected)
    advice = (
        f"Look for outlines in the residual: structure was removed. {_LONGER}"
        if largest > 0
        else "Noise was left behind, or the noise itself is correlated: inspect it."
    )
    return Finding(test, verdict, found, expected, advice)


def of_identity(residual: Residual) -> Finding | None:
    """Judge whether the model copies pixels; None without a blind estimate."""
    if not np.isfinite(residual.identity):
        return None
    verdict = graded(residual.identity, *_IDENTITY)
    found = (
        f"The squared distance to the noisy pixels is {_percent(residual.identity)} of"
        f" that of an estimate blind to them."
    )
    advice = "" if verdict == "pass" else _COPY
    return Finding(
        "copying",
        verdict,
        found,
        "over 50 %: pixels are not copied",
        advice,
    )


def of_grid(blank: Blank | None, residual: Residual, sigma: float) -> Finding:
    """Judge grids in flat fields and in the image.

    Parameters
    ----------
    blank, residual
        What was measured.
    sigma : float
        Typical noise of the image, counts.
    """
    expected = "no checkerboard, no grid"
    unit = max(sigma, 1e-9)
    peaks = [
        (period, peak, "flat fields")
        for period, peak in (blank.grid if blank else {}).items()
    ] + [
        (period, peak._replace(amplitude=peak.amplitude / unit), "the image")
        for period, peak in residual.grid.items()
    ]
    if not peaks:
        found = "The image is too small to look for a grid."
        return Finding("grid", "unknown", found, expected)
    period, peak, where = max(peaks, key=lambda item: _strength(item[1]))
    verdict: Verdict = graded(_strength(peak), *_GRID)
    if verdict == "pass":
        searched = ", ".join(map(str, sorted({p for p, _, _ in peaks})))
        found = f"No grid of {searched} pixels stands out."
        return Finding("grid", verdict, found, expected)
    found = (
        f"A grid of {period} pixels stands out in {where}: {_percent(peak.amplitude)}"
        f" of the noise, {peak.ratio:.3g} times the power beside it."
    )
    return Finding("grid", verdict, found, expected, _LONGER)


def _strength(peak: Peak) -> float:
    return peak.amplitude if peak.ratio > _GRID_RATIO else 0.0


def _percent(part: float) -> str:
    value = 100 * part
    if value > _MOST_PERCENT:
        return f"over {_MOST_PERCENT} %"
    return f"{value:.0f} %" if value >= 10 else f"{value:.1f} %"
