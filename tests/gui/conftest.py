"""Tests of the docks: on a real display, mostly Xvfb, or skipped with the reason.

Qt's platform "offscreen" has no OpenGL, which napari's canvas cannot do without.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module

import pytest

os.environ.pop("QT_QPA_PLATFORM", None)
# Settings of this run only, not those of whoever runs it.
os.environ["NAPARI_CONFIG"] = ""


def why_not():
    """Say why tests of the docks cannot run here, or nothing."""
    try:
        import_module("napari")
        import_module("qtpy.QtWidgets")
    except ImportError as error:
        return f"Qt or napari cannot be loaded: {error}"
    if sys.platform == "linux" and not {"DISPLAY", "WAYLAND_DISPLAY"} & set(os.environ):
        return "no display, and Xvfb is not installed"
    return None


@pytest.fixture(autouse=True)
def _empty_clipboard():
    """Own no clipboard: whoever asked for it would wait while a later test blocks."""
    yield
    from qtpy.QtWidgets import QApplication

    if QApplication.instance() is not None:
        QApplication.clipboard().clear()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_teardown():
    """Let go of the canvas's OpenGL before the viewer closes.

    Under PySide6 a context that is still current then stays so when it is gone, and the
    next window that is deleted, of any test, asks it for its surface.
    """
    from qtpy.QtGui import QOpenGLContext

    current = QOpenGLContext.currentContext()
    if current is not None:
        current.doneCurrent()


class Skipped(pytest.Module):
    """A file of tests that is not even imported."""

    def collect(self):
        pytest.skip(why_not(), allow_module_level=True)


def pytest_pycollect_makemodule(module_path, parent):
    return Skipped.from_parent(parent, path=module_path) if why_not() else None
