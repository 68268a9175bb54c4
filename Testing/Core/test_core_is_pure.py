from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import MedSAMSlicerLib.core

CORE = Path(MedSAMSlicerLib.core.__file__).parent
MODULES = sorted(path.stem for path in CORE.glob("*.py") if path.stem != "__init__")

SCRIPT = """
import importlib.abc, sys

class Blocker(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        allowed = sys.stdlib_module_names | {"numpy", "MedSAMSlicerLib"}
        if top not in allowed or name.startswith("MedSAMSlicerLib.") and not name.startswith("MedSAMSlicerLib.core"):
            raise ImportError(f"core must not import {name}")

sys.meta_path.insert(0, Blocker())
sys.path.insert(0, sys.argv[1])
import importlib
importlib.import_module(f"MedSAMSlicerLib.core.{sys.argv[2]}")
loaded = {name.partition(".")[0] for name in sys.modules}
assert not loaded & {"slicer", "vtk", "qt", "ctk", "torch", "SimpleITK", "scipy", "monai"}, loaded
"""


@pytest.mark.parametrize("module", MODULES)
def test_core_needs_only_numpy_and_the_standard_library(module: str) -> None:
    # Each module by itself, in a fresh interpreter: no circular import may hide behind another's order.
    result = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(CORE.parent.parent), module],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
