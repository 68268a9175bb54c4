"""Names of anatomy and findings from the terminologies that Slicer has loaded."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import slicer
import vtk


def known_terms() -> dict[str, str]:
    """Slicer's serialized terminology entries by name, such as "Liver" or "Left kidney".

    Of a name in several lists the first one counts, which is that of Slicer's general anatomy. Empty where Slicer's
    Terminologies module is not loaded.
    """
    module = getattr(slicer.modules, "terminologies", None)
    if module is None:
        return {}
    logic = module.logic()
    found: dict[str, str] = {}
    for context in _contexts(logic):
        for category in _categories(logic, context):
            for kind in _kinds(logic, context, category):
                found.setdefault(kind.GetCodeMeaning(), _entry(context, category, kind, None))
                for modifier in _modifiers(logic, context, category, kind):
                    name = f"{modifier.GetCodeMeaning()} {kind.GetCodeMeaning().lower()}"
                    found.setdefault(name, _entry(context, category, kind, modifier))
    return found


def _contexts(logic: Any) -> Iterator[str]:
    names = vtk.vtkStringArray()
    logic.GetLoadedTerminologyNames(names)
    for number in range(names.GetNumberOfValues()):
        yield str(names.GetValue(number))


def _categories(logic: Any, context: str) -> Iterator[Any]:
    for number in range(logic.GetNumberOfCategoriesInTerminology(context)):
        category = slicer.vtkSlicerTerminologyCategory()
        if logic.GetNthCategoryInTerminology(context, number, category):
            yield category


def _kinds(logic: Any, context: str, category: Any) -> Iterator[Any]:
    for number in range(logic.GetNumberOfTypesInTerminologyCategory(context, category)):
        kind = slicer.vtkSlicerTerminologyType()
        if logic.GetNthTypeInTerminologyCategory(context, category, number, kind):
            yield kind


def _modifiers(logic: Any, context: str, category: Any, kind: Any) -> Iterator[Any]:
    count = (
        logic.GetNumberOfTypeModifiersInTerminologyType(context, category, kind)
        if kind.GetHasModifiers()
        else 0
    )
    for number in range(count):
        modifier = slicer.vtkSlicerTerminologyType()
        if logic.GetNthTypeModifierInTerminologyType(context, category, kind, number, modifier):
            yield modifier


def _entry(context: str, category: Any, kind: Any, modifier: Any | None) -> str:
    codes = [
        part
        for each in (category, kind)
        for part in (each.GetCodeValue(), each.GetCodingSchemeDesignator(), each.GetCodeMeaning())
    ]
    if modifier is None:
        codes += ["", "", ""]
    else:
        codes += [modifier.GetCodeValue(), modifier.GetCodingSchemeDesignator(), modifier.GetCodeMeaning()]
    no_region = [""] * 7
    return str(
        slicer.vtkSlicerTerminologiesModuleLogic.SerializeTerminologyEntry(context, *codes, *no_region)
    )
