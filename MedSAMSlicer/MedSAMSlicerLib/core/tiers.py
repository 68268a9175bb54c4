"""How much accuracy may be given up for speed, and what may run image encoders; see :mod:`..engine.precision`."""

from __future__ import annotations

import enum
import os

SECOND_NETWORK = "MEDSAMSLICER_SECOND_NETWORK"
"""This variable set to "off" leaves the second reading out in every program, for computers that are too slow for it."""


class Tier(str, enum.Enum):
    """How much accuracy may be given up for speed."""

    EXACT = "exact"
    BALANCED = "balanced"
    FAST = "fast"


TIERS = tuple(tier.value for tier in Tier)

RUNTIMES = ("auto", "torch", "openvino")
"""What runs image encoders on the CPU, see :mod:`..engine.compiled`. auto = OpenVINO where the network was prepared for
it and it is faster; openvino = the network is prepared at its first use."""


def second_network_is_off() -> bool:
    """Return whether the environment leaves the second network out in every program, as slow computers may wish."""
    return os.environ.get(SECOND_NETWORK, "").lower() == "off"
