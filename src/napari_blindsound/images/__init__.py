"""What an image is, and how it is read."""

from __future__ import annotations
