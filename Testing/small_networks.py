"""Networks for tests of what surrounds them: the architecture of the bundled one with fewer channels and pixels."""

from __future__ import annotations

from dataclasses import replace

from MedSAMSlicerLib.sam2.config import NANO, Config, ConvTrunkConfig

SMALL: Config = replace(
    NANO,
    image_size=64,
    trunk=ConvTrunkConfig(channels=(16, 24, 32, 32), blocks=(1, 1, 1, 1)),
    hidden_dim=64,
    memory_dim=32,
    memory_attention_feedforward=128,
    decoder_feedforward=128,
    iou_hidden_dim=64,
)
"""64 pixels: it looks at a slice and its masks have a shape."""

SMALLEST: Config = replace(
    NANO,
    name="test",
    image_size=32,
    trunk=ConvTrunkConfig(channels=(8, 16, 16, 16), blocks=(1, 1, 1, 1)),
    hidden_dim=32,
    memory_dim=16,
    memory_attention_layers=1,
    memory_attention_feedforward=32,
    decoder_feedforward=32,
    iou_hidden_dim=32,
)
"""32 pixels: a step of training takes milliseconds."""
