"""Options that several commands share, and types that argparse checks before anything is loaded."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from ..core.folders import without_tilde
from ..core.tiers import TIERS
from ..models.registry import BUNDLED_ID
from .terminal import UNTRIED_DEVICES

_MOST_THREADS = max(64, 4 * (os.cpu_count() or 1))


def threads(text: str) -> int:
    """A number of threads or processes: 1 or more, and no more than a system can start and use."""
    count = positive(text)
    if count > _MOST_THREADS:
        raise argparse.ArgumentTypeError(
            f"at most {_MOST_THREADS} are possible on this computer with {os.cpu_count()} processors, not {text}"
        )
    return count


def positive(text: str) -> int:
    """A whole number of 1 or more."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"a whole number of 1 or more is needed, not {text!r}")
    return int(text)


def not_negative(text: str) -> int:
    """A whole number of 0 or more."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"a whole number of 0 or more is needed, not {text!r}")
    return int(text)


def split_label(text: str) -> tuple[Path, str | None]:
    """`FILE` or `FILE,LABEL`: the file, and which label of it is meant. A file name may itself hold commas."""
    whole = without_tilde(text.strip())
    name, comma, label = text.strip().rpartition(",")
    if not comma or whole.exists() or not label.strip():
        return whole, None
    return without_tilde(name), label.strip()


def split_window(text: str) -> tuple[Path, str]:
    """`FILE` or `FILE,WINDOW`, of which both may hold a comma: the file, and "auto" where no window is given."""
    words = text.strip().split(",")
    for count in range(len(words), 0, -1):
        path = without_tilde(",".join(words[:count]))
        if path.exists():
            return path, ",".join(words[count:]) or "auto"
    return without_tilde(words[0]), ",".join(words[1:]) or "auto"


def add_volume_options(parser: argparse.ArgumentParser) -> None:
    """Declare the volume, and what a DICOM series may need."""
    parser.add_argument("volume", type=Path, metavar="VOLUME")
    parser.add_argument("--series", metavar="UID", help="SeriesInstanceUID, if a DICOM folder holds several")
    parser.add_argument(
        "--spacing",
        metavar="X,Y[,Z]",
        help="mm between columns, rows and slices of a DICOM series that does not give them",
    )


def add_network_options(parser: argparse.ArgumentParser) -> Any:
    """Declare which network computes, where and how; returns the group for more options."""
    network = parser.add_argument_group("network")
    network.add_argument("--model", metavar="NAME|FILE", help=f"checkpoint (default: {BUNDLED_ID})")
    network.add_argument("--yes", action="store_true", help="use a checkpoint whose hash is not known yet")
    network.add_argument(
        "--device", default="auto", help=f"auto, cpu, cuda, cuda:1 or mps (default: auto); {UNTRIED_DEVICES}"
    )
    network.add_argument("--tier", choices=("auto", *TIERS), help="precision (default: auto)")
    network.add_argument(
        "--threads", type=threads, metavar="N", help="CPU threads (default: OMP_NUM_THREADS, or all but one)"
    )
    return network
