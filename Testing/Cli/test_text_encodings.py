"""Texts of other programs are read, and what is printed suits every console."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from MedSAMSlicerLib.core.geometry import VolumeGeometry
from MedSAMSlicerLib.core.input_files import read_prompts
from MedSAMSlicerLib.core.prompts import PromptSet

MODULE = Path(__file__).resolve().parents[2] / "MedSAMSlicer"


def test_a_prompts_file_may_begin_with_a_byte_order_mark(tmp_path: Path, ct_geometry: VolumeGeometry) -> None:
    prompts = PromptSet(ct_geometry, tier="exact")
    path = tmp_path / "prompts.json"
    path.write_text(prompts.to_json(), encoding="utf-8-sig")
    assert read_prompts(path, ct_geometry) == prompts


@pytest.mark.parametrize("command", ["segment", "models"])
def test_json_is_plain_ascii(segment: Any, cli: Any, tmp_path: Path, command: str) -> None:
    output = tmp_path / "Mädchen.seg.nrrd"
    done = segment("-o", output, "--json") if command == "segment" else cli("models", "list", "--json")
    assert done.code == 0, done
    assert done.out.isascii()
    if command == "segment":
        assert json.loads(done.out)["output"] == str(output)


@pytest.mark.skipif(sys.platform == "win32", reason="a shell that closes streams")
def test_closed_output_and_error_streams_are_no_fault() -> None:
    command = [sys.executable, "-m", "MedSAMSlicerLib.cli", "models", "list"]
    done = subprocess.run(["sh", "-c", '"$@" >&- 2>&-', "sh", *command], cwd=MODULE, check=False)
    assert done.returncode == 0
