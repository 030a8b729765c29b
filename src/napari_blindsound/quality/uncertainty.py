"""How far a network's deviations are from those of its errors, and what mends that.

Shape and size are found apart. How errors depend on what the network says, and how
often they are large, is that of a simulation; how much larger they are than simulated
ones is told by the image itself, as far as it can tell, and else by the network.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.optimize import isotonic_regression

from napari_blindsound.inference.deviation import WITHIN, Band, Uncertainty
from napari_blindsound.methods.base import DEVIATION
from napari_blindsound.quality.simulation import BLURS, Simulation

if TYPE_CHECKING:
    import threading
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_blindsound.images.volume import Volume
    from napari_blindsound.inference.denoiser import Denoiser
    from napari_blindsound.inference.deviation import Observed
    from napari_blindsound.methods.base import Method
    from napari_blindsound.quality.simulation import Table

    Floats = NDArray[np.floating]
    Order = NDArray[np.intp]

# Groups of pixels by predicted deviation; pixels in each for a width; for a level.
_BINS, _FEWEST, _PIXELS_OF_LEVEL = 12, 400, 16_000

# How much more lost detail there is than is seen, with its error. After a blur it was
# 0.9 to 1.8 times as much on phantoms and FOV 00 of FMDD, chance included.
_BEYOND = {"repeats": (1.0, 0.0), "residual": (1.3, 0.1)}
# Without a look at the image: the squared errors are those of the simulation, times
# this power of what the network says of them against those (0.3 to 0.6 there, and more
# where photons are few, which is where the image itself tells little).
_POWER, _POWER_ERROR, _LEAST_ERROR = 0.65, 0.12, 0.1
# Limits of that ratio. Lost detail only adds to the errors; and what was taken away
# beyond the second number must be noise that was under-estimated.
_LIMITS = {"repeats": (0.5, 1e4), "residual": (1.0, 9.0)}
_SIGMAS = 2.0
# Largest error of the logarithm with which an image tells it; and how wrong deviations
# were on phantoms of 5 photons, which do not.
_TOLD, _UNTOLD_ERROR = 0.25, 0.15
# Of the logarithm of that ratio in a group, before it is looked at.
_GROUP_ERROR, _LEAST_OF_GROUP = 0.5, 0.3


class _Look(NamedTuple):
    """How a group is looked at in a band.

    Parameters
    ----------
    alike : float
        How much less certain means are than of pixels that have nothing in common.
    noise_error : float
        Of the noise's variance that was simulated, as a share of it.
    """

    alike: float
    noise_error: float


_LOOKS = {
    "repeats": [_Look(1.5, 0.0)],
    "residual": [_Look(math.sqrt(2 * math.pi) * blur, 0.05) for blur in BLURS],
}


# Pixels through a network that a calibration takes: whatever the image, and for each
# of its pixels, of which there are half a million at most.
_ALWAYS, _EACH, _MOST = 900_000, 5, 500_000


def calibration_pixels(method: Method, volumes: Sequence[Volume]) -> float:
    """Pixels through the network, one way, that :func:`calibrated` takes about."""
    if DEVIATION not in method.outputs:
        return 0.0
    there = sum(math.prod(volume.shape) for volume in volumes)
    return _ALWAYS + _EACH * min(there, _MOST)


def calibrated(
    denoiser: Denoiser,
    volumes: Sequence[Volume],
    *,
    seed: int = 0,
    stop: threading.Event | None = None,
) -> Denoiser:
    """The same model, whose deviations mean what they say.

    Windows of the images, half a million pixels at most, are denoised, and so are as
    many drawn ones.

    Parameters
    ----------
    denoiser : Denoiser
        A model, returning the estimate whose deviations are meant.
    volumes : sequence of Volume
        Noisy images that the model fits; best those it was trained on.
    seed : int
        Of the choice of windows and of the noise drawn.
    stop : threading.Event, optional
        Set it to end early, without a calibration.

    Returns
    -------
    Denoiser
        With `Denoiser.uncertainty`. As it was where its method knows no deviation,
        where no noise was found, or `stop` was set.

    Raises
    ------
    ModelMismatchError
        If an image has another number of channels.
    DataError
        If a pixel is not finite.

    References
    ----------
    Efron, Tibshirani: An Introduction to the Bootstrap, 1993, chapter 6, for the
    simulation; Barlow et al.: Statistical Inference under Order Restrictions, 1972, for
    a line that never falls.
    """
    if DEVIATION not in denoiser.method.outputs:
        return denoiser
    simulation = Simulation(denoiser.with_uncertainty(None), volumes, seed)
    tables = simulation.tables(stop)
    found = [_channel(table, simulation.observed) for table in tables]
    known = [one for one in found if one is not None]
    if not known or len(known) < len(found):
        return denoiser
    told = _told(known, simulation, denoiser.estimate_name)
    return denoiser.with_uncertainty(told)


class _Factor(NamedTuple):
    """Errors against simulated ones.

    Parameters
    ----------
    value, error : float
        Their ratio, and its standard error as a share of it.
    is_seen : bool
        Whether the image told it.
    is_below, is_above : bool
        Whether the image surely has less noise than was simulated, or far more.
    """

    value: float
    error: float
    is_seen: bool
    is_below: bool
    is_above: bool


class _Channel(NamedTuple):
    """What was found of one channel; `coverage` is that of the simulated errors."""

    band: Band
    factor: _Factor
    coverage: tuple[float, float]


def _channel(table: Table, observed: Observed) -> _Channel | None:
    """Combine shape and size; None where too little was simulated."""
    said, errors = table.simulated
    if not (len(said) and table.square > 0):
        return None
    factor = _factor(table, observed)
    order = np.argsort(said, kind="stable")
    levels = _levels(table, order, factor.value**2, observed)
    scaled = np.sqrt(levels) * errors
    band = _line(said, scaled, order)
    # The line through the groups misses the shares by a little.
    ratio = scaled / band.of(said)
    one, two = (float(np.quantile(ratio, share)) for share in WITHIN)
    inside = float((ratio <= one).mean()), float((ratio <= two).mean())
    band = Band(band.predicted, tuple(one * width for width in band.actual), two / one)
    return _Channel(band, factor, inside)


def _line(said: Floats, errors: Floats, order: Order) -> Band:
    """Widths that hold 68 % of the errors, by what the network says; never falling."""
    groups = np.array_split(order, max(1, min(_BINS, len(said) // _FEWEST)))
    found = [
        (np.median(said[one]), np.quantile(errors[one], WITHIN[0]), len(one))
        for one in groups
    ]
    knots, widths, weights = np.maximum(np.array(found, np.float64).T, 1e-12)
    # Groups of which the network says the same are one.
    knots, where = np.unique(knots, return_inverse=True)
    total = np.bincount(where, weights)
    widths = np.bincount(where, weights * np.log(widths)) / total
    rising = np.exp(isotonic_regression(widths, weights=total).x)
    return Band(tuple(knots.tolist()), tuple(rising.tolist()), 1.0)


def _levels(
    table: Table, order: Order, overall: float, observed: Observed
) -> NDArray[np.floating]:
    """Squared errors against simulated ones, (n,), the same in all of a group.

    A group's is that of all pixels, times what the bands tell of the group against all
    pixels, by their precision.
    """
    count = max(1, min(_BINS, len(table.predicted) // _PIXELS_OF_LEVEL))
    groups, said = np.array_split(order, count), table.simulated[0]
    edges = [said[one].min() for one in groups[1:]]
    number = np.searchsorted(edges, table.predicted, side="right")
    found = np.full(len(said), overall)
    for index, group in enumerate(groups):
        here, sums = number == index, np.zeros(2)
        if here.sum() < _FEWEST:
            continue
        for band, look in enumerate(_LOOKS[observed]):
            actual, drawn = table.actual[band], table.looked[band]
            errors = table.errors[band]
            whole, _ = _level(actual, drawn, errors, look)
            part, doubt = _level(actual[here], drawn[group], errors[group], look)
            sums += np.array([math.log(part / whole), 1.0]) / doubt**2
        found[group] *= math.exp(sums[0] / (sums[1] + 1 / _GROUP_ERROR**2))
    return found


def _level(
    actual: Floats, drawn: Floats, errors: Floats, look: _Look
) -> tuple[float, float]:
    """Squared errors against simulated ones in a band, and its logarithm's error."""
    square = max(float(errors.mean()), 1e-30)
    level = 1 + float(actual.mean() - drawn.mean()) / square
    variances = actual.var() / len(actual) + drawn.var() / len(drawn)
    spread = look.alike * math.sqrt(variances) / square
    doubt = math.hypot(spread, look.noise_error * float(drawn.mean()) / square)
    level = max(level, _LEAST_OF_GROUP)
    return level, max(doubt / level, 1e-2)


