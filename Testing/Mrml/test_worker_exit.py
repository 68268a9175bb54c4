"""The process may end at any moment, also while the worker's thread imports torch: quietly, and with no thread left."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

MODULE_FOLDER = Path(__file__).resolve().parents[2] / "MedSAMSlicer"
CODE = """
import logging, sys, threading, time
logging.basicConfig(level=logging.WARNING)
sys.path.insert(0, sys.argv[1])
from MedSAMSlicerLib.app.worker import Job, Worker

class Tools:
    filling = False
    def close(self):
        print("tools closed", flush=True)

class Import(Job):
    def run(self, tools, canceled):
        import {library}
        yield {library}

{before}
worker = Worker(Tools)
worker.submit(Import(), print, print)
time.sleep(float(sys.argv[2]))
{closing}
"""
SLOW_AND_FAILING = """
import importlib.abc, importlib.machinery

class Slow(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name, path=None, target=None):
        return importlib.machinery.ModuleSpec(name, self) if name == "slow" else None
    def exec_module(self, module):
        time.sleep(0.7)
        import threading, weakref
        global kept
        kept = Slow()
        weakref.finalize(kept, print, "finalized", flush=True)  # as torch makes some
        threading._register_atexit(print)  # as concurrent.futures does, which torch imports

sys.meta_path.insert(0, Slow())
"""


def ended(code: str, seconds: float) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code, str(MODULE_FOLDER), str(seconds)]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("closing", ["worker.close(0.05)", ""], ids=["closed in time", "never closed"])
def test_leaving_while_an_import_goes_on_waits_for_it_and_is_quiet(closing: str) -> None:
    left = ended(CODE.format(library="slow", before=SLOW_AND_FAILING, closing=closing), 0.1)
    assert (left.returncode, left.stderr) == (0, "")
    why = "the thread came to its end, no more was reported, and finalizers were called while modules were whole"
    assert left.stdout == "tools closed\nfinalized\n", why


@pytest.mark.parametrize("seconds", [0.1, 0.5])
def test_leaving_while_torch_is_imported_is_quiet(seconds: float) -> None:
    left = ended(CODE.format(library="torch", before="", closing="worker.close(0.05)"), seconds)
    assert (left.returncode, left.stderr) == (0, "")
    assert left.stdout == "tools closed\n"
