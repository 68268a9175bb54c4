"""Write docs/slicer-api.md: where each name that the module uses is defined.

    python -m Testing.Host.api_sources SLICER CTK

with git clones of Slicer/Slicer and commontk/CTK. Methods of the scene are looked up in the classes of the slicer-core
wheel, Qt's in those of PySide6, the others in the headers of the clones; a name that is not found is reported, and gets
no row.
"""

from __future__ import annotations

import functools
import re
import subprocess
import sys
from pathlib import Path

import slicer
import vtk
from PySide6 import QtCore, QtGui, QtWidgets

from .api_names import TABLE, used_names

_LOADABLE = "Slicer, Base/Python/slicer/ScriptedLoadableModule.py"
_TORCH = "SlicerPyTorch, PyTorchUtils/PyTorchUtils.py"
_WRAPPER = "Slicer, Base/Python/slicer/parameterNodeWrapper/wrapper.py"
_SAMPLES = "Slicer, Modules/Scripted/SampleData/SampleData.py"
_EFFECTS = (
    "Slicer, Modules/Loadable/Segmentations/EditorEffects/Python/SegmentEditorEffects/"
    "AbstractScriptedSegmentEditorEffect.py"
)
_EFFECT_HEADER = "Slicer, Modules/Loadable/Segmentations/EditorEffects/qSlicerSegmentEditorAbstractEffect.h"
_PYTHONQT = "PythonQt, src/PythonQtStdDecorators.h"
_NUMPY_SUPPORT = "VTK, Wrapping/Python/vtkmodules/util/numpy_support.py"
# Python files, and names that several classes have, of which the module means this one.
_KNOWN = {
    "PyTorchUtils": _TORCH,
    ".PyTorchUtilsLogic": _TORCH,
    ".installTorch": _TORCH,
    ".parameterNode": _WRAPPER,
    "slicer.parameterNodeWrapper.parameterNodeWrapper": _WRAPPER,
    "SampleData": _SAMPLES,
    ".SampleDataLogic": _SAMPLES,
    ".registerCustomSampleDataSource": _SAMPLES,
    ".className": "PythonQt, src/PythonQtInstanceWrapper.cpp",
    ".scriptedEffect": _EFFECTS,
    ".scalarSelector": "Slicer, Modules/Scripted/SegmentStatistics/SegmentStatistics.py",
    "slicer.qSlicerSegmentEditorAbstractEffect": _EFFECT_HEADER,
    ".saveStateForUndo": f"qSlicerSegmentEditorAbstractEffect: {_EFFECT_HEADER}",
    ".setPythonSource": f"qSlicerSegmentEditorScriptedEffect: {_EFFECT_HEADER.replace('Abstract', 'Scripted')}",
    ".delayDisplay": _LOADABLE,
    ".resourcePath": _LOADABLE,
    ".onReload": _LOADABLE,
    ".connect": _PYTHONQT,
    ".disconnect": _PYTHONQT,
    "slicer.app.connect": _PYTHONQT,
    "slicer.app.disconnect": _PYTHONQT,
    "slicer.app.processEvents": "QCoreApplication: Qt, <QtCore/QCoreApplication>",
    "slicer.mrmlScene": "Slicer, Base/Python/slicerqt.py",
    "slicer.modules": "Slicer, Base/Python/slicerqt.py",
    "vtk.reference": "VTK, Wrapping/PythonCore/PyVTKReference.cxx",
    "vtk.calldata_type": "VTK, Wrapping/Python/vtkmodules/util/misc.py",
    "vtk.util.numpy_support": _NUMPY_SUPPORT,
    ".fileForInstance": "ctkDICOMDatabase: CTK, Libs/DICOM/Core/ctkDICOMDatabase.h",
    ".isOpen": "ctkDICOMDatabase: CTK, Libs/DICOM/Core/ctkDICOMDatabase.h",
}
_MEANT = {
    ".objectName": "QObject", ".setIcon": "QAbstractButton", ".setParent": "QObject", ".setVisible": "QWidget",
    ".GetExtent": "vtkImageData", ".SetExtent": "vtkImageData", ".GetScalarType": "vtkImageData",
    ".GetNumberOfScalarComponents": "vtkImageData", ".GetDimensions": "vtkImageData", ".GetMTime": "vtkObject",
    ".setFont": "QPainter", ".Modified": "vtkObject", ".DeepCopy": "vtkOrientedImageData", ".EndModify": "vtkMRMLNode",
    ".autoRepeat": "QShortcut", ".RemoveSegment": "vtkSegmentation", ".setText": "QLabel", ".setValue": "QProgressBar",
    ".GetScalarRange": "vtkImageData", ".setMenu": "QPushButton", ".addAction": "QMenu",
}  # fmt: skip
_PREFERRED = """vtkMRMLSegmentationNode vtkSegmentation vtkSegment vtkMRMLMarkupsNode vtkMRMLMarkupsROINode
vtkMRMLMarkupsDisplayNode vtkMRMLSegmentationDisplayNode vtkMRMLScalarVolumeNode vtkMRMLScalarVolumeDisplayNode
vtkMRMLVolumeNode vtkMRMLSliceNode vtkMRMLAbstractViewNode vtkMRMLSliceCompositeNode vtkMRMLCrosshairNode
vtkMRMLInteractionNode vtkMRMLSelectionNode vtkMRMLScriptedModuleNode vtkMRMLTransformNode vtkMRMLTransformableNode
vtkMRMLSegmentEditorNode vtkMRMLDisplayableNode vtkMRMLDisplayNode vtkMRMLStorageNode vtkMRMLStorableNode vtkMRMLNode
vtkMRMLScene vtkSlicerSegmentationsModuleLogic vtkOrientedImageData vtkSlicerMarkupsLogic vtkMRMLSliceLogic
vtkMRMLApplicationLogic vtkMatrix4x4 vtkImageData vtkDataSet vtkDataSetAttributes vtkDataArray vtkAbstractArray
vtkObject vtkObjectBase""".split()  # noqa: SIM905
_WIDGETS = """qMRMLSegmentsTableView qMRMLSegmentEditorWidget qMRMLNodeComboBox qMRMLSliceWidget
qMRMLSegmentationShow3DButton
qMRMLSliceControllerWidget qMRMLSliceView qMRMLThreeDWidget qMRMLLayoutManager qMRMLWidget qSlicerScriptedLoadableModule
qSlicerSegmentEditorAbstractEffect qSlicerAbstractModuleWidget qSlicerApplication qSlicerCoreApplication
qSlicerModuleManager ctkRangeWidget
ctkCollapsibleButton ctkCollapsibleGroupBox ctkSliderWidget ctkPathLineEdit""".split()  # noqa: SIM905
_QT = """QWidget QPaintDevice QCompleter
QAbstractButton QPushButton QLabel QComboBox QTimer QLayout QBoxLayout QFormLayout
QTreeWidget QFontMetrics QFont
QTreeView QTreeWidgetItem QProgressBar QDialog QPainter QPixmap QShortcut QSettings QObject QGroupBox
QScrollArea QAbstractSpinBox QDoubleSpinBox QCheckBox QColor QEvent QMouseEvent QKeyEvent QIcon QImage QSize QToolButton
QHeaderView QAbstractItemView QLineEdit QFileDialog QMessageBox QApplication QGuiApplication
QCoreApplication QKeySequence QStatusBar QMainWindow QFrame QDialogButtonBox QTextEdit
QMenu QAction QStackedWidget""".split()  # noqa: SIM905
_GROUPS = {
    "Python in Slicer": ("slicer.", "PyTorchUtils", "SampleData"),
    "The scene: classes, constants and events": ("slicer.vtk", "vtk."),
    "The scene: methods, constants and events of its objects": (".",),
    "Qt": ("qt.",),
    "Widgets of CTK and qMRML with their properties": ("ctk.", "slicer.q"),
    "Signals": ("signal ",),
    "Methods and properties of widgets": (".",),
}
_INTRODUCTION = (
    TABLE.read_text(encoding="utf-8").partition("\n## ")[0] if TABLE.is_file() else "# Slicer's API\n"
)


