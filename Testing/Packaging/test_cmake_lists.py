"""What the extension build copies is what there is. Read as text: a real configure needs a Slicer build tree."""

from __future__ import annotations

from collections import Counter

import pytest

from .cmake_lists import (
    LISTS_FILE,
    MODULE_FOLDER,
    RESOURCES,
    SCRIPTS,
    expected_lists,
    imported_by,
    rewritten,
    written_lists,
)


@pytest.mark.parametrize("variable", [SCRIPTS, RESOURCES])
def test_list_holds_every_file_that_slicer_needs_and_no_other(variable):
    written = written_lists(LISTS_FILE.read_text(encoding="utf-8"))[variable]
    expected = expected_lists()[variable]
    missing, stale = sorted(set(expected) - set(written)), sorted(set(written) - set(expected))
    assert (missing, stale) == ([], []), "run `make cmake-lists` (first: not listed, second: not in the tree)"
    assert [name for name, count in Counter(written).items() if count > 1] == []


def test_lists_name_what_slicer_needs_to_show_the_module():
    lists = written_lists(LISTS_FILE.read_text(encoding="utf-8"))
    assert "MedSAMSlicer.py" in lists[SCRIPTS]
    for name in (
        "Resources/Icons/MedSAMSlicer.png",
        "Resources/UI/MedSAMSlicer.ui",
        "Resources/requirements.txt",
        "MedSAMSlicerLib/models/registry.json",
    ):
        assert name in lists[RESOURCES]


def test_what_a_listed_file_imports_is_listed():
    listed = {MODULE_FOLDER / name for name in written_lists(LISTS_FILE.read_text(encoding="utf-8"))[SCRIPTS]}
    missing = {path.name: imported_by(path) - listed for path in listed if imported_by(path) - listed}
    assert missing == {}


def test_command_line_web_page_and_laboratory_are_not_listed():
    names = written_lists(LISTS_FILE.read_text(encoding="utf-8"))[SCRIPTS]
    assert not [
        name
        for name in names
        if name.startswith(tuple(f"MedSAMSlicerLib/{part}/" for part in ("cli", "lab", "web")))
    ]
    assert "MedSAMSlicerLib/io/video.py" not in names, "only the command line and the web page read videos"
    assert {"MedSAMSlicerLib/engine/second_reader.py", "MedSAMSlicerLib/io/dicom_seg.py"} <= {*names}


def test_every_listed_file_exists():
    for names in written_lists(LISTS_FILE.read_text(encoding="utf-8")).values():
        for name in names:
            assert (MODULE_FOLDER / name).is_file(), name


def test_rewriting_the_lists_changes_nothing_else():
    text = LISTS_FILE.read_text(encoding="utf-8")
    lists = {SCRIPTS: ["a.py", "b/c.py"], RESOURCES: ["d.txt"]}
    changed = rewritten(text, lists)
    assert written_lists(changed) == lists
    assert rewritten(changed, written_lists(text)) == text


def test_macro_gets_both_lists_and_the_self_test_is_registered():
    text = LISTS_FILE.read_text(encoding="utf-8")
    assert f"SCRIPTS ${{{SCRIPTS}}}" in text
    assert f"RESOURCES ${{{RESOURCES}}}" in text
    assert "slicerMacroBuildScriptedModule(" in text
    assert "slicer_add_python_unittest(SCRIPT ${MODULE_NAME}.py)" in text
