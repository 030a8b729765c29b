"""Injection test: what becomes of beads of known brightness planted in the image.

Where a model sees neighboring planes, they have the beads, too: those of a stack half
of the light, as the optics have it, and all of it the frames of a movie. What becomes
of beads that light up in one frame alone is told apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import cycle, islice
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy.ndimage import uniform_filter

from napari_blindsound.inference.windows import denoise_windows

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from napari_blindsound.images.context import Context
    from napari_blindsound.inference.denoiser import Denoiser
    from napari_blindsound.quality.exposure import Exposure

    Floats = NDArray[np.float64]
    Image = NDArray[np.float32]

BRIGHTNESS = (0.5, 1.0, 2.0, 3.0, 5.0, 7.0, 10.0)
"""Planted peaks, in standard deviations of the noise where they are planted."""

BRIGHT = 5.0
"""From here on a bead is plain to see in the noisy image, and must be kept."""

_SIZES = (1.3, 2.0)  # px, standard deviation: what a good objective makes of a point
_PITCH, _JITTER, _MARGIN = 16, 3, 12  # px
_RADIUS, _RING = 8, (6.0, 8.5)  # px; the ring around a bead, outside of its light
_FLAT = 0.6  # part of the places, the smoothest, where beads go
_EMPTY = 0.25  # part of the places left empty, to know the spread
_WANTED, _MOST_DRAWS = 300, 6  # beads and empty places, all draws together
_FEWEST = 40
_SEEN = 3.0  # spreads of the empty places


class Response(NamedTuple):
    """Peaks recovered, in standard deviations of the noise, by planted brightness.

    Parameters
    ----------
    mean, error : ndarray
        Mean over the beads of each of :data:`BRIGHTNESS`, and its standard error.
    spread : float
        Standard deviation at the places left empty.
    """

    mean: Floats
    error: Floats
    spread: float

    @property
    def limit(self) -> float:
        """Brightness from which the mean peak is over three spreads; may be infinite.

        Interpolated between the brightnesses planted.
        """
        planted = np.array((0.0, *BRIGHTNESS))
        ratio = np.array((0.0, *self.mean)) / max(self.spread, 1e-9)
        seen = np.flatnonzero(ratio[1:] >= _SEEN) + 1
        if not len(seen):
            return float("inf")
        i = int(seen[0])
        part = (_SEEN - ratio[i - 1]) / (ratio[i] - ratio[i - 1])
        return float(planted[i - 1] + part * (planted[i] - planted[i - 1]))

    @property
    def slope(self) -> float:
        """Recovered against planted, a line through zero over the bright beads."""
        bright = np.array(BRIGHTNESS) >= BRIGHT
        planted = np.array(BRIGHTNESS)[bright]
        return float(planted @ self.mean[bright] / (planted @ planted))

    @property
    def slope_error(self) -> float:
        """Standard error of :attr:`slope`."""
        bright = np.array(BRIGHTNESS) >= BRIGHT
        planted = np.array(BRIGHTNESS)[bright]
        spread = float((planted * self.error[bright]) @ (planted * self.error[bright]))
        return float(spread**0.5 / (planted @ planted))

    def as_data(self) -> dict[str, Any]:
        """For programs."""
        return {
            "recovered": self.mean.tolist(),
            "error": self.error.tolist(),
            "slope": self.slope,
            "slope_error": self.slope_error,
            "limit": self.limit if np.isfinite(self.limit) else None,
        }


@dataclass(frozen=True, eq=False)
class Injection:
    """What one channel makes of planted beads.

    Parameters
    ----------
    noisy, denoised : Response
        Beads with fresh noise, before and after denoising.
    difference : Response
        Denoised with beads minus denoised without, the noise being the same.
    beads : int
        How many were planted.
    sigma : float
        Median standard deviation of the noise where they were, counts.
    alone : Response, optional
        As `difference`, of beads in one frame of which the model sees several.
    """

    noisy: Response
    denoised: Response
    difference: Response
    beads: int
    sigma: float
    alone: Response | None = None

    def as_data(self) -> dict[str, Any]:
        """For programs."""
        alone = {} if self.alone is None else {"single_frame": self.alone.as_data()}
        return {
            **alone,
            "brightness": list(BRIGHTNESS),
            "beads": self.beads,
            "sigma": self.sigma,
            "noisy": self.noisy.as_data(),
            "denoised": self.denoised.as_data(),
            # Without noise of its own it has no limit.
            "difference": {**self.difference.as_data(), "limit": None},
        }


class _Places(NamedTuple):
    """Where beads can go in one channel."""

    rows: NDArray[np.intp]
    columns: NDArray[np.intp]
    sigma: Floats


class Repeats(NamedTuple):
    """Two fresh exposures of the scene without beads, and what becomes of them."""

    noisy: tuple[Image, Image]
    denoised: tuple[Image, Image]


def injection_test(
    denoiser: Denoiser, exposure: Exposure, scene: Image, rng: np.random.Generator
) -> tuple[list[Injection | None], Repeats]:
    """Plant beads in a scene, expose it anew, denoise it, and measure the beads.

    Parameters
    ----------
    denoiser : Denoiser
        The model.
    exposure : Exposure
        Of the noise.
    scene : ndarray
        (depth, C, h, w) counts taken for the truth: the denoised image, among the
        planes that the model sees beside it.
    rng : numpy.random.Generator
        Of places, sizes and noise.

    Returns
    -------
    list of Injection or None
        One a channel; None where the image is too small for enough beads.
    repeats : Repeats
        For a ring correlation.
    """
    middle = len(scene) // 2
    center = scene[middle]
    places = [
        _places(plane, sigma, rng)
        for plane, sigma in zip(center, exposure.sigma(center), strict=True)
    ]
    plain = exposure.draw(np.stack([scene, scene]), rng)
    before = denoise_windows(denoiser, plain)
    repeats = Repeats((plain[0, middle], plain[1, middle]), (before[0], before[1]))
    share = _shares(denoiser.context)
    # One after the other over all draws: few places have not all brightnesses at once.
    levels = [cycle(BRIGHTNESS) for _ in places]
    tables: list[list[Floats]] = [[] for _ in places]
    for draw in range(_draws(places)):
        planted = [
            _planted(place, center.shape[1:], level, rng)
            for place, level in zip(places, levels, strict=True)
        ]
        spots = np.stack([image for image, _ in planted]).astype(np.float32)
        beads, same = share * spots, plain[draw % 2]
        fresh = exposure.draw(scene + beads, rng)
        given = [fresh, same + beads]
        if denoiser.context.planes and denoiser.context.axis == "T":
            given.append(same.copy())
            given[-1][middle] += spots
        with_fresh, *with_same = denoise_windows(denoiser, np.stack(given))
        images = [fresh[middle] - center, with_fresh - center]
        images += [one - before[draw % 2] for one in with_same]
        for channel, place in enumerate(places):
            peaks = [_peaks(image[channel], place) for image in images]
            tables[channel].append(np.stack([planted[channel][1], *peaks]))
    return [
        _injection(np.concatenate(table, axis=1), place)
        for table, place in zip(tables, places, strict=True)
    ], repeats


def _draws(places: Sequence[_Places]) -> int:
    """Exposures that it takes until there are enough beads, within limits."""
    fewest = max(1, min(len(place.rows) for place in places))
    return int(np.clip(-(-_WANTED // fewest), 1, _MOST_DRAWS))


def _shares(context: Context) -> Image:
    """Of a bead's light in each plane of a window, (depth, 1, 1, 1)."""
    away = np.abs(np.arange(context.depth) - context.planes)
    share = 0.5**away if context.axis == "Z" else np.ones(context.depth)
    return share.astype(np.float32)[:, None, None, None]


