"""One markups node as prompts and prompts as one markups node: fiducials, a ROI for a box, a line for RECIST.

Control points are in the volume's own RAS, so that they follow its transform. What a place alone does not say is
kept in attributes of the node and in the descriptions of control points, which a saved scene brings back.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from slicer.i18n import tr as _

from ..app.ports import Tool
from ..core.errors import PromptError
from ..core.geometry import FloatArray, SliceAxis, VolumeGeometry
from ..core.prompts import (
    Box,
    DrawnPrompt,
    Point,
    Prompt,
    RecistLine,
    SliceRef,
    box_from_ras,
    in_slice,
    no_kind,
    validate,
)
from .data_tree import place_among_prompts
from .nodes import matrix_array, vtk_matrix
from .refusals import AcrossSlicesError

VOLUME_ROLE = "MedSAMSlicer.Volume"
KIND, OBJECT, SEGMENT = "MedSAMSlicer.Kind", "MedSAMSlicer.Object", "MedSAMSlicer.Segment"
SLICE, RANGE = "MedSAMSlicer.Slice", "MedSAMSlicer.Range"
HIDDEN = "MedSAMSlicer.Resting"

_REMOVED = "removed"
_GREEN, _RED = (0.2, 0.9, 0.3), (1.0, 0.25, 0.2)
_ONE_SLICE = 1.5  # a ROI less deep than this many slices is a box on one
_SAME_MM = 1e-4
_TOO_STEEP = np.sqrt(0.5)  # sine of 45 degrees between a line and the slices


class Kind(enum.Enum):
    """The meaning of a markups node of ours; the value is its attribute."""

    POSITIVE = "positive"
    NEGATIVE = "negative"
    BOX = "box"
    NEGATIVE_BOX = "negative box"
    LINE = "line"

    @property
    def node_class(self) -> str:
        """The MRML class."""
        if self.is_box:
            return "vtkMRMLMarkupsROINode"
        return "vtkMRMLMarkupsLineNode" if self is Kind.LINE else "vtkMRMLMarkupsFiducialNode"

    @property
    def is_box(self) -> bool:
        """Return whether a node is a ROI."""
        return self in (Kind.BOX, Kind.NEGATIVE_BOX)

    @property
    def holds_points(self) -> bool:
        """Return whether one node holds many prompts."""
        return self in (Kind.POSITIVE, Kind.NEGATIVE)


_SIGNS = {
    Kind.POSITIVE: " +",
    Kind.NEGATIVE: " \N{MINUS SIGN}",
    Kind.BOX: " box",
    Kind.NEGATIVE_BOX: " box \N{MINUS SIGN}",
    Kind.LINE: " line",
}


def kind_of_prompt(prompt: Prompt) -> Kind | None:
    """The kind of node that shows a prompt; None for those that are no markups."""
    if isinstance(prompt, Point):
        return Kind.POSITIVE if prompt.positive else Kind.NEGATIVE
    if isinstance(prompt, Box):
        return Kind.BOX if prompt.positive else Kind.NEGATIVE_BOX
    if isinstance(prompt, RecistLine):
        return Kind.LINE
    if isinstance(prompt, DrawnPrompt):
        return None
    raise no_kind(prompt)


def kind_of_tool(tool: Tool) -> Kind:
    """The kind of markups node that takes the clicks of a tool."""
    kinds = {
        Tool.POINT_POSITIVE: Kind.POSITIVE,
        Tool.POINT_NEGATIVE: Kind.NEGATIVE,
        Tool.BOX: Kind.BOX,
        Tool.BOX_NEGATIVE: Kind.NEGATIVE_BOX,
        Tool.LINE: Kind.LINE,
    }
    return kinds[tool]


def make_node(scene: Any, kind: Kind, object_id: int, volume_node: Any) -> Any:
    """A node without prompts that belongs to an object on a volume."""
    node = scene.CreateNodeByClass(kind.node_class)
    node.UnRegister(None)  # CreateNodeByClass hands over a reference
    node.SetAttribute(KIND, kind.value)
    node.SetAttribute(OBJECT, str(object_id))
    with _active_list_kept(scene):
        node = scene.AddNode(node)
    node.SetNodeReferenceID(VOLUME_ROLE, volume_node.GetID())
    node.SetAndObserveTransformNodeID(volume_node.GetTransformNodeID())
    node.CreateDefaultDisplayNodes()
    place_among_prompts(node, volume_node)
    return node


@contextmanager
def _active_list_kept(scene: Any) -> Iterator[None]:
    """Slicer lets the next click go to every markup that is added; within, it goes where it went before."""
    selection = scene.GetNodeByID("vtkMRMLSelectionNodeSingleton")
    if selection is None:
        yield
        return
    class_name, active_id = selection.GetActivePlaceNodeClassName(), selection.GetActivePlaceNodeID()
    try:
        yield
    finally:
        selection.SetReferenceActivePlaceNodeClassName(class_name)
        selection.SetActivePlaceNodeID(active_id)


def set_appearance(node: Any, kind: Kind, name: str, color: Sequence[float], active: bool) -> None:
    """Name and look of a node: bright for the active object; of the others points are dim, boxes and lines hidden."""
    node.SetName(name + _SIGNS[kind])
    node.SetLocked(not active)
    display = node.GetDisplayNode()
    if display is None:
        return
    fixed = {Kind.POSITIVE: _GREEN, Kind.NEGATIVE: _RED, Kind.NEGATIVE_BOX: _RED}
    shown = fixed.get(kind, tuple(color))
    was_modifying = display.StartModify()
    display.SetColor(*shown)
    display.SetSelectedColor(*shown)
    display.SetOpacity(1.0 if active else 0.35)
    display.SetPointLabelsVisibility(False)
    display.SetPropertiesLabelVisibility(False)
    display.SetVisibility3D(
        False
    )  # a prompt is given on a slice; in 3-D views its handles would hide the segment
    if kind.is_box:
        display.SetFillVisibility(False)
        display.SetRotationHandleVisibility(False)
    if not kind.holds_points:
        display.SetVisibility2D(active)  # the frames of others would hide what is worked on
    display.EndModify(was_modifying)


def set_hidden(node: Any, hidden: bool) -> None:
    """Hide a node that has no effect at the moment, or show it again; what the user has hidden stays hidden."""
    if hidden and node.GetDisplayVisibility():
        node.SetAttribute(HIDDEN, "1")
        node.SetDisplayVisibility(False)
    elif not hidden and node.GetAttribute(HIDDEN):
        node.SetAttribute(HIDDEN, None)
        node.SetDisplayVisibility(True)


def mark_removed(node: Any) -> None:
    """Hide a node that is to be removed; it is none of ours any more."""
    node.SetAttribute(KIND, _REMOVED)
    node.SetDisplayVisibility(False)


def is_marked_removed(node: Any) -> bool:
    """Return whether `mark_removed` was called for a node."""
    return bool(node.GetAttribute(KIND) == _REMOVED)


def node_kind(node: Any) -> Kind | None:
    """The kind that a node's attribute says; None for markups of other modules."""
    try:
        return Kind(node.GetAttribute(KIND))
    except ValueError:
        return None


