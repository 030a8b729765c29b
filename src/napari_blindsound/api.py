"""What the command line, the docks and scripts call: train on images, apply the result.

>>> import napari_blindsound as nb
>>> nb.inspect("stack.tif")[0].as_rows()  # doctest: +SKIP
>>> model = nb.train("stack.tif", seconds=60)  # doctest: +SKIP
>>> nb.denoise("stack.tif", model, "denoised.ome.zarr")  # doctest: +SKIP
>>> nb.trust("stack.tif", model, "report.html").summary  # doctest: +SKIP
>>> nb.compare("stack.tif", seconds=60, output="folder").rows  # doctest: +SKIP
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from napari_blindsound import methods as registry
from napari_blindsound.comparison import report as comparisons
from napari_blindsound.comparison.config import DEFAULT_SECONDS, CompareConfig
from napari_blindsound.comparison.run import Comparison
from napari_blindsound.comparison.sample import open_truth
from napari_blindsound.images.open import open_volume
from napari_blindsound.images.volume import Volume
from napari_blindsound.inference.denoiser import Denoiser
from napari_blindsound.inference.store import WriteConfig, write
from napari_blindsound.inference.tiling import denoise_region
from napari_blindsound.quality import trust as tests
from napari_blindsound.quality.preflight import Glance, glances
from napari_blindsound.quality.report import check_report
from napari_blindsound.quality.report import report as write_report
from napari_blindsound.recipe import Recipe, Training
from napari_blindsound.training.trainer import TrainConfig

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Mapping, Sequence

    import numpy as np

    from napari_blindsound.comparison.run import Told
    from napari_blindsound.inference.deviation import Deviation
    from napari_blindsound.inference.store import WriteEvent
    from napari_blindsound.training.events import Ending, TrainEvent

Source = Any
"""Whatever `open_volume` takes: a path, a list of them, an array, a Volume."""


def inspect(image: Source, *, axes: str | None = None) -> list[Glance]:
    """Measure the noise of an image on a small sample, before anything is trained.

    Parameters
    ----------
    image
        What `open_volume` takes.
    axes : str, optional
        Names of the axes where the image does not say.

    Returns
    -------
    list of Glance
        One a channel: gain, offset and read noise with their confidence, correlation,
        photons, saturation; :meth:`Glance.as_rows` says it in words.

    Raises
    ------
    BlindsoundError
        If the image cannot be read.
    """
    return glances(open_volume(image, axes=axes))


def train(
    images: Source | Sequence[Source],
    *,
    method: str = registry.DEFAULT,
    preset: str = "fast",
    settings: Mapping[str, object] | None = None,
    channels: Literal["each", "joint"] = "each",
    steps: int | None = None,
    seconds: float | None = None,
    ending: Ending | None = None,
    seed: int = 0,
    device: str = "auto",
    axes: str | None = None,
    stop: threading.Event | None = None,
    on_event: Callable[[TrainEvent], None] | None = None,
) -> Denoiser:
    """Train a denoiser on noisy images, and on nothing else.

    Parameters
    ----------
    images
        What `open_volume` takes, or a list of Volumes.
    method, preset, settings
        See ``blindsound methods``; `settings` are changes to the preset.
    channels : {"each", "joint"}
        One network a channel, or one on all channels jointly.
    steps, seconds
        Length of the training; by default that of the preset: ``fast`` a minute, or
        until it stops improving; ``best`` until it stops improving.
    ending : {"last", "best", "auto"}, optional
        With which weights to end: those of the last step; the best of all; or, with
        ``auto``, the best ones as soon as more steps bring nothing. By default the
        preset's; ``last`` with steps or seconds, except in ``best``. Given alone, the
        preset's number of steps counts.
    seed : int
        The same seed gives the same model on the same machine (with `steps`).
    device : str
        ``auto``, ``cpu``, ``cuda`` or ``mps``.
    axes : str, optional
        Names of the axes where the image does not say, such as ``"ZYX"``.
    stop : threading.Event, optional
        Set it from another thread to end early, with a good model.
    on_event : callable, optional
        Called with each event of the training, at most ten times a second.

    Returns
    -------
    Denoiser
        Counts in, counts out.

    Raises
    ------
    BlindsoundError
        If the image cannot be read or trained on.
    """
    recipe = Recipe(
        method=method,
        preset=preset,
        settings=dict(settings or {}),
        channels=channels,
        train=TrainConfig(
            steps=steps, seconds=seconds, ending=ending, seed=seed, device=device
        ),
    )
    training = Training(_volumes(images, axes), recipe)
    try:
        for event in training.run(stop):
            if on_event is not None:
                on_event(event)
        return training.result()
    finally:
        training.close()


def load(path: Path | str, device: str = "auto") -> Denoiser:
    """Read a model file.

    Raises
    ------
    ModelNotFoundError, ModelError
        If there is none, or it cannot be used.
    """
    return Denoiser.load(path, device)


def denoise(
    image: Source,
    model: Denoiser | Deviation | Path | str,
    output: Path | str | None = None,
    *,
    axes: str | None = None,
    config: WriteConfig | None = None,
    device: str = "auto",
    stop: threading.Event | None = None,
    on_event: Callable[[WriteEvent], None] | None = None,
) -> np.ndarray | Path | None:
    """Apply a model to an image of any size.

    Parameters
    ----------
    image
        What `open_volume` takes.
    model : Denoiser, Deviation or path
        The trained model; its :meth:`Denoiser.deviation` in place of it gives the
        standard deviation of every pixel of the result.
    output : path, optional
        Where to write, ``.ome.zarr`` or ``.ome.tif``, piece by piece. Without it the
        result is returned, and must fit into memory.
    axes : str, optional
        Names of the axes where the image does not say.
    config : WriteConfig, optional
        How to write.
    device : str
        For a model given as a path.
    stop : threading.Event, optional
        Set it to end early; nothing is then at `output`, but what is finished is kept
        beside it, and the same call continues it.
    on_event : callable, optional
        Called with each event of the writing.

    Returns
    -------
    ndarray, Path or None
        Counts, float32, in the order of the image's axes; or `output`; or None if
        stopped.

    Raises
    ------
    BlindsoundError
        If the image or model cannot be read, do not fit, or the output not be written.
    """
    denoiser = load(model, device) if isinstance(model, str | Path) else model
    volume = open_volume(image, axes=axes)
    if output is None:
        whole = tuple(slice(0, size) for size in volume.shape)
        return denoise_region(denoiser, volume, whole)
    written: Path | None = None
    for event in write(denoiser, volume, output, config or WriteConfig(), stop=stop):
        if on_event is not None:
            on_event(event)
        written = event.path
    return written


def trust(
    image: Source,
    model: Denoiser | Path | str,
    report: Path | str | None = None,
    *,
    axes: str | None = None,
    overwrite: bool = False,
    seed: int = 0,
    device: str = "auto",
    stop: threading.Event | None = None,
) -> tests.Trust:
    """Test what a model does to an image and to noise, without a clean image.

    Parameters
    ----------
    image
        What `open_volume` takes: an image that the model is used on.
    model : Denoiser or path
        The trained model.
    report : path, optional
        Where a one-page report goes, ``.html``, ``.png`` or ``.pdf``; not written if
        stopped.
    axes : str, optional
        Names of the axes where the image does not say.
    overwrite : bool
        Replace an earlier report.
    seed : int
        Of the noise and of the places that are looked at.
    device : str
        For a model given as a path.
    stop : threading.Event, optional
        Set it to end early; the tests not done are then unknown.

    Returns
    -------
    Trust
        Its verdict, summary, and the findings of each channel.

    Raises
    ------
    BlindsoundError
        If the image or model cannot be read, do not fit, or the report not be written.
    """
    if report is not None:
        check_report(Path(report), overwrite=overwrite)
    denoiser = model if isinstance(model, Denoiser) else load(model, device)
    volume = open_volume(image, axes=axes)
    found = tests.trust(denoiser, volume, seed=seed, stop=stop)
    if report is not None and not found.stopped:
        write_report(found, denoiser, volume, Path(report), overwrite=overwrite)
    return found


def compare(
    image: Source,
    *,
    methods: Sequence[str] | None = None,
    references: Sequence[str] | None = None,
    preset: str | None = None,
    seconds: float = DEFAULT_SECONDS,
    steps: int | None = None,
    alone: bool = False,
    truth: Source | None = None,
    output: Path | str | None = None,
    overwrite: bool = False,
    seed: int = 0,
    device: str = "auto",
    axes: str | None = None,
    stop: threading.Event | None = None,
    on_event: Callable[[Told], None] | None = None,
) -> Comparison:
    """Train methods on one image, each as long as the others, and judge them alike.

    A method that fails has its error in its row; the rest goes on.

    Parameters
    ----------
    image
        What `open_volume` takes.
    methods, references : sequence of str, optional
        Names of methods and of classical denoisers; all there are by default, none
        where the sequence is empty.
    preset : str, optional
        Settings of the methods that have a preset of this name; by default their first.
    seconds, steps
        For each method; the steps, where given, in place of the seconds.
    alone : bool
        Denoise each plane without its neighbors, also with methods that can use them.
    truth
        The clean image, for true PSNR and SSIM. Nothing is learned from it.
    output : path, optional
        Folder for tables, a contact sheet, a page and the models.
    overwrite : bool
        Replace an earlier comparison there.
    seed, device, axes
        As for :func:`train`.
    stop : threading.Event, optional
        Set it from another thread to end with the rows done so far.
    on_event : callable, optional
        Called with each change of a row, at most ten times a second of a training.

    Returns
    -------
    Comparison
        Its `rows`, and the `results` of those that are done, by their number.

    Raises
    ------
    BlindsoundError
        If the image cannot be read or learned from, the truth does not fit, there is no
        such method, or the report cannot be written.
    """
    config = CompareConfig(
        methods=None if methods is None else tuple(methods),
        references=None if references is None else tuple(references),
        preset=preset,
        seconds=seconds,
        steps=steps,
        alone=alone,
        seed=seed,
        device=device,
    )
    if output is not None:
        comparisons.check_folder(Path(output), overwrite=overwrite)
    volume = open_volume(image, axes=axes)
    clean = None if truth is None else open_truth(truth, volume)
    comparison = Comparison(volume, config, clean)
    for told in comparison.run(stop):
        if on_event is not None:
            on_event(told)
    if output is not None:
        comparisons.write_report(comparison, Path(output))
    return comparison


def _volumes(images: Source | Sequence[Source], axes: str | None) -> list[Volume]:
    if isinstance(images, list | tuple) and all(isinstance(i, Volume) for i in images):
        return list(images)
    return [open_volume(images, axes=axes)]
