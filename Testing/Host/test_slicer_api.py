"""docs/slicer-api.md names every name of Slicer's API that the module uses, and no other."""

from __future__ import annotations

import functools

import pytest

from .api_names import names_in_python, own_names, table, used_names

used = functools.cache(used_names)
TABLE = table()


def test_table_has_every_name_that_the_module_uses():
    missing = sorted(used() - set(TABLE))
    assert not missing, f"docs/slicer-api.md lacks {missing}"


def test_module_uses_every_name_of_the_table():
    unused = sorted(set(TABLE) - used())
    assert not unused, f"docs/slicer-api.md names what is not used: {unused}"


def test_every_name_has_a_source_file():
    assert [name for name, source in TABLE.items() if not any(mark in source for mark in ("/", "<"))] == []


def test_names_are_found_in_code(tmp_path):
    path = tmp_path / "code.py"
    path.write_text(
        "import qt, slicer, numpy as np\n"
        "from slicer.i18n import tr as _\n"
        "class OurThing: pass\n"
        "def act(self, node, ui):\n"
        "    timer = qt.QTimer(); timer.connect('timeout()', self.act)\n"
        "    slicer.util.errorDisplay(_('x')); slicer.app.layoutManager().sliceWidget('Red')\n"
        "    node.GetDisplayNode().SetVisibility(True); ui.applyButton.enabled = np.NDArray\n"
        "    slicer.mrmlScene.AddNewNodeByClass('vtkMRMLModelNode'); OurThing().snake_case()\n",
        encoding="utf-8",
    )
    assert set(names_in_python(path, own_names() | {"OurThing"})) == {
        "slicer.i18n.tr",
        "qt.QTimer",
        "signal timeout()",
        "slicer.util.errorDisplay",
        "slicer.app.layoutManager",
        ".sliceWidget",
        ".GetDisplayNode",
        ".SetVisibility",
        ".enabled",
        "slicer.mrmlScene",
        ".AddNewNodeByClass",
        "slicer.vtkMRMLModelNode",
    }


@pytest.mark.slicer
@pytest.mark.parametrize("name", sorted(name for name in TABLE if name.startswith(("slicer.vtk", "vtk."))))
def test_class_of_the_scene_exists_in_the_wheel(name):
    slicer = pytest.importorskip("slicer", reason="the slicer-core wheel is not installed")
    import vtk
    from vtkmodules.util import numpy_support

    places = {"slicer": slicer, "vtk": vtk}
    root, *rest = name.split(".")
    if rest[:2] == ["util", "numpy_support"]:
        places["vtk"], rest = numpy_support, rest[2:]
    found = places[root]
    for part in rest:
        found = getattr(found, part)


@pytest.mark.slicer
def test_methods_of_the_scene_exist_in_the_class_that_the_table_names():
    slicer = pytest.importorskip("slicer", reason="the slicer-core wheel is not installed")
    import vtk

    wrong = []
    for name, source in TABLE.items():
        class_name = source.partition(":")[0]
        if name.startswith(".") and class_name.startswith("vtk"):
            kind = getattr(slicer, class_name, None) or getattr(vtk, class_name)
            if not hasattr(kind, name[1:]):
                wrong.append(f"{class_name}{name}")
    assert not wrong, wrong


@pytest.mark.slicer
def test_widgets_of_the_table_are_those_that_the_host_stands_in_for(drawn):
    from .host import SlicerHost

    with SlicerHost():
        import ctk
        import slicer

        for name in TABLE:
            root, *rest = name.split(".")
            if root == "ctk" or (root == "slicer" and rest[0].startswith("qMRML")):
                kind = getattr(ctk if root == "ctk" else slicer, rest[0])
                assert f"{rest[0]}.h" in (kind.__doc__ or ""), f"{name}: no header is named"
                if len(rest) > 1:
                    assert kind().metaObject().indexOfProperty(rest[1]) >= 0, name
