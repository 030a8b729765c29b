"""Trained denoisers, applied seam-free to data of any size."""

from __future__ import annotations