def node_object(node: Any) -> int | None:
    """The object that a node's attribute says."""
    text = node.GetAttribute(OBJECT) or ""
    return int(text) if text.isdigit() else None


# -- points


def defined_points(node: Any) -> dict[str, tuple[int, tuple[float, float, float]]]:
    """Place in the node and RAS of each control point that is set, by its identifier."""
    defined = node.PositionDefined
    return {
        node.GetNthControlPointID(n): (n, tuple(node.GetNthControlPointPosition(n)))
        for n in range(node.GetNumberOfControlPoints())
        if node.GetNthControlPointPositionStatus(n) == defined
    }


def is_too_small(node: Any, kind: Kind) -> bool:
    """Return whether both clicks of a box or line were at one place."""
    if kind.holds_points or len(defined_points(node)) < 2:
        return False
    if kind.is_box:
        return bool(node.GetControlPointPlacementComplete()) and max(node.GetSize()) < _SAME_MM
    one, other = (np.array(ras) for _number, ras in defined_points(node).values())
    return bool(np.linalg.norm(one - other) < _SAME_MM)


def describe(prompt: Prompt, position: int) -> str:
    """Return what the description of a control point says of its prompt."""
    where = prompt.slice
    return f"prompt {position}, slice {where.axis.name} {where.index}, round {prompt.round}"


def described(text: str | None) -> tuple[int, SliceRef, int] | None:
    """Position, slice and round that `describe` wrote; None for any other text."""
    found = re.fullmatch(r"prompt (\d+), slice ([KJI]) (\d+), round (\d+)", text or "")
    if found is None:
        return None
    return int(found[1]), SliceRef(SliceAxis[found[2]], int(found[3])), int(found[4])


# -- boxes


def put_box(node: Any, box: Box, geometry: VolumeGeometry, slice_range: tuple[int, int] | None) -> None:
    """Give a ROI the place and size of a box: one slice deep, or as deep as a range around its slice."""
    axis = box.slice.axis
    first, last = (box.slice.index,) * 2
    if slice_range is not None and middle_slice(slice_range) == box.slice.index:
        first, last = slice_range
    low, high = in_slice(box, geometry)
    frame, steps = _frame(geometry, axis)
    center = geometry.slice_to_ras([(low + high) / 2], (first + last) / 2, axis)[0]
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = frame, center
    size = np.array([*(high - low), last - first + 1]) * steps
    was_modifying = node.StartModify()
    node.GetObjectToNodeMatrix().DeepCopy(vtk_matrix(matrix))
    node.SetSize(*size.tolist())
    node.EndModify(was_modifying)


