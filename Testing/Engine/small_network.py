"""A network for tests of what surrounds it."""

from __future__ import annotations

from dataclasses import replace

from MedSAMSlicerLib.sam2 import NANO, ConvTrunkConfig

SMALL = replace(
    NANO,
    image_size=64,
    trunk=ConvTrunkConfig(channels=(16, 24, 32, 32), blocks=(1, 1, 1, 1)),
    hidden_dim=64,
    memory_dim=32,
    memory_attention_feedforward=128,
    decoder_feedforward=128,
    iou_hidden_dim=64,
)
"""The architecture of the bundled network, only smaller."""
