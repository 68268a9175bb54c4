"""The module's own self test, as the button Test of Slicer's developer mode runs it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slicer, pytest.mark.slow]


@pytest.fixture(autouse=True)
def own_library() -> Iterator[None]:
    """A reloaded module makes every class of the library again; the tests after these go on with the old ones."""

    def loaded() -> dict[str, object]:
        return {
            name: module for name, module in sys.modules.items() if name.split(".")[0] == "MedSAMSlicerLib"
        }

    before = loaded()
    yield
    for name in loaded():
        del sys.modules[name]
    sys.modules.update(before)  # type: ignore[arg-type]


def test_self_test_passes(drawn: None) -> None:
    import slicer

    from .host import SlicerHost

    with SlicerHost() as host:
        host.open_module()
        slicer.selfTests["MedSAMSlicer"](msec=0)
        slicer.util.selectModule("Data")
        assert slicer.util.selectedModule() == "Data"
        slicer.util.selectModule("MedSAMSlicer")
        assert host.window.moduleSelector().selectedModule == "MedSAMSlicer"
        with pytest.raises(RuntimeError, match="no module 'Nowhere'"):
            slicer.util.selectModule("Nowhere")


def test_module_loads_and_reloads_with_slicers_own_base_classes(drawn: None) -> None:
    """Their files are not part of this repository: a clone of Slicer has them."""
    source = os.environ.get("MEDSAMSLICER_SLICER_SOURCE")
    folder = Path(source or "") / "Base" / "Python" / "slicer"
    if not (source and (folder / "ScriptedLoadableModule.py").is_file()):
        pytest.skip("set MEDSAMSLICER_SLICER_SOURCE to a clone of Slicer")
    import slicer

    from .host import SlicerHost

    with SlicerHost(python_folder=folder) as host:
        widget = host.open_module()
        base = sys.modules["slicer.ScriptedLoadableModule"].ScriptedLoadableModuleWidget
        assert isinstance(widget, base)
        assert Path(sys.modules[base.__module__].__file__).parent == folder
        assert widget.ui.messageLabel.text.startswith("Load a CT or MR volume")
        widget.onReload()
        host.process_events(0.1)
        again = slicer.modules.MedSAMSlicerWidget
        assert again is not widget
        assert again.panel._strips._strips  # entered by itself
        assert again.ui.messageLabel.text.startswith("Load a CT or MR volume")
