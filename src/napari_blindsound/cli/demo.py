"""``blindsound demo``: the whole way on a synthetic recording whose truth is known."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import tifffile

from napari_blindsound.cli import picture
from napari_blindsound.cli.applying import INTERRUPTED, apply
from napari_blindsound.cli.learned import learn
from napari_blindsound.cli.messages import table
from napari_blindsound.cli.options import CONSOLE, OUTPUT, Console
from napari_blindsound.errors import OutputExistsError
from napari_blindsound.images.open import open_volume
from napari_blindsound.images.phantom import phantom
from napari_blindsound.inference.destination import output_errors
from napari_blindsound.job import Job
from napari_blindsound.quality.metrics import psnr
from napari_blindsound.recipe import Recipe
from napari_blindsound.training.trainer import TrainConfig
from napari_blindsound.wording import duration

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_blindsound.cli.learned import Learned
    from napari_blindsound.images.phantom import Phantom

_FRAMES, _PHOTONS = 6, 30.0
_NAMES = {
    "noisy": "noisy.ome.tif",
    "truth": "truth.ome.tif",
    "model": "model.blindsound",
    "denoised": "denoised.ome.zarr",
    "picture": "before_after.png",
}


def demo(
    *,
    output: Annotated[Path, OUTPUT] = Path("blindsound-demo"),
    seconds: float = 60.0,
    steps: int | None = None,
    size: int = 512,
    seed: int = 0,
    device: str = "auto",
    console: Console = CONSOLE,
) -> int:
    """See it work: a synthetic recording of cells is made, learned from, and denoised.

    The recording has the noise of a real camera, and since it is synthetic its truth is
    known: the result is compared with it. Nothing is downloaded. What was written by an
    earlier demo in the same folder is replaced.

    Parameters
    ----------
    output
        Folder for the recording, the model, the result and the picture.
    seconds
        Seconds to train.
    steps
        Steps of training, in place of seconds.
    size
        Height and width of the recording, pixels.
    seed
        Seed of the recording and of the training.
    device
        Where to compute: auto, cpu, cuda (or cuda:1), mps.
    console
        Options.
    """
    time = None if steps else seconds
    train = TrainConfig(seconds=time, steps=steps, seed=seed, device=device)
    files = _prepared(output)
    console.say(f"making a recording of {_FRAMES} frames in {output.absolute()}")
    made = phantom("timelapse", size=size, frames=_FRAMES, photons=_PHOTONS, seed=seed)
    _write(files["noisy"], made, made.noisy)
    _write(files["truth"], made, made.clean)
    job = Job(
        inputs=(str(files["noisy"]),),
        output=str(files["denoised"]),
        model_out=str(files["model"]),
        recipe=Recipe(train=train),
        overwrite=True,
    )
    volumes = job.volumes()
    learned = learn(job, volumes, console)
    data = {"command": "demo", **learned.as_data()}
    data["files"] = {what: str(path.absolute()) for what, path in files.items()}
    lines = learned.as_lines(learned.save(files["model"]))
    if not learned.stopped:
        job = job.settled(learned.denoiser)
        last = apply(job, learned.denoiser, volumes, [files["denoised"]], console)
    if learned.stopped or last[-1].stopped:
        console.report(lines, {**data, "ended": "stopped"})
        return INTERRUPTED
    scores = _compared(made, files, _caption(learned))
    noisy, denoised = scores["psnr_noisy"], scores["psnr_denoised"]
    rows = {
        "noisy": f"{noisy:.2f} dB",
        "denoised": f"{denoised:.2f} dB, {denoised - noisy:+.2f} dB",
    }
    lines += ["compared with the truth (PSNR)", *table(rows)]
    lines += ["look at", *table({what: str(path) for what, path in files.items()})]
    console.report(lines, {**data, **scores})
    return 0


def _prepared(folder: Path) -> dict[str, Path]:
    """Paths of all files, in a folder that is there and holds nothing else.

    Raises
    ------
    OutputExistsError
        If the folder is used for something else.
    OutputError
        If it cannot be made.
    """
    files = {what: folder / name for what, name in _NAMES.items()}
    ours = (*_NAMES.values(), ".")
    with output_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        others = [p.name for p in folder.iterdir() if not p.name.startswith(ours)]
    if others:
        msg = f"{folder} holds other files ({others[0]}); give an empty or new folder"
        raise OutputExistsError(msg)
    return files


def _write(path: Path, made: Phantom, pixels: NDArray[Any]) -> None:
    metadata: dict[str, Any] = {"axes": made.axes.names, "Name": made.name}
    for axis in made.axes:
        word = "TimeIncrement" if axis.name == "T" else f"PhysicalSize{axis.name}"
        metadata[word] = axis.scale
        metadata[f"{word}Unit"] = "s" if axis.name == "T" else "µm"
    with output_errors(path):
        tifffile.imwrite(path, pixels, ome=True, metadata=metadata)


def _compared(made: Phantom, files: dict[str, Path], caption: str) -> dict[str, float]:
    """PSNR before and after, over the range of the truth; draws the picture."""
    volume = open_volume(files["denoised"])
    denoised = volume.read(tuple(slice(0, n) for n in volume.shape))
    spread = float(np.ptp(made.clean))
    noisy = made.noisy.astype(np.float32)
    middle = len(denoised) // 2
    panels, scores = [], {}
    for title, image in {"noisy": noisy, "denoised": denoised}.items():
        scores[f"psnr_{title}"] = score = psnr(image, made.clean, spread)
        note = f"PSNR {score:.1f} dB"
        panels.append(picture.Panel(title.capitalize(), note, image[middle]))
    truth = made.clean[middle]
    panels.append(picture.Panel("Truth", "never shown to the network", truth))
    pixel = made.axes[made.axes.index("X")].scale
    with output_errors(files["picture"]):
        picture.draw(panels, truth, pixel, caption).save(files["picture"])
    return {**scores, "data_range": spread}


def _caption(learned: Learned) -> str:
    seconds = duration(learned.denoiser.provenance["seconds"])
    return (
        f"{learned.denoiser.method.title}, trained for {seconds} on the noisy "
        f"recording alone. All panels have the same contrast."
    )
