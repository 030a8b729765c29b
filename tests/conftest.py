from __future__ import annotations

import json
import subprocess
import sys

import pytest


@pytest.fixture
def run():
    """Run code in a new interpreter; what it prints is JSON."""

    def in_new_interpreter(code):
        words = [sys.executable, "-c", code]
        done = subprocess.run(words, capture_output=True, text=True, check=True)
        return json.loads(done.stdout)

    return in_new_interpreter
