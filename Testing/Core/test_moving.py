"""A volume that is moved takes what was said of it along, with its history."""

from __future__ import annotations

import numpy as np
import pytest

from MedSAMSlicerLib.core.errors import SessionError
from MedSAMSlicerLib.core.geometry import SliceAxis, VolumeGeometry
from MedSAMSlicerLib.core.moving import moved_prompts
from MedSAMSlicerLib.core.prompts import (
    MaskPrompt,
    Prompt,
    Scribble,
    SliceRef,
    box_from_voxels,
    in_slice,
    line_from_voxels,
    validate,
)
from MedSAMSlicerLib.core.session import Session

from .sessions import GEOMETRY, RED, filled, point

TURNED = np.array([[0, -2, 0, 5], [2, 0, 0, -7], [0, 0, 2, 40], [0, 0, 0, 1.0]])
ELSEWHERE = VolumeGeometry(GEOMETRY.shape, TURNED @ GEOMETRY.ijk_to_ras)
HERE = SliceRef(SliceAxis.K, 4)
PROMPTS: tuple[Prompt, ...] = (
    point(4),
    box_from_voxels(GEOMETRY, HERE, 1, 1, 4, 5),
    line_from_voxels(GEOMETRY, HERE, 1, 1, 4, 5),
    Scribble(HERE, (point(4).ras, point(4, 5, 3).ras), radius_mm=1.5),
    MaskPrompt(HERE, filled(9)),
)


def session() -> tuple[Session, int]:
    made = Session(GEOMETRY)
    number = made.add_object("a", RED)
    for prompt in PROMPTS:
        made.add_prompt(number, prompt)
    return made, number


def test_prompts_stay_on_their_voxels() -> None:
    made, number = session()
    made.move(ELSEWHERE)
    after = made.object(number).prompts
    for prompt, moved in zip(PROMPTS, after, strict=True):
        validate(moved, ELSEWHERE)
        if isinstance(prompt, MaskPrompt):
            assert moved == prompt
            continue
        assert moved != prompt
        assert np.allclose(in_slice(moved, ELSEWHERE), in_slice(prompt, GEOMETRY))  # type: ignore[arg-type]
    assert after[3].radius_mm == pytest.approx(3.0)  # type: ignore[union-attr]
    assert moved_prompts(made.prompt_set(), GEOMETRY).geometry == GEOMETRY


def test_nothing_becomes_pending_and_the_history_leads_back_and_forth() -> None:
    made, number = session()
    run = made.begin_propagation(number)
    made.apply_predictions(run, number, {index: filled(index + 1) for index in range(12)})
    made.end_propagation(run, number)
    made.undo()
    made.redo()
    made.add_prompt(number, point(7))
    made.undo()
    before, pending = made.object(number), made.pending_slices(number)
    made.move(ELSEWHERE)
    assert made.pending_slices(number) == pending == frozenset()
    assert made.object(number).masks is before.masks
    made.redo()
    assert np.allclose(in_slice(made.object(number).prompts[-1], ELSEWHERE), [(3, 2)])  # type: ignore[arg-type]
    while made.undo() is not None:
        for obj in made.objects:
            for prompt in obj.prompts:
                validate(prompt, ELSEWHERE)
    assert made.objects == ()


def test_another_shape_is_refused() -> None:
    made, _ = session()
    with pytest.raises(SessionError, match="other voxels"):
        made.move(VolumeGeometry.from_spacing((3, 4, 5), (1, 1, 1)))