class Sources:
    """The clones, and what is found in them."""

    def __init__(self, slicer_clone: Path, ctk_clone: Path) -> None:
        self._clones = {"Slicer": slicer_clone, "CTK": ctk_clone}
        self._headers = {}
        for project, clone in self._clones.items():
            for path in self._git(clone, "ls-tree", "-r", "--name-only", "HEAD").splitlines():
                if path.endswith(".h"):
                    self._headers.setdefault(Path(path).stem, (project, path))

    @staticmethod
    def _git(clone: Path, *words: str) -> str:
        return subprocess.run(
            ["git", "-C", str(clone), *words], check=True, capture_output=True, text=True
        ).stdout

    @functools.cache  # noqa: B019
    def text(self, class_name: str) -> str:
        """The header of a class of Slicer or CTK."""
        project, path = self._headers[class_name]
        return self._git(self._clones[project], "show", f"HEAD:{path}")

    def file_of(self, kind: type) -> str:
        """Where a class of the wheel is declared."""
        if kind.__name__ in self._headers:
            return "{}: {}, {}".format(kind.__name__, *self._headers[kind.__name__])
        match = re.match(
            r"vtk(Common|Filters|Rendering|Imaging|IO|Interaction)(\w+)", kind.__module__.split(".")[-1]
        )
        folder = f"{match[1]}/{match[2]}" if match else kind.__module__
        return f"{kind.__name__}: VTK, {folder}/{kind.__name__}.h"

    def header(self, class_name: str) -> str:
        """Where a class of Slicer or CTK is declared."""
        return "{}: {}, {}".format(class_name, *self._headers[class_name])

    def of_scene(self, member: str) -> str | None:
        """The class of the wheel that declares a method, the usual ones first."""
        every = [*_PREFERRED, *dir(slicer), *dir(vtk)]
        for class_name in every:
            kind = getattr(slicer, class_name, None) or getattr(vtk, class_name, None)
            if isinstance(kind, type) and member in vars(kind):
                return self.file_of(kind)
        return None

    def of_widget(self, member: str) -> str | None:
        """The header of qMRML, ctk or Qt that declares a method or property of a widget."""
        for class_name in _WIDGETS:
            declared = rf"Q_PROPERTY\([^)]*\b{member}\b|^ +(?!///)[\w:*&<> ]*\b{member}\("
            if re.search(declared, self.text(class_name), re.MULTILINE):
                return self.header(class_name)
        return of_qt(member)

    def of_signal(self, signature: str) -> str | None:
        """The class that declares a signal; Slicer's and CTK's have their own argument types or names."""
        for class_name in _QT:
            meta = getattr(_qt_class(class_name), "staticMetaObject", None)
            if meta is not None and meta.indexOfSignal(signature) >= meta.methodOffset():
                return qt_header(class_name)
        name = signature.partition("(")[0]
        for class_name in _WIDGETS:
            signals = re.split(r"\bsignals:|Q_SIGNALS:", self.text(class_name))[-1]
            if re.search(rf"void {name}\(", signals):
                return self.header(class_name)
        return None

    def locate(self, name: str) -> str | None:
        """Class and file of one name; None where it is not found."""
        if name in _KNOWN:
            return _KNOWN[name]
        if name in _MEANT:
            kind = _MEANT[name]
            return (
                qt_header(kind)
                if kind.startswith("Q")
                else self.file_of(getattr(slicer, kind, None) or getattr(vtk, kind))
            )
        if name.startswith("signal "):
            return self.of_signal(name.removeprefix("signal "))
        if name.startswith("."):
            return self.of_scene(name[1:]) if name[1].isupper() else self.of_widget(name[1:])
        root, *rest = name.split(".")
        if root == "qt":
            return "Qt, <QtCore/Qt>" if rest[0] == "Qt" else qt_header(rest[0])
        if root == "ctk" or rest[0].startswith("qMRML"):
            own = len(rest) == 1 or re.search(rf"Q_PROPERTY\([^)]*\b{rest[1]} READ", self.text(rest[0]))
            return self.header(rest[0]) if own else of_qt(rest[1])
        return self._of_python(root, rest)

    def _of_python(self, root: str, rest: list[str]) -> str | None:
        kind = getattr(slicer, rest[0], None) or getattr(vtk, rest[0], None)
        if rest[0].startswith("VTK_"):
            return "VTK, Common/Core/vtkType.h"
        if rest[:2] == ["util", "numpy_support"]:
            return _NUMPY_SUPPORT
        if isinstance(kind, type):
            owners = [base for base in kind.__mro__ if len(rest) == 1 or rest[1] in vars(base)]
            return self.file_of(owners[0]) if owners else None
        if rest[0] == "app":
            found = [
                c
                for c in ("qSlicerApplication", "qSlicerCoreApplication")
                if re.search(rf"\b{rest[1]}\(", self.text(c))
            ]
            return self.header(found[0]) if found else of_qt(rest[1])
        if rest[0] == "modules":
            return "Slicer, Base/QTGUI/qSlicerScriptedLoadableModuleWidget.cxx"
        return f"Slicer, Base/Python/slicer/{rest[0]}.py" if root == "slicer" else None


