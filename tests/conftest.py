from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib import import_module

import pytest

# One word for both: what pytest-qt loads must be what napari loads.
_BINDING = os.environ.get("PYTEST_QT_API") or os.environ.get("QT_API") or "pyqt6"
os.environ |= {"PYTEST_QT_API": _BINDING, "QT_API": _BINDING}

LONG = ("test_examples.py", "test_third_party.py", "test_workers.py")


def pytest_configure(config):
    """Whole files that are so are named in the Makefile."""
    what = "asks nothing of the binding to Qt: need not run with the other one"
    config.addinivalue_line("markers", f"once: {what}")


def pytest_collection_modifyitems(items):
    """Files of few and long tests first, so that no process waits for another's."""
    items.sort(key=lambda item: item.path.name not in LONG)


def pytest_addoption(pluginmanager):
    """Where Qt cannot be loaded, pytest-qt would not let any test run."""
    try:
        import_module("qtpy.QtWidgets")
    except ImportError:
        pluginmanager.unregister(name="pytest-qt")


@pytest.fixture(scope="module")
def one_thread():
    """Threads of a small network mostly wait for one another."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def run():
    """Run code in a new interpreter; what it prints is JSON."""

    def in_new_interpreter(code):
        words = [sys.executable, "-c", code]
        done = subprocess.run(words, capture_output=True, text=True, check=True)
        return json.loads(done.stdout)

    return in_new_interpreter