def _places(plane: Image, sigma: Floats, rng: np.random.Generator) -> _Places:
    """A jittered grid, without the places where the image itself is rough."""
    spans = [np.arange(_MARGIN, size - _MARGIN, _PITCH) for size in plane.shape]
    rows, columns = (grid.ravel() for grid in np.meshgrid(*spans, indexing="ij"))
    for grid, size in zip((rows, columns), plane.shape, strict=True):
        # The jitter takes the beads to all places on the network's pooling grid.
        grid += rng.integers(-_JITTER, _JITTER + 1, grid.shape)
        np.clip(grid, _RADIUS, size - _RADIUS - 1, out=grid)
    image = plane.astype(np.float64)
    width = 2 * _RADIUS + 1
    mean = uniform_filter(image, width)
    rough = uniform_filter(image * image, width) - mean * mean
    rough = rough[rows, columns] / np.maximum(sigma[rows, columns], 1e-9) ** 2
    kept = np.sort(np.argsort(rough, kind="stable")[: int(np.ceil(_FLAT * len(rows)))])
    return _Places(rows[kept], columns[kept], sigma[rows[kept], columns[kept]])


def _planted(
    places: _Places,
    shape: tuple[int, ...],
    levels: Iterator[float],
    rng: np.random.Generator,
) -> tuple[Floats, Floats]:
    """Mean counts of the beads, (h, w), and the brightness at each place (0: none)."""
    count = len(places.rows)
    empty = int(_EMPTY * count)
    brightness = np.zeros(count)
    brightness[empty:] = list(islice(levels, count - empty))
    rng.shuffle(brightness)
    image = np.zeros(shape)
    near = np.arange(-_RADIUS, _RADIUS + 1)
    for row, column, sigma, peak, size in zip(
        *places, brightness, rng.uniform(*_SIZES, count), strict=True
    ):
        profile = np.exp(-0.5 * (near / size) ** 2)
        area = (
            slice(row - _RADIUS, row + _RADIUS + 1),
            slice(column - _RADIUS, column + _RADIUS + 1),
        )
        image[area] += peak * sigma * np.multiply.outer(profile, profile)
    return image, brightness


def _peaks(image: NDArray[Any], places: _Places) -> Floats:
    """Middle pixel over the median of the ring around it, in units of the noise."""
    near = np.arange(-_RADIUS, _RADIUS + 1)
    radius = np.hypot(near[:, None], near)
    dy, dx = np.nonzero((radius >= _RING[0]) & (radius <= _RING[1]))
    ring = image[
        places.rows[:, None] + dy - _RADIUS, places.columns[:, None] + dx - _RADIUS
    ]
    peak = image[places.rows, places.columns] - np.median(ring, axis=1)
    return np.asarray(peak / np.maximum(places.sigma, 1e-9), dtype=np.float64)


def _injection(table: Floats, places: _Places) -> Injection | None:
    """Responses from rows: brightness, and peaks before, after, and as a difference."""
    brightness = table[0]
    if len(brightness) < _FEWEST:
        return None
    noisy, denoised, difference, *alone = (
        _response(brightness, row) for row in table[1:]
    )
    planted = int(np.count_nonzero(brightness))
    sigma = float(np.median(places.sigma))
    return Injection(noisy, denoised, difference, planted, sigma, *alone)


def _response(brightness: Floats, peaks: Floats) -> Response:
    groups = [peaks[brightness == level] for level in BRIGHTNESS]
    empty = peaks[brightness == 0]
    base = float(empty.mean())
    return Response(
        np.array([group.mean() - base for group in groups]),
        np.array([group.std(ddof=1) / len(group) ** 0.5 for group in groups]),
        float(empty.std(ddof=1)),
    )