def _qt_class(name: str) -> type | None:
    return next(
        (getattr(module, name) for module in (QtCore, QtGui, QtWidgets) if hasattr(module, name)), None
    )


def qt_header(class_name: str) -> str | None:
    """Qt's name for the header of a class."""
    kind = _qt_class(class_name)
    return None if kind is None else f"{class_name}: Qt, <{kind.__module__.split('.')[1]}/{class_name}>"


def of_qt(member: str) -> str | None:
    """The class of Qt that declares a method or property."""
    setter = f"set{member[0].upper()}{member[1:]}"
    for class_name in _QT:
        if {member, setter} & set(vars(_qt_class(class_name))):
            return qt_header(class_name)
    return None


def group_of(name: str) -> str:
    """The heading that a name stands under: of the fitting beginnings, the longest."""
    if name.startswith("."):
        capital = name[1].isupper()
        return list(_GROUPS)[2 if capital else 6]
    fitting = {
        begin: title for title, begins in _GROUPS.items() for begin in begins if name.startswith(begin)
    }
    return fitting[max(fitting, key=len)]


def main(arguments: list[str]) -> int:
    """Write the table; print what was not found."""
    sources = Sources(Path(arguments[0]), Path(arguments[1]))
    rows: dict[str, list[str]] = {title: [] for title in _GROUPS}
    unknown = []
    for name in sorted(used_names(), key=lambda text: (text.lower(), text)):
        source = sources.locate(name)
        if source is None:
            unknown.append(name)
        else:
            rows[group_of(name)].append(f"| `{name}` | {source} |")
    text = _INTRODUCTION.rstrip() + "\n"
    for title, lines in rows.items():
        text += f"\n## {title}\n\n| name | where it is defined |\n|---|---|\n" + "\n".join(lines) + "\n"
    TABLE.write_text(text, encoding="utf-8")
    for name in unknown:
        sys.stderr.write(f"not found: {name}\n")
    return int(bool(unknown))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
