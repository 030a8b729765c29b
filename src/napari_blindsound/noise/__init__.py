"""The physics of the camera: noise numbers and defective pixels."""

from __future__ import annotations
