"""A host for a test, closed after it; skipped with the reason where nothing can be drawn."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from .drawing import why_not

SPACING = np.diag([1.5, 1.5, 3.0, 1.0])
DEMO_MODULE = """
import ctk
import qt
import slicer
from slicer.ScriptedLoadableModule import *

class Demo(ScriptedLoadableModule):
    def __init__(self, parent):
        super().__init__(parent)
        parent.title = "Demo"

class DemoWidget(ScriptedLoadableModuleWidget):
    def setup(self):
        super().setup()
        self.log = ["setup"]
        self.button = qt.QPushButton("Apply")
        self.layout.addWidget(self.button)
        self.shortcut = qt.QShortcut(qt.QKeySequence("Ctrl+Z"), slicer.util.mainWindow())
        self.shortcut.connect("activated()", lambda: self.log.append("undo"))
    def enter(self):
        self.log.append("enter")
    def exit(self):
        self.log.append("exit")
    def cleanup(self):
        self.log.append("cleanup")
        self.shortcut.setParent(None)
"""


@pytest.fixture(scope="session")
def drawn() -> None:
    """Skip where nothing can be drawn."""
    reason = why_not()
    if reason is not None:
        pytest.skip(reason)


@pytest.fixture
def host(drawn: None) -> Iterator[Any]:
    """An open SlicerHost."""
    from .host import SlicerHost

    with SlicerHost(size=(1000, 720)) as opened:
        yield opened


@pytest.fixture
def demo_module(tmp_path: Path) -> Path:
    """The file of a small scripted module."""
    path = tmp_path / "Demo.py"
    path.write_text(DEMO_MODULE, encoding="utf-8")
    return path


@pytest.fixture
def ball() -> tuple[np.ndarray, np.ndarray]:
    """A bright ball of 24 mm around (0, 0, 0) in air: (K, J, I) int16 and its matrix (4, 4)."""
    matrix = SPACING.copy()
    matrix[:3, 3] = -SPACING[:3, :3] @ np.array([31.5, 31.5, 15.5])
    k, j, i = np.mgrid[:32, :64, :64]
    places = np.stack([i, j, k], axis=-1) @ matrix[:3, :3].T + matrix[:3, 3]
    array = np.where((places**2).sum(axis=-1) < 24**2, 200, -800).astype(np.int16)
    return array, matrix
