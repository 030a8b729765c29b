"""Errors a user can act on.

Every message says what came, what was expected and what to do. Each class is also the
fitting builtin, so that callers who know nothing of this package can catch it.
"""

from __future__ import annotations


class BlindsoundError(Exception):
    """Base of every error that the user, not the developer, can mend."""


class ImageNotFoundError(BlindsoundError, FileNotFoundError):
    """The path given for an image does not exist or holds no image."""


class ImageAccessError(BlindsoundError, PermissionError):
    """The file of an image may not be read."""


class ImageFormatError(BlindsoundError, ValueError):
    """The file is not a readable image, or one this package does not denoise."""


class SeveralImagesError(ImageFormatError):
    """The file holds several images, and none of them was chosen.

    Attributes
    ----------
    labels : tuple of str
        What there is, in the order in which images are counted.
    """

    labels: tuple[str, ...] = ()


class AxesError(BlindsoundError, ValueError):
    """The axes are unknown, or do not fit the array."""


class DataError(BlindsoundError, ValueError):
    """The pixels cannot be used: not finite, complex, constant, too small."""


class OutputExistsError(BlindsoundError, FileExistsError):
    """Something lies where the result should go."""


class OutputError(BlindsoundError, OSError):
    """The result could not be written: no space, no permission, no such format."""


class ModelNotFoundError(BlindsoundError, FileNotFoundError):
    """There is no model at the path given."""


class ModelError(BlindsoundError, ValueError):
    """The model file is not one, is truncated, or comes from a newer version."""


class ModelMismatchError(BlindsoundError, ValueError):
    """The model was trained on other axes or channels than the image has."""


class NotEnoughMemoryError(BlindsoundError, MemoryError):
    """Memory ran out for the smallest piece of work there is."""


class RecipeError(BlindsoundError, ValueError):
    """A recipe file, or what it asks for, does not make sense."""


class MissingExtraError(BlindsoundError, ImportError):
    """An optional dependency is needed for what was asked."""


class ClusterError(BlindsoundError, ConnectionError):
    """The processes of a cluster cannot be reached, were lost, or do not fit."""
