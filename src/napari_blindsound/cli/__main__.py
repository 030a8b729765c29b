"""``python -m napari_blindsound.cli``, where the script is not on the path."""

from __future__ import annotations

import sys

from napari_blindsound.cli.app import main

if __name__ == "__main__":
    sys.exit(main())
