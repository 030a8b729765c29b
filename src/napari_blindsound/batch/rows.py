"""What is told of a row while a batch runs, and the report that stays in its folder."""

from __future__ import annotations

import csv
import io
import logging
import math
from dataclasses import dataclass
from datetime import datetime
from itertools import count
from typing import TYPE_CHECKING, Literal

from napari_blindsound.errors import BlindsoundError
from napari_blindsound.wording import duration

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from napari_blindsound.batch.truth import Nearness
    from napari_blindsound.quality.preflight import Glance

log = logging.getLogger(__name__)

State = Literal[
    "waiting",
    "reading",
    "training",
    "denoising",
    "done",
    "skipped",
    "failed",
    "stopped",
]
FINAL: frozenset[State] = frozenset({"done", "skipped", "failed", "stopped"})
"""States in which nothing more happens to a row."""

GOES_ON = "goes on from here next time"
"""What there is to say of a row that was stopped."""

REPORT = "batch.csv"
_COLUMNS = (
    *("date", "file", "state", "seconds"),
    *("gain", "offset", "read_noise", "photons", "estimated_gain_db"),
    *("psnr_noisy_db", "psnr_db", "ssim_noisy", "ssim"),
    *("result", "message"),
)


@dataclass(frozen=True, slots=True)
class RowEvent:
    """How far one row has come.

    Attributes
    ----------
    row : int or None
        Number of the image in the list given; None for the model that is trained for
        all of them.
    state : State
        What is being done, or how it ended.
    fraction : float
        Part of that done, from 0 to 1.
    seconds : float
        Spent on the row so far.
    seconds_left : float or None
        Estimate for what is being done; None where there is nothing to judge by.
    message : str
        What there is to say: of a failed row why, and what to do.
    noise : str
        Photons and gain in words; empty while not known.
    quality : float or None
        Estimated gain in quality, in decibels, if known.
    truth : Nearness or None
        How near image and result are to the ground truth, where that lies beside.
    path : Path or None
        The complete result, or the model for all.
    may_end : bool
        Whether it may end sooner, so that `seconds_left` is the most that it can take.
    """

    row: int | None
    state: State
    fraction: float = 0.0
    seconds: float = 0.0
    seconds_left: float | None = None
    message: str = ""
    noise: str = ""
    quality: float | None = None
    path: Path | None = None
    truth: Nearness | None = None
    may_end: bool = False

    @property
    def is_final(self) -> bool:
        """Whether nothing more will happen to the row."""
        return self.state in FINAL

    @property
    def left(self) -> str:
        """``at most 40 s left``; empty where nothing is known."""
        if self.seconds_left is None:
            return ""
        most = "at most " * (self.may_end and math.isfinite(self.seconds_left))
        return f"{most}{duration(self.seconds_left)} left"


def noise_text(found: Sequence[Glance]) -> str:
    """Photons a pixel and gain, one of each a channel: ``12 photons, gain 2.1``."""
    return "; ".join(_noise(glance) for glance in found)


def _noise(glance: Glance) -> str:
    photons = glance.photons(glance.bright)
    if photons is None:
        return f"read noise {glance.noise.read_variance**0.5:.3g}"
    return f"{photons:.3g} photons, gain {glance.noise.gain:.3g}"


def sentence(error: BaseException, name: str) -> str:
    """Say what went wrong with an image, and what to do.

    Parameters
    ----------
    error : BaseException
        Whatever ended its row.
    name : str
        What to call the image.
    """
    if isinstance(error, BlindsoundError):
        return str(error)
    if is_out_of_memory(error):
        return (
            f"there is not enough memory for {name}: close other programs, give a "
            f"smaller patch, batch or width, or another device"
        )
    if isinstance(error, OSError):
        where = f" ({error.filename})" if error.filename else ""
        return (
            f"{name}: {error.strerror or error}{where}; check that its disk or network "
            f"is within reach"
        )
    kind = type(error).__name__
    return f"{name} failed in a way that should not happen ({kind}: {error}); report it"


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that memory ran out, on whichever device."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and "allocate memory" in str(error)


class Report:
    """The table ``batch.csv`` of all that was tried in an output folder.

    A line is added for each image that ends; lines of earlier runs stay. A report that
    cannot be written is said in the log, and stops nothing.

    Parameters
    ----------
    folder : Path
        The output folder.
    """

    def __init__(self, folder: Path) -> None:
        names = (f"batch-{n}.csv" if n > 1 else REPORT for n in count(1))
        paths = (folder / name for name in names)
        self.path = next(path for path in paths if _is_report(path))

    def add(self, file: str, event: RowEvent, glances: Sequence[Glance] = ()) -> None:
        """Add the line of an image.

        Parameters
        ----------
        file : str
            The image.
        event : RowEvent
            How it ended.
        glances : sequence of Glance
            Its noise, one a channel.
        """
        noise = [glance.noise for glance in glances]
        photons = [glance.photons(glance.bright) for glance in glances]
        line = (
            datetime.now().astimezone().isoformat(timespec="seconds"),
            file,
            event.state,
            f"{event.seconds:.1f}",
            _joined([n.gain for n in noise]),
            _joined([n.offset for n in noise]),
            _joined([n.read_variance**0.5 for n in noise]),
            _joined(photons),
            "" if event.quality is None else f"{event.quality:.2f}",
            *_scores(event.truth),
            str(event.path or ""),
            event.message,
        )
        try:
            self._append(line)
        except OSError as error:
            log.warning("the report %s cannot be written (%s)", self.path, error)

    def _append(self, line: Sequence[str]) -> None:
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        # One write of whole lines: whoever reads along never sees half of one.
        with self.path.open("a+b") as file:
            if file.tell() == 0:
                writer.writerow(_COLUMNS)
            else:
                file.seek(-1, io.SEEK_END)
                if file.read(1) != b"\n":  # an earlier run was cut off in its line
                    text.write("\n")
            writer.writerow(line)
            file.write(text.getvalue().encode())


def _is_report(path: Path) -> bool:
    """Whether a report may be begun or continued there."""
    try:
        with path.open(encoding="utf-8") as file:
            return next(csv.reader(file), list(_COLUMNS)) == list(_COLUMNS)
    except FileNotFoundError:
        return True
    except (OSError, ValueError, csv.Error):
        return False


def _scores(truth: Nearness | None) -> tuple[str, ...]:
    if truth is None:
        return ("",) * 4
    decibels = (f"{truth.psnr_noisy:.2f}", f"{truth.psnr:.2f}")
    return (*decibels, f"{truth.ssim_noisy:.4f}", f"{truth.ssim:.4f}")


def _joined(numbers: Sequence[float | None]) -> str:
    return "; ".join("" if n is None else f"{n:.6g}" for n in numbers)
