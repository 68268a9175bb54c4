"""The named choices of a run, each in one place: arithmetic, runtime, volume stage, memory, directions, overlaps."""

from __future__ import annotations

import enum
import os

SECOND_NETWORK = "MEDSAMSLICER_SECOND_NETWORK"
"""This variable set to "off" leaves the second reading out in every program, for computers that are too slow for it."""


class Tier(str, enum.Enum):
    """The accuracy that may be given up for speed."""

    EXACT = "exact"
    BALANCED = "balanced"
    FAST = "fast"


TIERS = tuple(tier.value for tier in Tier)

RUNTIMES = ("auto", "torch", "openvino")
"""What runs image encoders on the CPU, see :mod:`..engine.compiled`. auto = OpenVINO where the network was prepared for
it and it is faster; openvino = the network is prepared at its first use."""

STAGES = ("auto", "learned", "fused", "off")
"""What looks at all slices of an object together, see :mod:`..engine.volume.stage`. auto = the learned stage with a
second network that reads the slices again; learned = without that network; fused = without learned weights."""

MEMORY_POLICIES = ("all", "prune")
"""Which of the remembered slices count, see :mod:`..engine.bank`. prune = without those that add least."""

DIRECTIONS = ("forward", "backward", "both")
"""Where the frames of a video are followed from the prompted ones."""

OVERLAPS = ("keep", "highest")
"""What a finished segmentation holds where objects meet. keep = both; highest = the object with the highest logit."""


def second_network_is_off() -> bool:
    """Return whether the environment leaves the second network out in every program, as slow computers may wish."""
    return os.environ.get(SECOND_NETWORK, "").lower() == "off"
