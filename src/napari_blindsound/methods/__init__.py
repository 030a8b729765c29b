"""The denoising methods, one file each, found by being here.

>>> from napari_blindsound import methods
>>> methods.find("blind2unblind").title
'Blind2Unblind'
"""

from __future__ import annotations

import inspect
import pkgutil
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari_blindsound.methods.base import Method

DEFAULT = "blind2unblind"


@cache
def available() -> dict[str, type[Method]]:
    """All methods by name, the default first."""
    from napari_blindsound.methods.base import Method

    found: dict[str, type[Method]] = {}
    for module_info in pkgutil.iter_modules(__path__):
        module = import_module(f"{__name__}.{module_info.name}")
        for _, member in inspect.getmembers(module, inspect.isclass):
            local = member.__module__ == module.__name__
            if local and issubclass(member, Method) and not inspect.isabstract(member):
                found[member.name] = member
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
        msg = f"no method {name!r}; there are {', '.join(available())}"
        raise ValueError(msg) from None
