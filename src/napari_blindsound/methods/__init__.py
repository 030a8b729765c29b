"""The denoising methods, one file each, found by being here or in another package.

Another package names its class in the group ``napari_blindsound.methods`` of its entry
points. What is wrong with it is said once, and the other methods work.

>>> from napari_blindsound import methods
>>> methods.find("blind2unblind").title
'Blind2Unblind'
"""

from __future__ import annotations

import inspect
import logging
import pkgutil
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from importlib.metadata import EntryPoint

    from napari_blindsound.methods.base import Method

DEFAULT = "blind2unblind"
GROUP = "napari_blindsound.methods"
"""Of the entry points that are methods of other packages."""

log = logging.getLogger(__name__)

# What a user is told of a method, and what makes one.
_SAID = ("name", "title", "reference", "assumes", "cost", "limits", "Config")


@cache
def available() -> dict[str, type[Method]]:
    """All methods by name, the default first."""
    found = _own()
    for point in entry_points(group=GROUP):
        method = _foreign(point, found)
        if method is not None:
            found[method.name] = method
    return dict(sorted(found.items(), key=lambda item: (item[0] != DEFAULT, item[0])))


def find(name: str) -> type[Method]:
    """Method of that name.

    Raises
    ------
    ValueError
        If there is none; the message lists the names there are.
    """
    try:
        return available()[name]
    except KeyError:
        msg = (
            f"no method {name!r}; there are {', '.join(available())}; for one of "
            f"another package, install that package"
        )
        raise ValueError(msg) from None


def add(method: type[Method]) -> None:
    """Make a class available in this process, such as one of a notebook.

    Raises
    ------
    ValueError
        If it cannot be used; the message says why.
    """
    fault = _fault(method, available())
    if fault:
        msg = f"{method} cannot be a method: {fault}"
        raise ValueError(msg)
    available()[method.name] = method


def package_of(method: type[Method]) -> str:
    """Name and version of the other package a method comes from; empty if it is ours.

    It is kept with a model, which cannot be loaded without that package.
    """
    where = f"{method.__module__}:{method.__qualname__}"
    for point in entry_points(group=GROUP):
        if point.dist is not None and point.value == where:
            return f"{point.dist.name} {point.dist.version}"
    return ""


def _own() -> dict[str, type[Method]]:
    """The methods in this folder."""
    from napari_blindsound.methods.base import Method

    found: dict[str, type[Method]] = {}
    for module_info in pkgutil.iter_modules(__path__):
        module = import_module(f"{__name__}.{module_info.name}")
        for _, member in inspect.getmembers(module, inspect.isclass):
            local = member.__module__ == module.__name__
            if local and issubclass(member, Method) and not inspect.isabstract(member):
                found[member.name] = member
    return found


def _foreign(
    point: EntryPoint, found: Mapping[str, type[Method]]
) -> type[Method] | None:
    """The method of an entry point; None, with a warning, if it cannot be used."""
    try:
        method = point.load()
    except Exception as error:  # noqa: BLE001 - of code that is not ours
        fault = f"it cannot be imported ({type(error).__name__}: {error})"
    else:
        fault = _fault(method, found)
        if not fault:
            return method  # type: ignore[no-any-return]
    source = f"of {point.dist.name} " if point.dist else ""
    log.warning(
        "the method %s %s(%s) is left out: %s; update or remove that package",
        point.name,
        source,
        point.value,
        fault,
    )
    return None


def _fault(method: object, found: Mapping[str, type[Method]]) -> str:
    """Why a class cannot be used as a method; empty if it can."""
    from napari_blindsound.methods.base import Method

    if not (inspect.isclass(method) and issubclass(method, Method)):
        return f"it is no class derived from {Method.__module__}.{Method.__name__}"
    if inspect.isabstract(method):
        missing = sorted(method.__abstractmethods__)
        return f"it does not define {', '.join(missing)}"
    missing = [name for name in _SAID if not hasattr(method, name)]
    if missing:
        return f"it does not say its {', '.join(missing)}"
    if not method.Config.presets:
        return "its settings have no preset"
    if method.name in found:
        taken = found[method.name].__module__
        return f"the name {method.name} is taken by {taken}"
    return ""
