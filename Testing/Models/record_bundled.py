"""Writes size and SHA-256 of the bundled checkpoint into the registry: run it after a new one has been put in place.

python Testing/Models/record_bundled.py
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

MODULE = Path(__file__).resolve().parents[2] / "MedSAMSlicer"
REGISTRY = MODULE / "MedSAMSlicerLib" / "models" / "registry.json"
CHECKPOINT = MODULE / "Resources" / "Models" / "medsamslicer_nano.safetensors"


def record(registry: Path, checkpoint: Path) -> None:
    """Change the two numbers of the entry with that file name, and nothing else in the file."""
    content = checkpoint.read_bytes()
    size, digest = len(content), hashlib.sha256(content).hexdigest()
    entry = rf'("file": "{re.escape(checkpoint.name)}",\s*"bytes": )[^,]+(,\s*"sha256": )[^,]+,'
    text, count = re.subn(entry, rf'\g<1>{size}\g<2>"{digest}",', registry.read_text(encoding="utf-8"))
    if count != 1:
        raise SystemExit(f"{registry} has no entry for {checkpoint.name}.")
    registry.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    record(REGISTRY, CHECKPOINT)
