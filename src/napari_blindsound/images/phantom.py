"""Synthetic fluorescence images whose clean image and noise are known.

They are the sample data, the demonstration and the material of the tests: nothing is
downloaded, and a seed gives the same pixels everywhere. To that end the clean light is
rounded before noise is drawn from it, since the last digits of exponentials differ
between machines, and every plane draws its noise from a stream of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from napari_blindsound.errors import DataError
from napari_blindsound.images.axes import Axes
from napari_blindsound.images.nucleus import MIDDLE, SLABS
from napari_blindsound.images.optics import focus
from napari_blindsound.images.scene import Scene, make_scene
from napari_blindsound.images.volume import Volume

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

Kind = Literal["2d", "zstack", "timelapse"]

_PIXEL, _STEP, _INTERVAL = 0.108, 0.4, 5.0
_PEAK_PERCENTILE = 99.9
_LIGHT_DIGITS = 64.0
_BACKGROUND = 0.02
_VIGNETTE = 0.18
_BLEACHING = 0.015
_NOISE_STREAM = 5
# Weights of nuclei, filaments and puncta in each channel.
_DYES: dict[int, tuple[tuple[str, float, float, float], ...]] = {
    1: (("cells", 0.26, 1.1, 1.0),),
    2: (("nuclei", 1.0, 0.0, 0.02), ("cytoskeleton", 0.03, 1.0, 0.9)),
    3: (
        ("nuclei", 1.0, 0.0, 0.02),
        ("filaments", 0.03, 1.0, 0.05),
        ("puncta", 0.02, 0.05, 1.0),
    ),
}


@dataclass(frozen=True, slots=True)
class Camera:
    """A camera: photoelectrons in, counts out.

    The variance of a pixel is ``gain * (mean - offset) + read_noise**2``, counts.

    Parameters
    ----------
    gain
        Counts a photoelectron, above 0.
    offset
        Counts in the dark.
    read_noise
        Standard deviation of the dark counts, at least 0.
    bit_depth
        Counts saturate at ``2**bit_depth - 1``; 8 to 16.

    Raises
    ------
    DataError
        If a number is outside its range.
    """

    gain: float = 2.2
    offset: float = 100.0
    read_noise: float = 3.5
    bit_depth: int = 12

    def __post_init__(self) -> None:
        if not (self.gain > 0 and self.read_noise >= 0 and 8 <= self.bit_depth <= 16):
            message = (
                f"{self} cannot be; give a gain above 0, a read noise of at least 0 and"
                " a bit depth of 8 to 16"
            )
            raise DataError(message)

    @property
    def saturation(self) -> int:
        """Highest count."""
        return int(2**self.bit_depth - 1)

    def expected(self, light: Floats) -> NDArray[np.float32]:
        """Mean counts, before saturation, of a number of photoelectrons."""
        return (self.gain * light + self.offset).astype(np.float32)

    def expose(self, light: Floats, rng: np.random.Generator) -> NDArray[np.uint16]:
        """One noisy exposure.

        Parameters
        ----------
        light
            Expected photoelectrons, any shape, at least 0.
        rng
            Where the noise comes from.

        Returns
        -------
        numpy.ndarray
            uint16 counts: photon noise, gain, read noise, offset, rounding, saturation.
        """
        counts = self.gain * rng.poisson(light) + self.offset
        counts += rng.normal(0.0, self.read_noise, light.shape)
        digits = np.clip(np.rint(counts), 0, self.saturation)
        return np.asarray(digits, dtype=np.uint16)


@dataclass(frozen=True, eq=False)
class Phantom:
    """A synthetic recording with its truth.

    Parameters
    ----------
    noisy
        uint16 counts, axes as in ``axes``.
    clean
        float32 counts, same shape: the mean of ``noisy`` before saturation.
    axes
        Names, pixel sizes in micrometers and seconds.
    camera
        What the noise was made with.
    channel_names
        One per channel, or empty.
    name
        Such as "phantom-zstack-0".
    """

    noisy: NDArray[np.uint16]
    clean: NDArray[np.float32]
    axes: Axes
    camera: Camera
    channel_names: tuple[str, ...]
    name: str

    def volume(self) -> Volume:
        """Return the noisy recording as any other image."""
        return Volume((self.noisy,), self.axes, self.name, self.channel_names)


def phantom(
    kind: Kind = "2d",
    *,
    size: int = 512,
    planes: int = 16,
    frames: int = 12,
    channels: int = 1,
    photons: float = 32.0,
    camera: Camera | None = None,
    seed: int = 0,
) -> Phantom:
    """Synthetic fluorescence recording of cells, with its clean image.

    Parameters
    ----------
    kind
        One image, a stack through focus, or a movie of moving and bleaching cells.
    size
        Height and width, pixels, at least 16.
    planes
        Number of planes of a Z stack.
    frames
        Number of frames of a time-lapse.
    channels
        1 (all structures together), 2 (nuclei; filaments and puncta) or 3.
    photons
        Photoelectrons at the 99.9 percentile of each channel; fewer is noisier.
    camera
        By default 12 bits, 2.2 counts a photoelectron, offset 100, read noise 3.5.
    seed
        Same arguments, same pixels.

    Returns
    -------
    Phantom
        ``noisy`` of shape ``(y, x)``, ``(z, y, x)`` or ``(t, y, x)``, with a channel
        axis before ``y`` if there are several channels.

    Raises
    ------
    DataError
        If an argument is outside its range.
    """
    _check(kind, size, planes, frames, channels, photons, seed)
    camera = camera or Camera()
    scene = make_scene(size, frames if kind == "timelapse" else 1, seed)
    dyes = _DYES[channels]
    structure = np.stack(
        [_recording(scene, dye[1:], kind, planes, frames) for dye in dyes], axis=1
    )
    light = _digits(structure, photons)
    stacked = {"2d": "", "zstack": "Z", "timelapse": "T"}[kind]
    names = stacked + ("C" if channels > 1 else "") + "YX"
    # Stacks and channels that were not asked for have no axis.
    shape = [len(light), channels, size, size]
    shape = shape[0 if stacked else 1 : 1] + shape[1 if channels > 1 else 2 :]
    return Phantom(
        _exposures(light, camera, seed).reshape(shape),
        camera.expected(light).reshape(shape),
        _axes(names, _PIXEL / scene.scale, _STEP * _slabs_a_plane(planes)),
        camera,
        tuple(dye[0] for dye in dyes) if channels > 1 else (),
        f"phantom-{kind}-{seed}",
    )


def _check(
    kind: Kind,
    size: int,
    planes: int,
    frames: int,
    channels: int,
    photons: float,
    seed: int,
) -> None:
    if kind not in get_args(Kind):
        message = f"the phantom {kind!r} is unknown; give '2d', 'zstack' or 'timelapse'"
        raise DataError(message)
    if size < 16 or min(planes, frames) < 1 or seed < 0 or not 0 < photons < 1e6:
        message = (
            f"a phantom of {size} pixels, {planes} planes, {frames} frames and"
            f" {photons:g} photons with seed {seed} cannot be made; give at least 16"
            " pixels, 1 plane, 1 frame, more than 0 and less than a million photons,"
            " and a seed from 0 up"
        )
        raise DataError(message)
    if channels not in _DYES:
        message = f"a phantom of {channels} channels is unknown; ask for 1, 2 or 3"
        raise DataError(message)


def _recording(
    scene: Scene, weights: tuple[float, ...], kind: Kind, planes: int, frames: int
) -> NDArray[np.float32]:
    """Light of one channel, ``(planes or frames, y, x)``, without background."""
    nuclei, filaments, puncta = weights

    def painted(frame: int) -> NDArray[np.float32]:
        return scene.paint(frame, nuclei=nuclei, filaments=filaments, puncta=puncta)

    if kind == "timelapse":
        kept = np.exp(-_BLEACHING * np.arange(frames)).astype(np.float32)
        images = [
            kept[frame] * focus(painted(frame), MIDDLE) for frame in range(frames)
        ]
    elif kind == "zstack":
        slabs = painted(0)
        step, half = _slabs_a_plane(planes), (planes - 1) / 2
        depths = [MIDDLE + (plane - half) * step for plane in range(planes)]
        images = [focus(slabs, depth) for depth in depths]
    else:
        images = [focus(painted(0), MIDDLE)]
    return np.stack(images)


def _exposures(light: Floats, camera: Camera, seed: int) -> NDArray[np.uint16]:
    """Expose every plane and channel with noise of its own."""
    noisy = np.empty(light.shape, dtype=np.uint16)
    for index in np.ndindex(light.shape[:2]):
        rng = np.random.default_rng([seed, _NOISE_STREAM, *index])
        noisy[index] = camera.expose(light[index], rng)
    return noisy


def _slabs_a_plane(planes: int) -> float:
    """Spacing of the planes, so that even many stay inside the specimen."""
    return min(1.0, (SLABS - 1) / max(1, planes - 1))


def _digits(light: NDArray[np.float32], photons: float) -> Floats:
    """Photoelectrons ``(n, channels, y, x)``: scaled, shaded, on a background, rounded.

    The background and the fall of light to the corners are those of a widefield lamp.
    """
    size = light.shape[-1]
    axis = np.linspace(-1, 1, size) ** 2
    shade = 1 - _VIGNETTE * 0.5 * (axis[:, None] + axis[None])
    peaks = np.percentile(light, _PEAK_PERCENTILE, axis=(0, 2, 3), keepdims=True)
    bright = light / np.maximum(peaks, 1e-6) * (1 - _BACKGROUND) + _BACKGROUND
    return np.asarray(np.rint(bright * shade * photons * _LIGHT_DIGITS) / _LIGHT_DIGITS)


def _axes(names: str, pixel: float, step: float) -> Axes:
    scale = {"T": _INTERVAL, "Z": step, "Y": pixel, "X": pixel}
    unit = {"T": "second", "Z": "micrometer", "Y": "micrometer", "X": "micrometer"}
    here = [name for name in names if name != "C"]
    return Axes.parse(
        names,
        scale={name: scale[name] for name in here},
        unit={name: unit[name] for name in here},
    )
