"""The example for notebooks in docs/tutorial.md does what it says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from MedSAMSlicerLib.core.metrics import dice
from MedSAMSlicerLib.phantom.ct import ct_phantom

pytestmark = [pytest.mark.slicer, pytest.mark.slow]
TUTORIAL = Path(__file__).resolve().parents[2] / "docs" / "tutorial.md"


def test_example_for_notebooks_segments_the_kidney(drawn: None) -> None:
    from Testing.Host import SlicerHost

    [example] = re.findall(r"^```python\n(.*?)^```", TUTORIAL.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    names: dict[str, Any] = {}
    with SlicerHost() as host:
        host.open_module()
        exec(compile(example, str(TUTORIAL), "exec"), names)  # noqa: S102  # what a reader would paste
        mask = names["mask"] > 0
        assert float(dice(mask, ct_phantom()[2]["left_kidney"])) > 0.6
        assert len(names["least_certain"]) == 3
