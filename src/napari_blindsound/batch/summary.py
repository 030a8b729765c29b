"""The summary ``batch.json``: what is known of every image of a batch, for programs.

It is written whole, again and again while the batch runs, and read by the next run:
what was found of images that need no making then is kept.
"""

from __future__ import annotations

import json
import logging
import math
import time
from dataclasses import asdict, replace
from datetime import datetime
from itertools import count
from typing import TYPE_CHECKING, Any

from napari_blindsound import __version__
from napari_blindsound.batch.truth import Nearness
from napari_blindsound.errors import OutputError
from napari_blindsound.images.whole_file import whole_file

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from napari_blindsound.batch.finding import Found
    from napari_blindsound.batch.rows import RowEvent
    from napari_blindsound.quality.preflight import Glance

log = logging.getLogger(__name__)

SUMMARY = "batch.json"
_FORMAT = "napari-blindsound batch 1"
_SHARE = 20  # times as long as writing took, nothing is written again
_KEPT = ("noise", "noise_text", "estimated_gain_db", "truth")


class Summary:
    """What is known of the images, by image.

    Parameters
    ----------
    folder : Path
        The output folder.
    images : sequence of Found
        All images of the batch.
    facts : mapping
        Plain data on the whole of it: the command, the configuration.
    """

    def __init__(
        self, folder: Path, images: Sequence[Found], facts: Mapping[str, Any]
    ) -> None:
        names = (f"batch-{n}.json" if n > 1 else SUMMARY for n in count(1))
        found = ((folder / name, _read(folder / name)) for name in names)
        self.path, before = next(pair for pair in found if pair[1] is not None)
        assert before is not None
        self._facts, self._before = facts, before
        self._entries = [
            {**self._known(image), **_described(image), "state": "waiting"}
            for image in images
        ]
        self._due = 0.0

    def recalled(self, number: int, event: RowEvent) -> RowEvent:
        """What an earlier run found of an image, for a row that needs no making."""
        entry = self._entries[number]
        truth = entry.get("truth")
        return replace(
            event,
            noise=str(entry.get("noise_text") or ""),
            quality=entry.get("estimated_gain_db"),
            truth=Nearness(**truth) if truth and None not in truth.values() else None,
        )

    def add(self, number: int, event: RowEvent, glances: Sequence[Glance] = ()) -> None:
        """Take note of how an image ended."""
        entry = self._entries[number]
        if event.state not in ("skipped", "stopped"):
            entry |= {
                "noise": [_noise(glance) for glance in glances],
                "noise_text": event.noise,
                "estimated_gain_db": event.quality,
                "truth": event.truth and finite(asdict(event.truth)),
                "seconds": round(event.seconds, 3),
            }
        entry |= {
            "state": event.state,
            "date": datetime.now().astimezone().isoformat(timespec="seconds"),
            "result": str(event.path) if event.path else None,
            "message": event.message,
        }
        if time.monotonic() >= self._due:
            started = time.monotonic()
            self.write()
            now = time.monotonic()
            self._due = now + _SHARE * (now - started)

    def write(self) -> None:
        """Write the file; where that is not possible, it is said in the log."""
        states = [entry["state"] for entry in self._entries]
        data = {
            "format": _FORMAT,
            "version": __version__,
            **self._facts,
            "counts": {state: states.count(state) for state in dict.fromkeys(states)},
            "images": self._entries,
        }
        text = json.dumps(data, indent=1)
        try:
            with whole_file(self.path, len(text)) as draft:
                draft.write_text(text, encoding="utf-8")
        except OutputError as error:
            log.warning("the summary cannot be written: %s", error)

    def _known(self, image: Found) -> dict[str, Any]:
        before = self._before.get(_key(_described(image)), {})
        return {name: before[name] for name in _KEPT if name in before}


def _described(image: Found) -> dict[str, Any]:
    first = image.files[0].name if image.files else None
    return {
        "path": str(image.path),
        "name": image.name,
        "kind": image.kind,
        "files": len(image.files) or 1,
        "first": first,
    }


def _key(entry: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(entry.get(name) for name in ("path", "kind", "files", "first"))


def _read(path: Path) -> dict[tuple[Any, ...], dict[str, Any]] | None:
    """Entries of an earlier summary; None where another file lies there."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if data["format"] != _FORMAT:
            return None
        return {_key(entry): entry for entry in data["images"]}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _noise(glance: Glance) -> dict[str, float | None]:
    noise = glance.noise
    return finite(
        {
            "gain": noise.gain,
            "offset": noise.offset,
            "read_noise": noise.read_variance**0.5,
            "photons": glance.photons(glance.bright),
        }
    )


def finite(numbers: Mapping[str, float | None]) -> dict[str, float | None]:
    """Numbers without those that JSON has no word for."""
    return {
        name: number if number is not None and math.isfinite(number) else None
        for name, number in numbers.items()
    }
