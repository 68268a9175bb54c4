"""Stand-in of qSlicerModuleSelectorToolBar (Base/QTGUI of Slicer/Slicer): which module is open."""

from __future__ import annotations

from typing import Any

import slicer
from PySide6.QtCore import Property, Signal

from .facade import qt
from .stand_ins import stand_in


@stand_in
class qSlicerModuleSelectorToolBar(qt.QToolBar):
    """qSlicerModuleSelectorToolBar.h: one module is open at a time; the one before is left first."""

    SIGNALS = {"moduleSelected(QString)": "moduleSelected"}
    moduleSelected = Signal(str)

    def __init__(self, window: Any) -> None:
        super().__init__("Modules")
        self._window, self._selected = window, ""
        self.setObjectName("ModuleSelectorToolBar")
        self.setMovable(False)
        self._label = qt.QLabel("")
        self.addWidget(self._label)

    selectedModule = Property(str, lambda self: self._selected)

    def selectModule(self, name: str) -> None:
        """Slot: open a module; one of Slicer's own has no panel here, and an unknown one is an error."""
        if name == self._selected:
            return
        module = slicer.app.moduleManager().module(name)
        if module is None:
            raise RuntimeError(f"SlicerHost has no module {name!r}")
        before = slicer.app.moduleManager().module(self._selected) if self._selected else None
        if hasattr(before, "widgetRepresentation"):
            before.widgetRepresentation().exit()
        self._selected = name
        self._label.text = name
        representation = module.widgetRepresentation() if hasattr(module, "widgetRepresentation") else None
        self._window._show_module(representation)
        if representation is not None:
            representation.enter()
        self.moduleSelected(name)