def _factor(table: Table, observed: Observed) -> _Factor:
    """What the image and the network tell, by their precision, in logarithms."""
    said = float((table.predicted**2).mean())
    simulated = float((table.simulated[1] ** 2).mean())
    apart = math.log(max(said / simulated, 1.0))
    prior = _POWER * apart
    doubt = math.hypot(_LEAST_ERROR, _POWER_ERROR * apart)
    excess = float(table.excess.mean()) / table.square
    count = len(table.excess)
    spread = float(table.excess.std(ddof=1)) if count > 1 else math.inf
    spread /= math.sqrt(count) * table.square
    is_below = excess < -_SIGMAS * spread
    beyond, error = _BEYOND[observed]
    least, most = _LIMITS[observed]
    seen = max(1 + beyond * excess, least)
    error = max(math.hypot(beyond * spread / seen, error), 1e-3)
    weights = 1 / error**2, 1 / doubt**2
    found = weights[0] * math.log(min(seen, most)) + weights[1] * prior
    is_seen = error < _TOLD
    doubt = 1 / math.sqrt(sum(weights)) / 2
    return _Factor(
        math.exp(found / sum(weights) / 2),
        doubt if is_seen else max(doubt, _UNTOLD_ERROR),
        is_seen,
        is_below,
        seen > most,
    )


