"""From the words typed to a command, and from what it does to an exit code.

Commands are imported when they are run. Their help lines stand here, so that
``blindsound --help`` needs neither torch nor zarr.
"""

from __future__ import annotations

import errno
import sys
import traceback
from importlib import import_module
from typing import TYPE_CHECKING, cast

from cyclopts import App, CycloptsError
from pydantic import ValidationError

import napari_blindsound
from napari_blindsound.cli import interruption, messages
from napari_blindsound.errors import BlindsoundError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

DONE, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130

_HERE = "napari_blindsound.cli"
# Where a command lives, and its line in the overview.
_COMMANDS = {
    "demo": (f"{_HERE}.demo:demo", "See it work in a minute, on a synthetic image."),
    "run": (f"{_HERE}.learning:run", "Train on an image and denoise it."),
    "train": (f"{_HERE}.learning:train", "Train a model on one image or several."),
    "denoise": (f"{_HERE}.applying:denoise", "Apply a model to images of any size."),
    "batch": (f"{_HERE}.batching:batch", "Denoise many images, one after the other."),
    "repeat": (f"{_HERE}.repeating:repeat", "Do again what a recipe file says."),
    "inspect": (f"{_HERE}.inspection:inspect", "Tell what an image is, and its noise."),
    "trust": (f"{_HERE}.trusting:trust", "Test whether a result can be trusted."),
    "compare": (f"{_HERE}.comparing:compare", "Compare all methods on one image."),
    "methods": (f"{_HERE}.listing:methods", "List the denoising methods."),
    "doctor": (f"{_HERE}.doctor:doctor", "Check that this computer is ready."),
}
# Commands whose options depend on the method, so on more words than the first.
_TAILORED = ("run", "train", "batch")

_HELP = """Denoise fluorescence microscopy stacks of any size, without clean images.

A small network learns the difference between signal and noise from the noisy image
itself, in seconds to minutes, and is then applied to all of it, or to any other image
of the same microscope. Nothing is uploaded, nothing is downloaded.

Images: TIFF, OME-TIFF, ImageJ hyperstacks, folders of PNG or TIFF frames, Zarr and
OME-Zarr; TIFF and Zarr also by their address (`https://...`, `s3://...`). Results:
OME-Zarr (`.ome.zarr`) or OME-TIFF (`.ome.tif`), with the scale, units and axes of their
source.
"""
_EPILOGUE = """Begin with:

    blindsound demo
    blindsound inspect cells.tif
    blindsound run cells.tif -o cells_denoised.ome.zarr

Each command explains its options: `blindsound run --help`.

Exit codes: 0 done, 1 the image, model or place for the result cannot be used, 2 the
command was not understood, 130 interrupted by Ctrl-C.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``blindsound``.

    Parameters
    ----------
    argv : sequence of str, optional
        Words after the program's name; those of the process by default.

    Returns
    -------
    int
        Exit code: 0 done, 1 something given cannot be used, 2 not understood, 130
        interrupted.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    with messages.shown(), interruption.terminated_like_ctrl_c():
        try:
            return _run(words)
        except CycloptsError as error:
            hint = " ".join(["blindsound", *_command(words), "--help"])
            return _fail(words, f"{error} (see {hint})", USAGE)
        except ValidationError as error:
            return _fail(words, messages.sentence(error), FAILED)
        except BlindsoundError as error:
            return _fail(words, messages.in_options(str(error)), FAILED)
        except MemoryError:
            return _fail(words, messages.NO_MEMORY, FAILED)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise
            return _fail(words, messages.no_space(error), FAILED)
        except KeyboardInterrupt:
            return _fail(words, "interrupted; nothing was written", INTERRUPTED)


def build(words: Sequence[str] = ()) -> App:
    """Describe the commands to cyclopts.

    Parameters
    ----------
    words : sequence of str
        What was typed: ``--method`` decides on the options of ``run`` and ``train``.
    """
    app = App(
        name="blindsound",
        help=_HELP,
        help_epilogue=_EPILOGUE,
        help_format="markdown",
        version=napari_blindsound.__version__,
        print_error=False,
        exit_on_error=False,
        result_action="return_value",
    )
    app["--help"].group = app["--version"].group = "Other"
    for place, (name, (path, line)) in enumerate(_COMMANDS.items()):
        if [name] != _command(words):
            app.command(path, name=name, help=line, sort_key=place)
        else:
            app.command(_imported(name, path, words), name=name, help_epilogue="")
    return app


def _run(words: list[str]) -> int:
    command, bound, _ = build(words).parse_args(words)
    return command(*bound.args, **bound.kwargs) or DONE


def _imported(name: str, path: str, words: Sequence[str]) -> Callable[..., int]:
    module, function = path.split(":")
    command: Callable[..., int] = getattr(import_module(module), function)
    if name not in _TAILORED:
        return command
    tailored = import_module(f"{_HERE}.settings").tailored
    return cast("Callable[..., int]", tailored(command, _method(words)))


def _command(words: Sequence[str]) -> list[str]:
    return [word for word in words[:1] if word in _COMMANDS]


def _method(words: Sequence[str]) -> str | None:
    for word, following in zip(words, [*words[1:], ""], strict=True):
        if word == "--method":
            return following
        if word.startswith("--method="):
            return word.partition("=")[2]
    return None


def _fail(words: Sequence[str], message: str, code: int) -> int:
    if "--debug" in words:
        traceback.print_exc()
    messages.say(f"blindsound: {' '.join(message.split())}")
    return code
