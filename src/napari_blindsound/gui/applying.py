"""What the last step does with the model: layers, files, and a line that says so."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, Signal

from napari_blindsound.errors import AxesError, DataError, OutputError
from napari_blindsound.gui.deviations import COLORS, Deviations, expected_limits
from napari_blindsound.gui.layers import (
    axes_of,
    channel_of,
    files_of,
    like,
    number_of,
    role_of,
    volume_of,
)
from napari_blindsound.gui.lazy_layer import LazyLayer
from napari_blindsound.images.layers import KEY, sampled_range, volume_to_layers
from napari_blindsound.inference.destination import deviation_place
from napari_blindsound.wording import file_name, option, shell_line

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from napari.layers import Image
    from napari.viewer import Viewer

    from napari_blindsound.gui.apply_panel import ApplyPanel
    from napari_blindsound.gui.data_panel import DataPanel
    from napari_blindsound.gui.session import Session
    from napari_blindsound.images.volume import Volume
    from napari_blindsound.inference.denoiser import Denoiser
    from napari_blindsound.inference.deviation import Deviation
    from napari_blindsound.inference.tiling import TileOperator
    from napari_blindsound.job import Job

UNSAVED = "MODEL.blindsound"
"""What stands in the line for a model that has not been saved."""


class Applying(QObject):
    """Makes layers and files with the session's model.

    Parameters
    ----------
    viewer : Viewer
    session : Session
    chosen : DataPanel
        Which layer the image is.
    panel : ApplyPanel
        What is wanted.

    Attributes
    ----------
    command_changed : Signal
        The command line that repeats what the dock does; empty if there is none.
    """

    command_changed = Signal(str)

    def __init__(
        self, viewer: Viewer, session: Session, chosen: DataPanel, panel: ApplyPanel
    ) -> None:
        super().__init__(panel)
        self._viewer, self._session = viewer, session
        self._chosen, self._panel = chosen, panel
        self._source: Image | None = None
        self._place = Path()
        self._shown: list[Image] = []
        self._deviations = Deviations(viewer, self)
        self.lazy_layers: list[LazyLayer] = []
        panel.lazy_wanted.connect(self.show_lazily)
        panel.write_wanted.connect(self.write)
        panel.place.textChanged.connect(self.refresh)
        panel.dtype.currentIndexChanged.connect(self.refresh)
        panel.replace.toggled.connect(self.refresh)
        panel.target.activated.connect(self.refresh)
        panel.uncertainty.toggled.connect(self.refresh)
        panel.scheduler.textChanged.connect(self.refresh)
        session.events.applied.connect(self._on_applied)
        viewer.layers.events.inserted.connect(self._on_layers)
        viewer.layers.events.removed.connect(self._on_layers)
        self._on_layers()

    def refresh(self) -> None:
        """Say the present choice as a command line."""
        self._show_unfinished()
        try:
            job = self.job()
        except ValueError:
            job = None
        line = job.command_line() if job is not None else ""
        if line and (address := self._panel.scheduler_address) is not None:
            line = f"{line} {shell_line(option('scheduler', address))}"
        self.command_changed.emit(line)

    def job(self) -> Job | None:
        """What the dock does, so that it can be done anywhere; None while it is empty.

        Raises
        ------
        ValueError
            If a choice does not fit.
        """
        session, data, panel = self._session, self._session.data, self._panel
        # Before the methods are there, torch would be imported here.
        if not session.methods or (data is None and not panel.is_for_files):
            return None
        from napari_blindsound.job import Job

        place = panel.place.text().strip()
        result = {
            "output": str(panel.destination) if place else None,
            "dtype": panel.dtype.currentData(),
            "overwrite": panel.replace.isChecked(),
            "blend": session.blend,
            "uncertainty": panel.wants_uncertainty,
        }
        model_in = {"model_in": self._model_path, "adjust": _written_out(session)}
        if panel.is_for_files:
            paths = tuple(str(path) for path in panel.files)
            return Job(inputs=paths, **model_in, **result)
        if (name := panel.target_layer) is not None and name in self._viewer.layers:
            image = _image_of(self._viewer.layers[name])
            return Job(**model_in, **image, **result)
        if data is None:
            return None
        image = {
            **_named(data.paths),
            "axes": data.axes,
            "image": data.number,
            "channel": None if data.channel is None else str(data.channel),
        }
        if session.denoiser is not None and not session.is_learned_here:
            return Job(**model_in, **image, **result)
        spans = {
            word: (part.start, part.stop)
            for name, word in zip("TZYX", _SPANS, strict=True)
            if (part := data.ranges.get(name)) is not None
        }
        recipe = session.recipe or session.plan.recipe(data, session.pace)
        if session.adjustment:
            # The weights depend on none of these: trained with them, they are the same.
            settings = {**recipe.settings, **session.adjustment}
            known = {n: value for n, value in settings.items() if value is not None}
            recipe = recipe.model_copy(update={"settings": known})
        job = Job(**image, **spans, recipe=recipe, **result)
        # While another training runs, there is only the model of the one before.
        model = None if session.is_training else session.denoiser
        return job if model is None else job.settled(model)

    def save_recipe(self, path: Path) -> None:
        """Write the recipe file of the present choice."""
        try:
            job = self.job()
            if job is not None:
                job.save(path)
                self._session.events.said.emit(f"recipe saved as {path.name}")
        except (ValueError, OSError) as error:
            self._session.fail(error, "apply")

    def show_lazily(self) -> None:
        """Add a layer that denoises what is looked at."""
        self._session.forgive("apply")
        try:
            for model, volume, source in self._targets():
                self._add_lazily(model, volume, source)
        except (ValueError, OSError) as error:
            self._session.fail(error, "apply")

    def write(self) -> None:
        """Denoise to disk, going on with what was stopped there."""
        self._session.forgive("apply")
        try:
            targets = self._written()
            job = self.job()
        except (ValueError, OSError) as error:
            self._session.fail(error, "apply")
            return
        self._place = self._panel.destination
        if job is not None:
            resume = self._panel.is_unfinished or not self._panel.replace.isChecked()
            scheduler = self._panel.scheduler_address
            self._session.write(job, targets, resume=resume, scheduler=scheduler)

    def close(self) -> None:
        """Let go of the viewer; layers that were made go on."""
        self._viewer.layers.events.inserted.disconnect(self._on_layers)
        self._viewer.layers.events.removed.disconnect(self._on_layers)
        self._deviations.close()

    @property
    def _model_path(self) -> str:
        path = self._session.model_path
        return str(path) if path is not None else UNSAVED

    def _targets(self) -> Iterator[tuple[Denoiser, Volume, Image]]:
        """Model, image and layer of each lazy layer."""
        model, data = self._session.model(), self._session.data
        if model is None:
            return
        if (name := self._panel.target_layer) is not None:
            layer = self._other(name)
            yield model, _volume_of(layer), layer
            return
        source = self._chosen.layer
        if data is None or source is None:
            msg = "the layer is gone: choose another one in step 1"
            raise DataError(msg)
        if len(data.shown) != source.ndim:
            msg = f"{source.name} is still being opened: try again in a moment"
            raise DataError(msg)
        volume = data.volume
        is_split = "C" in volume.axes and "C" not in data.shown
        if not is_split or data.joint:
            # Channels denoised jointly cannot be had one by one: a slider, then.
            yield model, volume, source
            return
        for layer in _siblings(self._viewer, source):
            number = channel_of(layer) or 0
            yield model.of_channel(number), volume.select(C=number), layer

    def _add_lazily(self, model: Denoiser, volume: Volume, source: Image) -> None:
        name = f"{source.name} · denoised ({model.method.title}, lazy)"
        settings = like(source, name=name)
        if volume.ndim != source.ndim:
            # One channel of a layer with a channel axis was denoised: its own layer.
            [(_, settings, _)] = volume_to_layers(volume)
            settings = {**settings, "name": name}
        result = self._add_layer(model, volume, settings)
        result.metadata[KEY] |= self._facts(model)
        deviation = model.deviation() if self._panel.wants_uncertainty else None
        if deviation is None:
            return
        name = f"{source.name} · deviation ({model.method.title}, lazy)"
        limits = expected_limits(model, result)
        shown = {**settings, **COLORS, "name": name, "contrast_limits": limits}
        layer = self._add_layer(deviation, volume, shown)
        layer.metadata[KEY] |= self._facts(model, deviation)
        self._deviations.add(result, layer)

    def _add_layer(
        self, model: TileOperator, volume: Volume, settings: Mapping[str, Any]
    ) -> Image:
        memory = int(self._session.preferences.tile_memory_gb * 2**30)
        # The window's, not the dock's: layers go on when the dock is closed.
        made = LazyLayer(
            self._viewer,
            model,
            volume,
            settings,
            memory=memory,
            parent=self._panel.window(),
        )
        made.failed.connect(self._on_trouble)
        self.lazy_layers = [one for one in self.lazy_layers if not one.is_closed]
        self.lazy_layers.append(made)
        return made.layer

    def _on_trouble(self, error: Exception) -> None:
        self._session.fail(error, "apply")

    def _facts(
        self, model: Denoiser, deviation: Deviation | None = None
    ) -> dict[str, object]:
        job = self.job()
        made = deviation or model
        return {
            "role": "denoised" if deviation is None else "deviation",
            "command": job.command_line() if job is not None else "",
            "noise": [noise.to_json() for noise in model.preprocessing.noise],
            "model": dict(made.provenance),
            "revision": made.revision,
        }

    def _written(self) -> list[tuple[Volume, Path]]:
        """Images to write, and where to."""
        from napari_blindsound.images.open import open_volume

        panel, place = self._panel, self._panel.destination
        if not panel.place.text().strip():
            msg = "choose where the result goes"
            raise DataError(msg)
        if panel.is_for_files:
            return [
                (volume, place / f"{file_name(volume.name)}_denoised.ome.zarr")
                for volume in (open_volume(path) for path in panel.files)
            ]
        if (name := panel.target_layer) is not None:
            self._source = self._other(name)
            return [(_volume_of(self._source), place)]
        self._source = self._chosen.layer
        data = self._session.data
        return [(data.volume, place)] if data is not None else []

    def _other(self, name: str) -> Image:
        if name not in self._viewer.layers:
            msg = f"the layer {name} is gone: choose another one"
            raise DataError(msg)
        return self._viewer.layers[name]

    def _on_applied(self, path: Path) -> None:
        """Show the complete result."""
        from napari_blindsound.images.open import open_volume

        if self._panel.is_for_files:
            self._session.events.said.emit(f"written: {path}")
            return
        source, model = self._source, self._session.model()
        is_deviation = path == deviation_place(self._place)
        deviation = model.deviation() if model is not None and is_deviation else None
        facts = self._facts(model, deviation) if model is not None else {}
        what = "deviation" if is_deviation else "denoised"
        volume, added = open_volume(path), []
        for data, settings, _ in volume_to_layers(volume):
            if source is not None and source.ndim == len(settings["scale"]):
                title = model.method.title if model is not None else "Blindsound"
                kept = settings["metadata"]
                settings = like(source, name=f"{source.name} · {what} ({title})")
                settings["metadata"] = kept
            settings["metadata"][KEY] |= facts
            if is_deviation:
                limits = 0.0, sampled_range(volume)[1]
                settings |= {**COLORS, "contrast_limits": limits}
            added.append(self._viewer.add_image(data, **settings))
        if is_deviation:
            for result, layer in zip(self._shown, added, strict=False):
                self._deviations.add(result, layer)
        self._shown = [] if is_deviation else added
        self._session.events.said.emit(f"written: {path.name}")

    def _on_layers(self) -> None:
        layers = self._viewer.layers
        self._deviations.look()
        names = [
            layer.name
            for layer in layers
            if type(layer).__name__ == "Image"
            and layer is not self._chosen.layer
            and role_of(layer) is None
        ]
        self._panel.show_layers(names)

    def _show_unfinished(self) -> None:
        """Offer to continue what this model began at the place."""
        from napari_blindsound.inference.resume import awaits_deviation, resumable

        found, model = None, self._session.model()
        revision = "" if model is None else model.revision
        named = self._panel.place.text().strip() and not self._panel.is_for_files
        if model is not None and named and not self._session.is_busy:
            with suppress(OutputError):  # while a name is being typed
                place = self._panel.destination
                found = resumable(place)
                if self._panel.wants_uncertainty and awaits_deviation(place):
                    deviation = model.deviation()
                    revision = "" if deviation is None else deviation.revision
                    found = resumable(deviation_place(place))
        if found is None or found.revision != revision:
            self._panel.forget_unfinished()
        else:
            self._panel.show_unfinished(100 * found.done / max(1, found.total))


_SPANS = ("times", "slices", "rows", "columns")


def _written_out(session: Session) -> dict[str, object]:
    """What was changed in the model, with a word for what is left to the images."""
    changes = session.adjustment.items()
    return {name: "estimated" if v is None else v for name, v in changes}


def _named(paths: tuple[str, ...]) -> dict[str, object]:
    """How a job names files, several as the frames of one stack."""
    from napari_blindsound.job import frames_as_inputs

    inputs, stack = (paths, False) if len(paths) < 2 else frames_as_inputs(paths)
    return {"inputs": inputs, "stack": stack}


def _image_of(layer: Image) -> dict[str, object]:
    """How a job names what a layer shows."""
    channel = channel_of(layer)
    return {
        **_named(files_of(layer)),
        "image": number_of(layer),
        "channel": None if channel is None else str(channel),
    }


def _siblings(viewer: Viewer, source: Image) -> list[Image]:
    """Layers that show the channels of one file."""
    return [
        layer
        for layer in viewer.layers
        if channel_of(layer) is not None
        and role_of(layer) is None
        and files_of(layer) == files_of(source)
    ]


def _volume_of(layer: Image) -> Volume:
    axes = axes_of(layer)
    if axes is None:
        msg = (
            f"the layer {layer.name} does not say what its axes mean: choose it in "
            f"step 1 and name them there"
        )
        raise AxesError(msg)
    return volume_of(layer, axes)
