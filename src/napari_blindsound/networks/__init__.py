"""Networks that know their receptive field and stride."""

from __future__ import annotations
