"""SAM 2 as one plain network: build it from a `Config`, read weights with `checkpoint.load`."""

from .config import BASE_PLUS, LARGE, MEDSAM2, NANO, SMALL, TINY, Config, ConvTrunkConfig, HieraConfig
from .model import SAM2, DecoderPrompts, ImageFeatures, MaskCandidates, MaskOutput, Memory

__all__ = [
    "BASE_PLUS",
    "LARGE",
    "MEDSAM2",
    "NANO",
    "SAM2",
    "SMALL",
    "TINY",
    "Config",
    "ConvTrunkConfig",
    "DecoderPrompts",
    "HieraConfig",
    "ImageFeatures",
    "MaskCandidates",
    "MaskOutput",
    "Memory",
]
