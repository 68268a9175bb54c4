"""How much accuracy may be given up for speed; what each does is in :mod:`..engine.precision`."""

from __future__ import annotations

import enum


class Tier(str, enum.Enum):
    """How much accuracy may be given up for speed."""

    EXACT = "exact"
    BALANCED = "balanced"
    FAST = "fast"


TIERS = tuple(tier.value for tier in Tier)
