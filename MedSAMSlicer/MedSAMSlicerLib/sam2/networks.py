"""The networks there are: with memory, and without; the rest of the program knows them by these names."""

from __future__ import annotations

from typing import Union

from .config import Config, Sam1Config
from .model import SAM2
from .sam1 import SAM1

ImageNetwork = SAM1
"""Networks without memory, which draw masks on one image; to be a Union once there are several."""

Network = Union[SAM2, ImageNetwork]  # noqa: UP007 - Python 3.10 is served, and an alias is evaluated


def build(config: Config | Sam1Config) -> Network:
    """The network that a config describes, with random weights."""
    return SAM2(config) if isinstance(config, Config) else SAM1(config)
