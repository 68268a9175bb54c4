"""Slice views against the voxel grid: which slice a view shows, which view was clicked, showing a slice."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from slicer.i18n import tr as _

from ..app.ports import ShownSlice
from ..core.geometry import SliceAxis, patient_axes, slice_normals
from .nodes import applied, from_world, matrix_array, to_world, transform_to_world, volume_geometry

_SMALLEST_PART, _WANTED_PART, _LARGEST_PART = (
    1 / 6,
    1 / 3,
    2 / 3,
)  # of a view, that something to look at fills


class _VolumeInWorld:
    """The voxels of a volume in the world, made once for all views that are compared with it.

    Attributes:
        geometry: of the volume, in its own RAS.
        normals: (3, 3): the unit normals, in world coordinates, of slices across K, J and I, in this order.

    Raises:
        VolumeError, GeometryError: the volume cannot be used.
    """

    def __init__(self, volume_node: Any) -> None:
        self.geometry = volume_geometry(volume_node)
        to_world = transform_to_world(volume_node)
        self._from_world = np.linalg.inv(to_world)
        self.normals = slice_normals(to_world[:3, :3] @ self.geometry.ijk_to_ras[:3, :3])

    def shown(self, slice_node: Any) -> ShownSlice:
        """See :func:`shown_slice`."""
        slice_to_world = matrix_array(slice_node.GetSliceToRAS())
        view_normal = slice_to_world[:3, 2] / np.linalg.norm(slice_to_world[:3, 2])
        cosines = np.abs(self.normals @ view_normal)
        axis = SliceAxis(int(np.argmax(cosines)))
        # atan2, since the arc cosine turns the last bit of a cosine of 1 into a millionth of a degree.
        (x, y, z), (u, v, w) = self.normals[axis].tolist(), view_normal.tolist()
        sine = math.hypot(y * w - z * v, z * u - x * w, x * v - y * u)
        middle = applied(self._from_world, [slice_to_world[:3, 3]])
        index = _nearest(
            float(self.geometry.slice_position(middle, axis)[0]), self.geometry.slice_count(axis)
        )
        degrees = math.degrees(math.atan2(sine, float(cosines[axis])))
        return ShownSlice(axis, index, degrees, slice_node.GetLayoutName() or slice_node.GetName() or "")


@dataclass(frozen=True)
class ViewPositions:
    """The places of slices, as the slider above a view reads.

    Attributes:
        letter: of the direction in which the position rises: R, L, A, P, S or I.
        first: of slice 0, in mm.
        step: from each slice to the next, in mm; below 0 where positions fall.
    """

    letter: str
    first: float
    step: float

    def millimeters(self, index: int) -> str:
        """The position of a slice, with as many digits as distinguish it from its neighbors."""
        step = abs(self.step)
        digits = 1 if step >= 0.5 or not step else max(2, math.ceil(-math.log10(step)))
        place = round(self.first + index * self.step, digits)
        return f"{place + 0.0:.{digits}f}"  # + 0.0 turns -0.0 into 0.0


def view_positions(slice_node: Any, volume_node: Any, axis: SliceAxis) -> ViewPositions:
    """The places of the slices across an axis for the view that shows them.

    Raises:
        VolumeError, GeometryError: the volume cannot be used.
    """
    geometry = volume_geometry(volume_node)
    slice_to_world = matrix_array(slice_node.GetSliceToRAS())
    normal = slice_to_world[:3, 2] / np.linalg.norm(slice_to_world[:3, 2])
    ijk = geometry.to_ijk(from_world(volume_node, [slice_to_world[:3, 3]])).repeat(2, axis=0)
    ijk[:, 2 - axis] = 0, 1  # where a line through the middle of the view meets the first two slices
    first, second = to_world(volume_node, geometry.to_ras(ijk)) @ normal
    largest = int(np.argmax(np.abs(normal)))
    letter = ("RAS" if normal[largest] > 0 else "LPI")[largest]
    return ViewPositions(letter, float(first), float(second - first))


def shown_slice(slice_node: Any, volume_node: Any) -> ShownSlice:
    """Return what a slice view shows of a volume; the nearest slice at the middle of the view when it is oblique.

    Raises:
        VolumeError, GeometryError: the volume cannot be used.
    """
    return _VolumeInWorld(volume_node).shown(slice_node)


def slice_nodes(scene: Any) -> list[Any]:
    """The nodes of all slice views."""
    return _nodes(scene, "vtkMRMLSliceNode")


def other_volume_in_view(scene: Any, view_name: str, volume_node: Any) -> Any | None:
    """The scalar volume in the background of a slice view that does not show `volume_node`; None where it does."""
    for composite in composite_nodes(scene):
        if composite.GetLayoutName() != view_name:
            continue
        shown = [composite.GetBackgroundVolumeID()]
        if composite.GetForegroundOpacity() > 0:
            shown.append(composite.GetForegroundVolumeID())
        background = scene.GetNodeByID(shown[0]) if shown[0] else None
        if volume_node.GetID() in shown or background is None:
            return None
        return background if background.GetClassName() == "vtkMRMLScalarVolumeNode" else None
    return None


def composite_nodes(scene: Any) -> list[Any]:
    """The nodes that say which volumes the slice views show."""
    return _nodes(scene, "vtkMRMLSliceCompositeNode")


def _nodes(scene: Any, name: str) -> list[Any]:
    """The nodes of a class."""
    return [scene.GetNthNodeByClass(number, name) for number in range(scene.GetNumberOfNodesByClass(name))]


def shown_slice_node(scene: Any) -> Any | None:
    """The node of the first slice view of the layout; of any slice view where there is no layout."""
    nodes = slice_nodes(scene)
    return next((node for node in nodes if node.IsMappedInLayout()), next(iter(nodes), None))


def clicked_slice_node(scene: Any) -> Any | None:
    """The node of the slice view that the mouse is over; None over a 3-D view and outside."""
    crosshair = scene.GetFirstNodeByClass("vtkMRMLCrosshairNode")
    return None if crosshair is None else crosshair.GetCursorPositionXYZ([0.0, 0.0, 0.0])


def first_slice_node(scene: Any, axis: SliceAxis, volume_node: Any) -> Any | None:
    """The node of the slice view that shows slices across `axis` best; None when none does.

    Views in the layout come before hidden ones.
    """
    nodes = slice_nodes(scene)
    return _first_slice_node(nodes, axis, _VolumeInWorld(volume_node)) if nodes else None


def _first_slice_node(nodes: list[Any], axis: SliceAxis, grid: _VolumeInWorld) -> Any | None:
    found = [(grid.shown(node), node) for node in nodes]
    fitting = [
        (not node.IsMappedInLayout(), shown.off_degrees, node) for shown, node in found if shown.axis == axis
    ]
    return min(fitting, key=lambda found: found[:2])[2] if fitting else None


def looked_at(scene: Any, volume_node: Any, axis: SliceAxis | None) -> ShownSlice | None:
    """Return what the view under the mouse shows, if it cuts across `axis`, else the best view that does."""
    under_mouse, nodes = clicked_slice_node(scene), slice_nodes(scene)
    if not nodes:
        return None
    grid = _VolumeInWorld(volume_node)
    if axis is None:
        node = under_mouse or shown_slice_node(scene)
    elif under_mouse is not None and grid.shown(under_mouse).axis == axis:
        node = under_mouse
    else:
        node = _first_slice_node(nodes, axis, grid)
    return None if node is None else grid.shown(node)


def show_slice(scene: Any, volume_node: Any, axis: SliceAxis, index: int) -> None:
    """Move every slice view that cuts across `axis` to the slice `index`; nothing moves within the views.

    Raises:
        VolumeError, GeometryError: the volume cannot be used.
    """
    grid = _VolumeInWorld(volume_node)
    geometry = grid.geometry
    for slice_node in slice_nodes(scene):
        if grid.shown(slice_node).axis != axis:
            continue
        middle = from_world(volume_node, [matrix_array(slice_node.GetSliceToRAS())[:3, 3]])
        ijk = geometry.to_ijk(middle)
        ijk[0, 2 - axis] = index
        slice_node.JumpSliceByOffsetting(*to_world(volume_node, geometry.to_ras(ijk))[0].tolist())


def show_place_elsewhere(scene: Any, volume_node: Any, ras: Sequence[float]) -> None:
    """Let the views beside the one that was clicked cut through a place in the volume's own RAS, in mm.

    They move across their slices only, as with Slicer's crosshair; views of another group stay, as those of a second
    screen do.
    """
    clicked = clicked_slice_node(scene)
    if clicked is None:
        return
    world = to_world(volume_node, [ras])[0].tolist()
    for slice_node in slice_nodes(scene):
        if slice_node is not clicked and slice_node.GetViewGroup() == clicked.GetViewGroup():
            slice_node.JumpSliceByOffsetting(*world)


def show_around(scene: Any, volume_node: Any, ras: Sequence[float], size_mm: float) -> None:
    """Bring a place in the volume's own RAS to the middle of every slice view that is shown.

    Views are enlarged, or reduced, if `size_mm` would fill less than a sixth of their shorter side, or more than two
    thirds; then it fills a third.
    """
    world = to_world(volume_node, [ras])[0].tolist()
    for slice_node in slice_nodes(scene):
        if not slice_node.IsMappedInLayout():
            continue
        slice_node.JumpSliceByCentering(*world)
        width, height, depth = slice_node.GetFieldOfView()
        part = size_mm / max(min(width, height), 1e-6)
        if size_mm > 0 and not _SMALLEST_PART <= part <= _LARGEST_PART:
            factor = part / _WANTED_PART
            slice_node.SetFieldOfView(width * factor, height * factor, depth)


def orientation(volume_node: Any, axis: SliceAxis) -> str:
    """Axial, coronal or sagittal: what the slices across an axis are in the world, the nearest of an oblique volume.

    No two axes of a volume share a word.

    Raises:
        VolumeError, GeometryError: the volume cannot be used.
    """
    return (_("sagittal"), _("coronal"), _("axial"))[patient_axes(_VolumeInWorld(volume_node).normals)[axis]]


def slices_in_words(scene: Any, volume_node: Any, axis: SliceAxis) -> str:
    """The slices across an axis as the user knows them, such as "axial slices (view Red)"."""
    word, slice_node = orientation(volume_node, axis), first_slice_node(scene, axis, volume_node)
    if slice_node is None or not slice_node.IsMappedInLayout():
        return _("{orientation} slices").format(orientation=word)
    return _("{orientation} slices (view {view})").format(
        orientation=word, view=shown_slice(slice_node, volume_node).view_name
    )


def _nearest(position: float, count: int) -> int:
    return min(max(math.floor(position + 0.5), 0), count - 1)
