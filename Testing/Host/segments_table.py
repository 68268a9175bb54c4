"""Stand-in of qMRMLSegmentsTableView (Modules/Loadable/Segmentations/Widgets of Slicer/Slicer)."""

from __future__ import annotations

from typing import Any

import slicer
from PySide6 import QtCore, QtGui, QtWidgets
from PySide6.QtCore import Property, Signal

from .qmrml_widgets import qMRMLWidget
from .stand_ins import Watched, stand_in, stored

_VISIBLE, _COLOR, _OPACITY, _NAME, _STATUS, _LAYER = range(6)
_FLAG = QtCore.Qt.ItemFlag
_ID_ROLE = int(QtCore.Qt.ItemDataRole.UserRole) + 1


@stand_in
class qMRMLSegmentsTableView(qMRMLWidget):
    """qMRMLSegmentsTableView.h: segments with eye, color, opacity and name, which can be changed in place."""

    SIGNALS = {
        "selectionChanged(QItemSelection,QItemSelection)": "selectionChanged",
        "segmentAboutToBeModified(QString)": "segmentAboutToBeModified",
    }
    selectionChanged = Signal(QtCore.QItemSelection, QtCore.QItemSelection)
    segmentAboutToBeModified = Signal(str)

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._node: Any = None
        self._watched = Watched(self)
        self._filling = False
        self._table = QtWidgets.QTableWidget(0, 6)
        self._table.setSelectionBehavior(QtWidgets.QAbstractItemView.SelectionBehavior.SelectRows)
        self._table.setSelectionMode(QtWidgets.QAbstractItemView.SelectionMode.ExtendedSelection)
        self._table.setHorizontalHeaderLabels(["👁", "Color", "Opacity", "Name", "Status", "Layer"])
        self._table.verticalHeader().setVisible(False)
        self._table.verticalHeader().setDefaultSectionSize(24)
        self._table.setShowGrid(False)
        self._table.setIconSize(QtCore.QSize(16, 16))
        header = self._table.horizontalHeader()
        header.setSectionResizeMode(QtWidgets.QHeaderView.ResizeMode.ResizeToContents)
        header.setSectionResizeMode(_NAME, QtWidgets.QHeaderView.ResizeMode.Stretch)
        layout = QtWidgets.QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._table)
        self._table.itemChanged.connect(self._edited)
        self._table.cellClicked.connect(self._clicked)
        self._table.cellDoubleClicked.connect(self._double_clicked)
        self._table.selectionModel().selectionChanged.connect(self._selected)
        self._show_columns()

    headerVisible = stored(bool, "headerVisible", True, lambda self: self._show_columns())
    visibilityColumnVisible = stored(bool, "visibilityColumnVisible", True, lambda self: self._show_columns())
    colorColumnVisible = stored(bool, "colorColumnVisible", True, lambda self: self._show_columns())
    opacityColumnVisible = stored(bool, "opacityColumnVisible", True, lambda self: self._show_columns())
    statusColumnVisible = stored(bool, "statusColumnVisible", True, lambda self: self._show_columns())
    layerColumnVisible = stored(bool, "layerColumnVisible", False, lambda self: self._show_columns())
    readOnly = stored(bool, "readOnly", False, lambda self: self._fill())
    filterBarVisible = stored(bool, "filterBarVisible", False)
    jumpToSelectedSegmentEnabled = stored(bool, "jumpToSelectedSegmentEnabled", False)
    segmentCount = Property(int, lambda self: self._table.rowCount())
    selectionMode = Property(
        int,
        lambda self: int(self._table.selectionMode().value),
        lambda self, mode: self._table.setSelectionMode(QtWidgets.QAbstractItemView.SelectionMode(mode)),
    )

    def segmentationNode(self) -> Any:
        """Q_INVOKABLE."""
        return self._node

    def setSegmentationNode(self, node: Any) -> None:
        """Slot."""
        if node is self._node:
            return
        self._watched.forget()
        self._node = node
        if node is not None:
            kind = slicer.vtkSegmentation
            events = (
                kind.SegmentAdded,
                kind.SegmentRemoved,
                kind.SegmentModified,
                kind.SegmentsOrderModified,
            )
            for event in (*events, slicer.vtkMRMLDisplayableNode.DisplayModifiedEvent):
                self._watched.add(node, event, lambda *_: self._fill())
        self._fill()

    def selectedSegmentIDs(self) -> tuple[str, ...]:
        """Q_INVOKABLE."""
        rows = sorted({index.row() for index in self._table.selectionModel().selectedRows(_NAME)})
        return tuple(self.segmentIDForRow(row) for row in rows)

    def setSelectedSegmentIDs(self, segment_ids: Any) -> None:
        """Q_INVOKABLE."""
        if tuple(segment_ids) == self.selectedSegmentIDs():
            return
        model, flag = self._table.selectionModel(), QtCore.QItemSelectionModel.SelectionFlag
        chosen = QtCore.QItemSelection()
        for segment_id in segment_ids:
            row = self.rowForSegmentID(segment_id)
            if row >= 0:
                index = self._table.model().index(row, _NAME)
                chosen.select(index, index)
        model.select(chosen, flag.ClearAndSelect | flag.Rows)

    def clearSelection(self) -> None:
        """Q_INVOKABLE."""
        self._table.clearSelection()

    def rowForSegmentID(self, segment_id: str) -> int:
        """Q_INVOKABLE: -1 where it is not there."""
        rows = range(self._table.rowCount())
        return next((row for row in rows if self.segmentIDForRow(row) == segment_id), -1)

    def segmentIDForRow(self, row: int) -> str:
        """Q_INVOKABLE."""
        return str(self._table.item(row, _NAME).data(_ID_ROLE))

    def _show_columns(self) -> None:
        shown = {
            _VISIBLE: self.visibilityColumnVisible,
            _COLOR: self.colorColumnVisible,
            _OPACITY: self.opacityColumnVisible,
            _STATUS: self.statusColumnVisible,
            _LAYER: self.layerColumnVisible,
        }
        for column, visible in shown.items():
            self._table.setColumnHidden(column, not visible)
        self._table.horizontalHeader().setVisible(self.headerVisible)

    def _fill(self) -> None:
        """Rows as the segmentation is now; the selection stays with its segments."""
        if self._filling:
            return
        self._filling = True
        selected = self.selectedSegmentIDs()
        node = self._node if self._node is not None and self._node.GetSegmentation() is not None else None
        ids = list(node.GetSegmentation().GetSegmentIDs()) if node is not None else []
        same = ids == [self.segmentIDForRow(row) for row in range(self._table.rowCount())]
        if not same:
            self._table.setRowCount(0)
            self._table.setRowCount(len(ids))
        for row, segment_id in enumerate(ids):
            self._fill_row(row, segment_id)
        if not same:
            self._table.blockSignals(True)
            self.setSelectedSegmentIDs([segment_id for segment_id in selected if segment_id in ids])
            self._table.blockSignals(False)
        self._filling = False

    def _fill_row(self, row: int, segment_id: str) -> None:
        segment = self._node.GetSegmentation().GetSegment(segment_id)
        display = self._node.GetDisplayNode()
        visible = display is None or display.GetSegmentVisibility(segment_id)
        opacity = 1.0 if display is None else display.GetSegmentOpacity2DFill(segment_id)
        texts = {_NAME: segment.GetName(), _OPACITY: f"{opacity:.2f}", _LAYER: str(segment.GetLabelValue())}
        for column in range(6):
            item = self._table.item(row, column)
            if item is None:
                item = QtWidgets.QTableWidgetItem()
                editable = column in (_NAME, _OPACITY) and not self.readOnly
                flags = _FLAG.ItemIsEnabled | _FLAG.ItemIsSelectable
                item.setFlags(flags | _FLAG.ItemIsEditable if editable else flags)
                self._table.setItem(row, column, item)
            item.setText(texts.get(column, ""))
        self._table.item(row, _NAME).setData(_ID_ROLE, segment_id)
        self._table.item(row, _VISIBLE).setIcon(eye_icon(bool(visible)))
        status = slicer.vtkSlicerSegmentationsModuleLogic.GetSegmentStatus(segment)
        self._table.item(row, _STATUS).setIcon(status_icon(status))
        self._table.item(row, _COLOR).setIcon(color_icon(QtGui.QColor.fromRgbF(*segment.GetColor())))

    def _selected(self, selected: Any, deselected: Any) -> None:
        if not self._table.signalsBlocked():
            self.selectionChanged(selected, deselected)

    def _edited(self, item: Any) -> None:
        """The user typed a name or an opacity."""
        if self._filling or self._node is None:
            return
        segment_id = self.segmentIDForRow(item.row())
        self.segmentAboutToBeModified(segment_id)
        if item.column() == _NAME:
            self._node.GetSegmentation().GetSegment(segment_id).SetName(item.text())
        elif item.column() == _OPACITY:
            self._node.GetDisplayNode().SetSegmentOpacity(segment_id, float(item.text()))

    def _clicked(self, row: int, column: int) -> None:
        if column == _VISIBLE and self._node.GetDisplayNode() is not None and not self.readOnly:
            segment_id = self.segmentIDForRow(row)
            self.segmentAboutToBeModified(segment_id)
            display = self._node.GetDisplayNode()
            display.SetSegmentVisibility(segment_id, not display.GetSegmentVisibility(segment_id))

        elif column == _STATUS and not self.readOnly:  # as qMRMLSegmentsTableViewPrivate::setupStatusButton
            logic = slicer.vtkSlicerSegmentationsModuleLogic
            segment = self._node.GetSegmentation().GetSegment(self.segmentIDForRow(row))
            status = logic.GetSegmentStatus(segment)
            following = logic.Completed if status == logic.Flagged else (status + 1) % logic.LastStatus
            logic.SetSegmentStatus(segment, following)

    def _double_clicked(self, row: int, column: int) -> None:
        """In Slicer the terminology selector opens; here Qt's color dialog."""
        if column != _COLOR or self.readOnly:
            return
        segment = self._node.GetSegmentation().GetSegment(self.segmentIDForRow(row))
        color = QtWidgets.QColorDialog.getColor(QtGui.QColor.fromRgbF(*segment.GetColor()), self)
        if color.isValid():
            self.segmentAboutToBeModified(self.segmentIDForRow(row))
            segment.SetColor(color.redF(), color.greenF(), color.blueF())


