"""One page about a result: pictures, plots, verdicts, where the model comes from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_blindsound.images.whole_file import check_place, whole_file
from napari_blindsound.inference.reading import check_channels
from napari_blindsound.inference.tiling import denoise_region
from napari_blindsound.quality.figures import View
from napari_blindsound.quality.page import Page, as_html, as_picture
from napari_blindsound.quality.regions import regions
from napari_blindsound.quality.verdict import worst
from napari_blindsound.wording import duration, found

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_blindsound.images.volume import Volume
    from napari_blindsound.inference.denoiser import Denoiser
    from napari_blindsound.noise.calibration import NoiseModel
    from napari_blindsound.quality.trust import ChannelTrust, Trust

SUFFIXES = (".html", ".png", ".pdf")

_SHOWN = 256  # px a side
_SYMBOLS = {
    "micrometer": "µm",
    "nanometer": "nm",
    "millimeter": "mm",
    "second": "s",
    "minute": "min",
}


def report(
    trust: Trust,
    denoiser: Denoiser,
    volume: Volume,
    path: Path | str,
    *,
    overwrite: bool = False,
) -> Path:
    """Write one page about a model and what it makes of an image.

    Of several channels that is shown which fared worst; the table has them all.

    Parameters
    ----------
    trust : Trust
        What the tests found.
    denoiser : Denoiser
        The model.
    volume : Volume
        The image.
    path : path
        Ends in ``.html`` (one file, prints on one A4 page), ``.png`` or ``.pdf``.
    overwrite : bool
        Replace what is there, once the page is complete.

    Returns
    -------
    Path
        Where it lies.

    Raises
    ------
    OutputError
        If the name ends otherwise, or the file cannot be written.
    OutputExistsError
        If something lies there and may not be replaced.
    ModelMismatchError
        If the image has another number of channels than the model.
    """
    path = Path(path)
    check_report(path, overwrite=overwrite)
    check_channels(denoiser, volume)
    page = _page(trust, denoiser, volume)
    if path.suffix.lower() == ".html":
        return _write(path, as_html(page).encode())
    return _write(path, as_picture(page, path.suffix.lower().removeprefix(".")))


def check_report(path: Path, *, overwrite: bool) -> None:
    """Refuse a place for a report: see :func:`check_place`."""
    check_place(path, "report", SUFFIXES, overwrite=overwrite)


def _page(trust: Trust, denoiser: Denoiser, volume: Volume) -> Page:
    verdict = worst(channel.verdict for channel in trust.channels)
    index = [channel.verdict for channel in trust.channels].index(verdict)
    channel = trust.channels[index]
    return Page(
        title=f"Denoising report{channel.title}: {volume.name}",
        trust=trust,
        channel=channel,
        facts={
            "Image": _of_image(volume, channel),
            "Noise": _of_noise(channel.noise, denoiser),
            "Model": _of_model(denoiser),
            "Versions": _of_versions(denoiser),
        },
        view=_view(denoiser, volume, index, trust.seed),
    )


def _view(denoiser: Denoiser, volume: Volume, channel: int, seed: int) -> View | None:
    """The liveliest part of the first window that the tests looked at."""
    region = regions(volume, pixels=_SHOWN**2 * 16 * volume.n_channels, seed=seed)[0]
    noisy = volume.axes.as_planes(volume.read(region))[0, channel]
    denoised = volume.axes.as_planes(denoise_region(denoiser, volume, region))[
        0, channel
    ]
    if not np.isfinite(denoised).all():
        return None
    rows, columns = _liveliest(denoised)
    noise = denoiser.preprocessing.noise[channel]
    shown = denoised[rows, columns]
    sigma = np.sqrt(np.maximum(noise.variance(shown.astype(np.float64)), 1e-12))
    x, y = volume.axes[volume.axes.index("X")], volume.axes[volume.axes.index("Y")]
    known = x.unit is not None and x.unit == y.unit
    unit = _SYMBOLS.get(x.unit or "", x.unit or "") if known else "px"
    pixel = (y.scale, x.scale) if known else (1.0, 1.0)
    return View(noisy[rows, columns], shown, sigma, pixel, unit)


def _liveliest(plane: np.ndarray) -> tuple[slice, slice]:
    """Square of the most contrast."""
    tall, wide = (min(size, _SHOWN) for size in plane.shape)
    step = _SHOWN // 4
    corners = [
        (top, left)
        for top in range(0, plane.shape[0] - tall + 1, step)
        for left in range(0, plane.shape[1] - wide + 1, step)
    ]
    top, left = max(
        corners,
        key=lambda at: float(plane[at[0] : at[0] + tall, at[1] : at[1] + wide].std()),
    )
    return slice(top, top + tall), slice(left, left + wide)


def _of_image(volume: Volume, channel: ChannelTrust) -> str:
    sizes = zip(volume.axes.names, volume.shape, strict=True)
    text = f"{volume.name}, " + " × ".join(f"{name} {size}" for name, size in sizes)
    scales = [
        f"{axis.name} {axis.scale:.4g} {_SYMBOLS.get(axis.unit, axis.unit)}"
        for axis in volume.axes
        if axis.unit
    ]
    size = ", ".join(scales) or "pixel size not known"
    return f"{text}, {volume.dtype}; {size}; {channel.pixels} pixels tested"


def _of_noise(noise: NoiseModel, denoiser: Denoiser) -> str:
    learned = found(denoiser.provenance)
    return (
        f"gain {noise.gain:.3g} counts a photon, offset {noise.offset:.4g}, read noise "
        f"{noise.read_variance**0.5:.3g} counts, as the model was trained with"
        + (f"; found in training: {learned}" if learned else "")
    )


def _of_model(denoiser: Denoiser) -> str:
    origin: Mapping[str, Any] = denoiser.provenance
    recipe = origin.get("recipe", {})
    words = [denoiser.method.title]
    if "preset" in recipe:
        words.append(f"preset {recipe['preset']}")
    words += [f"{name} {value}" for name, value in recipe.get("settings", {}).items()]
    blend = denoiser.blend
    words.append(f"estimate {denoiser.output}" if blend is None else f"blend {blend:g}")
    if denoiser.context.planes:
        words.append(f"seeing {denoiser.context.words}")
    if origin.get("steps"):
        steps = " + ".join(map(str, origin["steps"]))
        time = duration(origin.get("seconds"))
        words.append(f"{steps} steps in {time} on {origin.get('device', '?')}")
    if "train" in recipe:
        words.append(f"seed {recipe['train'].get('seed', 0)}")
    names = [trained["name"] for trained in origin.get("trained_on", [])]
    if names:
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        words.append("trained on " + ", ".join(names[:3]) + more)
    return ", ".join(words)


def _of_versions(denoiser: Denoiser) -> str:
    origin = denoiser.provenance
    words = [f"{name} {text}" for name, text in origin.get("versions", {}).items()]
    words.append(f"model {denoiser.revision}")
    if "date" in origin:
        words.append(f"trained {str(origin['date'])[:10]}")
    return ", ".join(words)


def _write(path: Path, data: bytes) -> Path:
    with whole_file(path, len(data)) as draft:
        draft.write_bytes(data)
    return path
