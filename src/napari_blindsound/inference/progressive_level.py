"""What a viewer takes for an array: quick in parts, honest as a whole."""

from __future__ import annotations

import math
from collections.abc import Sequence
from operator import index as as_index
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from napari_blindsound.images.array import SlicedArray

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import EllipsisType

    import dask.array as da
    import numpy.typing as npt

    from napari_blindsound.inference.patchwork import Patchwork


class ProgressiveLevel:
    """One level of a `Progressive`, read like an array.

    Indexing answers at once with what is there: denoised where it has been, noisy
    elsewhere. That is for display. ``numpy.asarray(level)``, and with it every function
    of numpy on the level as a whole, waits until all of it is denoised, and so does the
    dask array of `to_dask`: what is saved or measured is no mixture.

    A part of several planes is a view that is read by ``numpy.asarray``, at once.
    """

    def __init__(self, now: Patchwork, denoised: Callable[[int], da.Array]) -> None:
        self.shape = now.shape
        self.dtype: np.dtype[Any] = np.dtype(np.float32)
        self.chunks = now.chunks
        self._now = now
        self._denoised = denoised

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of pixels."""
        return math.prod(self.shape)

    def to_dask(self) -> da.Array:
        """The denoised level, computed block by block on demand; never noisy.

        Coarser levels are those of the source, as those of
        `napari_blindsound.inference.lazy.lazy`.

        Raises
        ------
        ModelError
            If the `Progressive` was closed.
        """
        return self._denoised(self._now.number)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> Any:  # noqa: ANN401 - whatever numpy takes
        """Pixels as they are now."""
        index = _window(key if isinstance(key, tuple) else (key,), self.shape)
        if index is None or self._is_one_plane(index):
            return self._now[key]
        return SlicedArray(self._now, index)

    def __array__(
        self,
        dtype: npt.DTypeLike | None = None,
        copy: bool | None = None,  # noqa: FBT001 - numpy's protocol
    ) -> npt.NDArray[Any]:
        denoised = self.to_dask().compute()  # type: ignore[no-untyped-call] # dask
        return np.array(denoised, dtype=dtype, copy=copy)

    def __deepcopy__(self, memo: object) -> ProgressiveLevel:
        # napari copies the data of a layer that is duplicated; these are not changed.
        return self

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.shape} {self.dtype}>"

    def _is_one_plane(self, index: tuple[int | slice, ...]) -> bool:
        pairs = zip(self._now.names, index, strict=True)
        return all(
            isinstance(part, int) or part.stop - part.start <= 1
            for name, part in pairs
            if name in "TZ"
        )


class DenoisedLevels(Sequence["da.Array"]):
    """Dask arrays of the denoised image, one a level, made when first asked for.

    Making them takes a look at the whole image where that lies in memory.

    Parameters
    ----------
    levels : sequence of ProgressiveLevel
        Whose result they are.
    """

    def __init__(self, levels: Sequence[ProgressiveLevel]) -> None:
        self._levels = levels

    def __len__(self) -> int:
        return len(self._levels)

    @overload
    def __getitem__(self, number: int) -> da.Array: ...
    @overload
    def __getitem__(self, number: slice) -> list[da.Array]: ...

    def __getitem__(self, number: int | slice) -> da.Array | list[da.Array]:
        """The array of a level."""
        if isinstance(number, slice):
            return [level.to_dask() for level in self._levels[number]]
        return self._levels[number].to_dask()


def _window(
    key: int | slice | EllipsisType | tuple[int | slice | EllipsisType, ...],
    shape: tuple[int, ...],
) -> tuple[int | slice, ...] | None:
    """One integer or slice of step 1 an axis; None if the key says more than that."""
    keys = list(key) if isinstance(key, tuple) else [key]
    rest = [slice(None)] * (len(shape) - sum(part is not Ellipsis for part in keys))
    at = next((i for i, part in enumerate(keys) if part is Ellipsis), len(keys))
    keys[at : at + 1] = rest
    index: list[int | slice] = []
    for part, size in zip(keys, shape, strict=False):
        if isinstance(part, slice):
            start, stop, step = part.indices(size)
            if step != 1 or start >= stop:
                return None
            index.append(slice(start, stop))
        elif part is not Ellipsis:
            index.append(range(size)[as_index(part)])
    return tuple(index) if len(index) == len(keys) == len(shape) else None
