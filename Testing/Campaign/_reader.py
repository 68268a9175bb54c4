"""A process that reads files, with bounded memory, and says what it found; what it prints itself is a fault.

Started by `files`. It takes one path a line on its standard input and answers with one line of JSON each on the file
descriptor that is its first argument; its second argument is the most memory it may take, in bytes.
"""

from __future__ import annotations

import hashlib
import json
import os
import resource
import sys
import traceback
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from MedSAMSlicerLib.core.errors import MedSAMError
from MedSAMSlicerLib.core.geometry import SliceAxis, VolumeGeometry
from MedSAMSlicerLib.core.input_files import read_prompts
from MedSAMSlicerLib.io.labels import read_slice_mask
from MedSAMSlicerLib.io.volumes import read_volume

PICTURES = (".png", ".bmp", ".tif", ".jpg")
GEOMETRY = VolumeGeometry((9, 14, 12), np.diag([-0.8, -0.8, 2.5, 1.0]))


def read(path: Path) -> list[Any]:
    """What a file holds: a digest of its content and numbers of its place."""
    if path.name.endswith(PICTURES):
        mask = read_slice_mask(path, GEOMETRY, SliceAxis.K, 4)
        return [_digest(mask), []]
    if path.name.endswith(".json"):
        return [_digest(np.frombuffer(read_prompts(path, GEOMETRY).to_json().encode(), np.uint8)), []]
    if path.name.endswith((".safetensors", ".pt")):
        from MedSAMSlicerLib.sam2 import checkpoint  # torch takes seconds

        network, config = checkpoint.load(path)
        weights = [weight.numpy().ravel() for _, weight in sorted(network.state_dict().items())]
        return [_digest(np.concatenate(weights)) + config.name, []]
    volume = read_volume(path)
    return [_digest(volume.array), [*volume.geometry.shape, *volume.geometry.ijk_to_ras.ravel().tolist()]]


def _digest(array: np.ndarray) -> str:
    content = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    return (
        f"{array.dtype.newbyteorder('=')} {array.shape} {hashlib.sha256(content.tobytes()).hexdigest()[:16]}"
    )


def main() -> None:
    answers = os.fdopen(int(sys.argv[1]), "w")
    limit = int(sys.argv[2])
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    warnings.simplefilter("error")
    for line in sys.stdin:
        path = Path(line.rstrip("\n"))
        try:
            answer = {"found": read(path)}
        except MedSAMError as error:
            answer = {"refused": str(error)}
        except Exception:  # noqa: BLE001 - whatever else comes out is what is looked for
            answer = {"fault": traceback.format_exc()}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