def turn_to_volume(node: Any, geometry: VolumeGeometry, axis: SliceAxis) -> None:
    """Lay an empty ROI along the rows and columns, so that what is drawn between two clicks is a box."""
    matrix = np.eye(4)
    matrix[:3, :3] = _frame(geometry, axis)[0]
    node.GetObjectToNodeMatrix().DeepCopy(vtk_matrix(matrix))


def read_box(
    node: Any, geometry: VolumeGeometry, axis: SliceAxis, flat: bool = False, positive: bool = True
) -> tuple[Box, tuple[int, int] | None]:
    """The box of a ROI, and the slices that it spans when it is deeper than one.

    A deep ROI is a box on its middle slice. What lies outside the volume is cut off. With `flat` the depth does
    not count: Slicer gives one to every ROI that is drawn in a slice view. Nor does that of a negative box.

    Raises:
        GeometryError, PromptError: the ROI lies outside the volume or has no size.
    """
    matrix = matrix_array(node.GetObjectToNodeMatrix())
    frame, steps = _frame(geometry, axis)
    # Along the directions in which `put_box` lays it: in a tilted volume the corners of a ROI lie askew.
    half = (np.abs(frame.T @ matrix[:3, :3]) @ node.GetSize()) / (2 * steps)
    center = matrix[:3, 3]
    middle, position = geometry.ras_to_slice([center], axis)
    xy = middle + np.stack([-half[:2], half[:2]])
    low, high = float(position[0] - half[2]), float(position[0] + half[2])
    slice_range = None
    last = geometry.slice_count(axis) - 1
    if not flat and positive and high - low > _ONE_SLICE:
        first_inside, last_inside = max(0, int(np.ceil(low - 0.01))), min(last, int(np.floor(high + 0.01)))
        if last_inside > first_inside:
            slice_range = (first_inside, last_inside)
    index = geometry.slice_index(center.tolist(), axis) if slice_range is None else middle_slice(slice_range)
    rows, columns = geometry.slice_shape(axis)
    ends = np.clip(xy, -0.5, [columns - 0.5, rows - 0.5])
    if (ends[1] - ends[0]).min() <= 0 and (half[:2] > 0).all():
        raise PromptError(_("The box lies outside the volume."))
    places = geometry.slice_to_ras(ends, index, axis)
    ends_mm = places[0].tolist(), places[1].tolist()
    return box_from_ras(geometry, SliceRef(axis, index), *ends_mm, positive=positive), slice_range


def middle_slice(slice_range: tuple[int, int]) -> int:
    """The slice in the middle of a range, the higher one of two."""
    return (slice_range[0] + slice_range[1] + 1) // 2


def _frame(geometry: VolumeGeometry, axis: SliceAxis) -> tuple[FloatArray, FloatArray]:
    """(3, 3) right-angled directions of columns, rows and normal in RAS, and mm per voxel along each."""
    across, down, through = (
        geometry.ijk_to_ras[:3, 2 - array_axis] for array_axis in (axis.column_axis, axis.row_axis, axis)
    )
    normal = np.cross(across, down)
    normal = normal / np.linalg.norm(normal)
    u = across / np.linalg.norm(across)
    v = np.cross(normal, u)
    steps = np.array([np.linalg.norm(across), down @ v, abs(through @ normal)])
    return np.stack([u, v, normal], axis=1), steps


# -- lines


def read_line(places: Sequence[Sequence[float]], geometry: VolumeGeometry, axis: SliceAxis) -> RecistLine:
    """The line between two places, laid into the slice that holds its middle.

    Raises:
        GeometryError, PromptError: outside the volume, without length, or across the slices.
    """
    ends = np.asarray(places, dtype=np.float64)
    frame, _steps = _frame(geometry, axis)
    along = ends[1] - ends[0]
    length = float(np.linalg.norm(along))
    if length > 0 and abs(along @ frame[:, 2]) > _TOO_STEEP * length:
        raise AcrossSlicesError
    index = geometry.slice_index(ends.mean(axis=0).tolist(), axis)
    xy, positions = geometry.ras_to_slice(ends, axis)
    if np.abs(positions - index).max() > 0.5:
        ends = geometry.slice_to_ras(xy, index, axis)
    line = RecistLine(SliceRef(axis, index), tuple(ends[0].tolist()), tuple(ends[1].tolist()))
    validate(line, geometry)
    return line


def same_place(one: Prompt, other: Prompt) -> bool:
    """Return whether two prompts of one kind lie on one slice at one place, whatever their rounds."""
    if one.slice != other.slice:
        return False
    return bool(np.allclose(one.places, other.places, rtol=0, atol=_SAME_MM))
