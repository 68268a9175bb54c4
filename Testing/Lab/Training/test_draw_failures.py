"""The pictures of failures in the model card can be drawn again, of generated volumes only."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")

sys.path.insert(0, str(Path(__file__).parent))  # pytest's importlib mode leaves neighbors out

import draw_failures
import SimpleITK as sitk

DOCS = Path(__file__).resolve().parents[3] / "docs"


@pytest.mark.slow
def test_the_pictures_are_drawn(tmp_path: Path) -> None:
    if not draw_failures.CHECKPOINT.is_file():
        pytest.skip("the bundled network has not been trained yet")
    drawn = draw_failures.draw(tmp_path, scenes=2)
    assert drawn
    assert {path.name for path in drawn} <= {kind.file for kind in draw_failures.KINDS}
    for path in drawn:
        width, height = sitk.ReadImage(str(path)).GetSize()
        assert width > 2 * draw_failures.TILE
        assert height > draw_failures.TILE


def test_the_model_card_shows_them_and_they_are_small() -> None:
    shown = set(re.findall(r"\]\((failure-\w+\.png)\)", (DOCS / "model-card.md").read_text(encoding="utf-8")))
    assert {kind.file for kind in draw_failures.KINDS} < shown
    for kind in draw_failures.KINDS:
        assert (DOCS / kind.file).stat().st_size <= 150_000
