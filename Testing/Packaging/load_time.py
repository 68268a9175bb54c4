"""How long Slicer waits for the scripted module when it starts: python -m Testing.Packaging.load_time

Prints the time that `import MedSAMSlicer` takes in a fresh interpreter in which Slicer's own modules stand in, the
median of several runs. What keeps it short is asserted in test_module_file.py.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
from pathlib import Path

MODULE_FOLDER = Path(__file__).resolve().parents[2] / "MedSAMSlicer"
RUNS = 9

STAND_INS = """
import importlib.abc, json, sys, time, types

class Blocked(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"torch", "vtk", "qt", "ctk", "SimpleITK", "safetensors"}:
            raise ImportError(f"{name} is blocked")

sys.meta_path.insert(0, Blocked())

class Base:
    def __init__(self, parent=None):
        self.parent = parent

loadable = types.ModuleType("slicer.ScriptedLoadableModule")
for kind in ("", "Widget", "Logic", "Test"):
    setattr(loadable, "ScriptedLoadableModule" + kind, type("ScriptedLoadableModule" + kind, (Base,), {}))
i18n = types.ModuleType("slicer.i18n")
i18n.tr = lambda text: text
i18n.translate = lambda context, text: text
i18n.getContext = lambda file: file
sys.modules["slicer"] = slicer = types.ModuleType("slicer")
connected = []
slicer.app = types.SimpleNamespace(connect=lambda signal, slot: connected.append((signal, slot.__name__)))
sys.modules["slicer.ScriptedLoadableModule"] = loadable
sys.modules["slicer.i18n"] = i18n
sys.path.insert(0, sys.argv[1])
"""

_TIMED = """
before = time.perf_counter()
import MedSAMSlicer
print(time.perf_counter() - before)
"""


def run_with_stand_ins(code: str) -> str:
    """What `code` prints in a fresh interpreter beside the stand-ins, with the module's folder on the path."""
    command = [sys.executable, "-c", STAND_INS + code, str(MODULE_FOLDER)]
    ran = subprocess.run(command, check=False, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def main() -> None:
    """Measure and print."""
    seconds = [float(run_with_stand_ins(_TIMED)) for _run in range(RUNS)]
    median, longest = statistics.median(seconds), max(seconds)
    sys.stdout.write(
        f"import MedSAMSlicer: {1000 * median:.1f} ms, at most {1000 * longest:.1f} ms in {RUNS} runs\n"
    )


if __name__ == "__main__":
    main()
