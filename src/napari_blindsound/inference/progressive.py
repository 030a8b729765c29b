"""A denoised image that answers at once and improves while somebody looks at it.

One thread denoises tile by tile what was asked for last, the nearest to the middle of
the view first; nobody ever waits for it. What was asked for before and scrolled away is
dropped, in the middle of a tile if need be. Finished tiles are kept up to a limit.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import deque
from typing import TYPE_CHECKING

import numpy as np

from napari_blindsound.errors import DataError, ModelError
from napari_blindsound.inference.background import bare, leave_a_core
from napari_blindsound.inference.lazy import lazy
from napari_blindsound.inference.noisy_planes import require_source
from napari_blindsound.inference.patchwork import Tile, nearest_tiles, patchworks
from napari_blindsound.inference.progressive_level import (
    DenoisedLevels,
    ProgressiveLevel,
)
from napari_blindsound.inference.pyramid import halved_often, unknown, with_pyramid
from napari_blindsound.inference.reader import Reader
from napari_blindsound.inference.reading import check_channels, read_padded
from napari_blindsound.inference.recent import Recent
from napari_blindsound.inference.tiling import Tiler, is_deviation

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import dask.array as da

    from napari_blindsound.images.volume import Volume
    from napari_blindsound.inference.patchwork import Pixels
    from napari_blindsound.inference.tiling import TileOperator

log = logging.getLogger(__name__)

MEMORY = 2**30
"""Bytes of denoised tiles that are kept."""

SIDE = 512  # px of a tile; rounded up to the model's stride
NEWS_SECONDS = 0.2  # between two calls of `on_ready`, at least
IDLE_SECONDS = 2.0  # without work, after which the thread ends
THREAD = "blindsound-progressive"


class Progressive:
    """Denoises what is looked at, in a thread of its own.

    The thread, named ``blindsound-progressive``, is the only one that calls the
    denoiser, but for those that compute the dask arrays. It is started when there is
    work and ends without.

    Parameters
    ----------
    denoiser : TileOperator
        Where it is a `Deviation`, NaN is shown until there is more to see.
    volume : Volume
        The noisy image. Without a pyramid, and larger than 2048 pixels a side, it is
        given one, of means.
    memory : int
        Bytes of denoised tiles to keep.
    tile : int
        Side of a tile in pixels, rounded up to the denoiser's stride.
    patience : float, optional
        Seconds that reading a noisy plane may take where pixels are asked for. What is
        later is NaN at first, and told about by `on_ready`; and the planes that may
        come next are read ahead. By default reading takes as long as it takes.
    on_ready : callable, optional
        Called in a thread when there is more to see: at most five times a second, and
        when all that was wanted is there.
    on_error : callable, optional
        Called with what went wrong, in the thread or where pixels are read. The next
        :meth:`want` begins anew.

    Attributes
    ----------
    volume : Volume
        The image, with the levels that are shown.
    levels : list of ProgressiveLevel
        The same as ``volume.levels``, denoised as far as it has been. Levels that are
        halves of level 0 in Y and X show the means of denoised tiles; others, such as
        those with fewer planes, stay the source's.
    denoised : DenoisedLevels
        What `lazy` gives: dask arrays, one a level. For scripts, and for saving.
    error : Exception or None
        The last one.

    Raises
    ------
    ModelMismatchError
        If the image has another number of channels than the model.
    """

    def __init__(
        self,
        denoiser: TileOperator,
        volume: Volume,
        *,
        memory: int = MEMORY,
        tile: int = SIDE,
        patience: float | None = None,
        on_ready: Callable[[], None] | None = None,
        on_error: Callable[[Exception], None] | None = None,
    ) -> None:
        check_channels(denoiser, volume)
        self.volume = with_pyramid(volume)
        self.error: Exception | None = None
        self.on_ready, self.on_error = on_ready, on_error
        self._denoiser: TileOperator | None = denoiser
        self._tiler: Tiler | None = None
        self._dask: list[da.Array] = []
        self._side = math.ceil(tile / denoiser.stride) * denoiser.stride
        self._tiles: Recent[Pixels] = Recent(memory)
        self._reader = Reader(patience, self._tell_late) if patience else None
        # A noisy pixel is a first guess at a clean one, not at how far that is off.
        shown = unknown(self.volume) if is_deviation(denoiser) else self.volume
        self._patchworks = patchworks(
            shown, self._side, self._tiles, self._report, self._reader
        )
        self.levels = [ProgressiveLevel(p, self._denoised) for p in self._patchworks]
        self.denoised = DenoisedLevels(self.levels)
        self._changed = threading.Condition()
        self._queue: deque[Tile] = deque()
        self._wanted: frozenset[Tile] = frozenset()
        self._level = 0
        self._busy: Tile | None = None
        self._thread: threading.Thread | None = None
        self._is_working = False
        self._last_news = 0.0

    @property
    def pending(self) -> int:
        """Tiles that are wanted and not there yet."""
        with self._changed:
            return len(self._queue) + (self._busy in self._wanted)

    @property
    def nbytes(self) -> int:
        """Bytes of the denoised tiles that are there."""
        return self._tiles.nbytes

    @property
    def is_running(self) -> bool:
        """Whether the thread lives."""
        thread = self._thread
        return thread is not None and thread.is_alive()

    def want(
        self,
        plane: Sequence[int],
        region: tuple[slice, slice],
        center: tuple[float, float] | None = None,
        *,
        level: int = 0,
    ) -> None:
        """Ask for a part of a plane, instead of all that was asked for before.

        Parameters
        ----------
        plane : sequence of int
            Position along the T and Z axes, in the array's order.
        region : tuple of slice
            Rows and columns at full resolution, inside the image.
        center : tuple of float, optional
            What comes first; the middle of the region if not given. Of more than the
            memory holds, only the nearest is denoised.
        level : int
            The level that is looked at.
        """
        if self._patchworks[level].halvings is None:
            self.rest()
            return
        rows, columns = region
        middle = center or (
            (rows.start + rows.stop) / 2,
            (columns.start + columns.stop) / 2,
        )
        tiles = nearest_tiles(tuple(plane), region, middle, self._side)
        del tiles[self._most_tiles(level) :]
        with self._changed:
            if self._denoiser is None:
                return
            self._level, self._wanted = level, frozenset(tiles)
            missing = (t for t in tiles if t != self._busy)
            self._queue = deque(t for t in missing if (level, t) not in self._tiles)
            if self._queue:
                self._start()
                self._changed.notify()

    def rest(self) -> None:
        """Drop what was asked for: nothing is looked at."""
        with self._changed:
            self._queue.clear()
            self._wanted = frozenset()

    def close(self) -> None:
        """Free the model and all tiles; the thread ends within a part of a tile.

        The levels go on showing the noisy image.
        """
        with self._changed:
            self._denoiser = self._tiler = self.on_ready = self.on_error = None
            self._queue.clear()
            self._wanted = frozenset()
            self._dask = []
            self._changed.notify()
        if self._reader is not None:
            self._reader.close()
        self._tiles.clear()

    def join(self, seconds: float) -> bool:
        """Wait for the thread's end, and say whether it has ended."""
        thread = self._thread
        if thread is not None:
            thread.join(seconds)
        return not self.is_running

    def _denoised(self, number: int) -> da.Array:
        denoiser = self._denoiser
        if denoiser is None:
            msg = (
                f"the denoised view of {self.volume.name} was closed and its model is "
                "freed: denoise the image again"
            )
            raise ModelError(msg)
        if not self._dask:
            self._dask = lazy(denoiser, self.volume)
        return self._dask[number]

    def _most_tiles(self, level: int) -> int:
        """How many tiles of a level the memory holds while another one is added."""
        pixels = self._side**2 * self.volume.n_channels
        halvings = self._patchworks[level].halvings or 0
        room = self._tiles.limit - 4 * pixels * 4 // 3
        return max(1, room // (4 * (pixels >> 2 * halvings)))

    def _start(self) -> None:
        if self._is_working:
            return
        self._is_working = True
        self._thread = threading.Thread(target=self._work, name=THREAD, daemon=True)
        self._thread.start()

    def _work(self) -> None:
        leave_a_core()
        while (tile := self._next()) is not None:
            error = self._attempt(tile)
            with self._changed:
                self._busy = None
                # A bad pixel spoils one tile; whatever else went wrong would go wrong
                # with the other tiles of this plane, too.
                spoils_all = error is not None and not isinstance(error, DataError)
                if spoils_all and tile in self._wanted:
                    self._queue.clear()
                is_done = not self._queue
            if error is not None:
                self._report(error)
            self._tell(is_done=is_done)

    def _next(self) -> Tile | None:
        """Take the next tile from the queue; None if there is none for a while."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._queue or self._denoiser is None, IDLE_SECONDS
            )
            if not self._queue:
                self._is_working = False
                return None
            self._busy = self._queue.popleft()
            return self._busy

    def _attempt(self, tile: Tile) -> Exception | None:
        try:
            self._denoise(tile)
        except Exception as error:
            # Told to whoever looks; the thread lives on.
            log.debug("a tile could not be denoised", exc_info=True)
            return error
        return None

    def _denoise(self, tile: Tile) -> None:
        """Denoise a tile and keep it, unless it is no longer wanted half-way."""
        with self._changed:
            denoiser = self._denoiser
            if denoiser is None:
                return
            tiler = self._tiler = self._tiler or Tiler(denoiser)
        require_source(self.volume)
        padded = read_padded(
            denoiser, self.volume, tile.region(self.volume, self._side)
        )
        out = np.empty(padded.shape, np.float32)
        for _ in tiler.steps(padded.pixels, out):
            if self._is_dropped(tile):
                return
        self._keep(tile, np.ascontiguousarray(out[0][:, *padded.core]))

    def _is_dropped(self, tile: Tile) -> bool:
        """Whether nobody wants a tile any more; from here on, who does asks anew."""
        with self._changed:
            if tile in self._wanted:
                return False
            self._busy = None
            return True

    def _keep(self, tile: Tile, pixels: Pixels) -> None:
        done, levels = 0, {}
        for patchwork in self._patchworks:
            if patchwork.halvings is not None:
                pixels = halved_often(pixels, patchwork.halvings - done)
                levels[patchwork.number, tile], done = pixels, patchwork.halvings
        with self._changed:
            if self._denoiser is None:
                return
            # What is looked at goes last, also when it was finished long ago.
            self._tiles.touch((self._level, wanted) for wanted in self._wanted)
            for key, values in levels.items():
                self._tiles.put(key, values)

    def _tell(self, *, is_done: bool) -> None:
        now, listener = time.monotonic(), self.on_ready
        if listener is not None and (is_done or now - self._last_news >= NEWS_SECONDS):
            self._last_news = now
            listener()

    def _tell_late(self) -> None:
        listener = self.on_ready
        if listener is not None:
            listener()

    def _report(self, error: Exception) -> None:
        self.error = bare(error)
        listener = self.on_error
        if listener is not None:
            listener(error)
