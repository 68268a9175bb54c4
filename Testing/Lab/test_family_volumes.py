"""The generated CTs on which networks are compared are found, with the names of their organs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from Testing.Lab.family_volumes import ORGANS, write_volumes

from MedSAMSlicerLib.lab.evaluation.datasets import find_cases, load_case


def test_every_organ_of_a_generated_ct_is_a_target(tmp_path: Path) -> None:
    write_volumes(tmp_path, (1,), (12, 64, 64))
    [case] = find_cases(tmp_path)
    volume, targets = load_case(case, 4)
    assert {target.name for target in targets} == set(ORGANS)
    for target in targets:
        inside, around = volume.array[target.mask], volume.array[~target.mask]
        assert np.median(inside) > np.median(around)