def _told(
    channels: Sequence[_Channel], simulation: Simulation, estimate: str
) -> Uncertainty:
    """Everything in one record, and in words."""
    is_seen = all(one.factor.is_seen for one in channels)
    observed = simulation.observed if is_seen else "nothing"
    reasons = {
        "repeats": "frames of the same scene told the size of the errors",
        "residual": "what denoising took away told the size of the errors",
        "nothing": "the image is too small or too noisy to tell the size of the "
        "errors, for which the network was believed in part",
    }
    low, high = (
        float(np.mean([one.coverage[part] for one in channels])) for part in (0, 1)
    )
    error = max(one.factor.error for one in channels)
    times = " and ".join(f"{one.band.k95:.2f}" for one in channels)
    words = (
        f"{100 * low:.0f} % of the clean pixels are expected within one deviation of "
        f"the estimate, {100 * high:.0f} % within {times} of them; simulated noise "
        f"told the shape of the errors, and {reasons[observed]} "
        f"({100 * error:.0f} % uncertain)"
    )
    if any(one.factor.is_below for one in channels):
        words += (
            "; less was taken away than the noise makes up, so that the noise seems "
            "over-estimated, and the deviations with it"
        )
    if any(one.factor.is_above for one in channels):
        words += (
            "; far more was taken away than the noise makes up: either it is under-"
            "estimated, or most of the detail was lost, and errors may be larger yet"
        )
    return Uncertainty(
        tuple(one.band for one in channels),
        estimate,
        observed,
        (low, high),
        error,
        simulation.pixels,
        words,
    )