def color_icon(color: QtGui.QColor) -> QtGui.QIcon:
    """A filled square."""
    pixmap = QtGui.QPixmap(16, 16)
    pixmap.fill(color)
    icon = QtGui.QIcon(pixmap)
    icon.addPixmap(pixmap, QtGui.QIcon.Mode.Selected)  # not tinted in the selected row
    return icon


def status_icon(status: int) -> QtGui.QIcon:
    """A ring (not started), half a disk (in progress), a disk (completed), a red disk (flagged)."""
    logic = slicer.vtkSlicerSegmentationsModuleLogic
    pixmap = QtGui.QPixmap(16, 16)
    pixmap.fill(QtCore.Qt.GlobalColor.transparent)
    painter = QtGui.QPainter(pixmap)
    painter.setRenderHint(QtGui.QPainter.RenderHint.Antialiasing)
    color = QtGui.QColor(
        {logic.InProgress: "#e69f00", logic.Completed: "#1a9c5b", logic.Flagged: "#d64545"}.get(
            status, "#8a9299"
        )
    )
    painter.setPen(QtGui.QPen(color, 1.6))
    ring = QtCore.QRectF(3, 3, 10, 10)
    painter.drawEllipse(ring)
    painter.setBrush(color)
    if status == logic.InProgress:
        painter.drawPie(ring, 90 * 16, -180 * 16)
    elif status != logic.NotStarted:
        painter.drawEllipse(ring)
    painter.end()
    icon = QtGui.QIcon(pixmap)
    icon.addPixmap(pixmap, QtGui.QIcon.Mode.Selected)
    return icon


def eye_icon(visible: bool) -> QtGui.QIcon:
    """An open or a closed eye."""
    pixmap = QtGui.QPixmap(16, 16)
    pixmap.fill(QtCore.Qt.GlobalColor.transparent)
    painter = QtGui.QPainter(pixmap)
    painter.setRenderHint(QtGui.QPainter.RenderHint.Antialiasing)
    color = QtWidgets.QApplication.palette().color(QtGui.QPalette.ColorRole.Text)
    painter.setPen(QtGui.QPen(color, 1.4))
    lid = QtGui.QPainterPath(QtCore.QPointF(1, 8))
    lid.quadTo(QtCore.QPointF(8, 15 if not visible else 1), QtCore.QPointF(15, 8))
    if visible:
        lid.quadTo(QtCore.QPointF(8, 15), QtCore.QPointF(1, 8))
    painter.drawPath(lid)
    if visible:
        painter.setBrush(color)
        painter.drawEllipse(QtCore.QPointF(8, 8), 2.2, 2.2)
    painter.end()
    return QtGui.QIcon(pixmap)
