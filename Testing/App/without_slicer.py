"""From a prompt to an exported mask in a Python that has no 3D Slicer: python -m Testing.App.without_slicer FOLDER

Prints one JSON object with what was found on the way; `test_app_without_slicer.py` looks at it.
"""

from __future__ import annotations

import importlib
import importlib.abc
import json
import pkgutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt


class Refused(importlib.abc.MetaPathFinder):
    """Refuses to import 3D Slicer and what only comes with it."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name.split(".")[0] in {"slicer", "vtk", "vtkmodules", "qt", "ctk", "PySide6"}:
            raise ImportError(f"{name} is not to be imported")


SHAPE = (14, 48, 56)
MATRIX = np.array([[-0.8, 0, 0, 20], [0, -0.8, 0, 18], [0, 0, 3.0, -40], [0, 0, 0, 1]], dtype=float)


def body() -> npt.NDArray[np.bool_]:
    """A bright ellipsoid, (K, J, I)."""
    k, j, i = np.indices(SHAPE)
    return np.asarray(((k - 7) / 5.5) ** 2 + ((j - 24) / 10) ** 2 + ((i - 17) / 9) ** 2 <= 1.0)


def main(folder: Path) -> dict[str, Any]:
    """Drive the controller from a box to exported files."""
    import MedSAMSlicerLib.app
    from MedSAMSlicerLib.app.controller import Controller
    from MedSAMSlicerLib.app.ports import Tool
    from MedSAMSlicerLib.app.state import Action, NetworkState
    from MedSAMSlicerLib.app.workspace import Settings
    from MedSAMSlicerLib.core.geometry import SliceAxis, VolumeGeometry
    from MedSAMSlicerLib.core.prompts import SliceRef, box_from_voxels
    from MedSAMSlicerLib.io.segmentations import write_labelmap
    from MedSAMSlicerLib.web.memory_scene import MemoryScene, MemoryVolume, as_port

    for module in pkgutil.iter_modules(MedSAMSlicerLib.app.__path__):
        importlib.import_module(f"MedSAMSlicerLib.app.{module.name}")

    geometry, truth = VolumeGeometry(SHAPE, MATRIX), body()
    noise = np.random.default_rng(0).normal(0, 12, SHAPE)
    volume = MemoryVolume(np.rint(noise - 80 + 180 * truth).astype(np.int16), geometry, "CT")
    scene = MemoryScene()
    controller = Controller(as_port(scene), None, Settings(device="cpu", threads=1))

    def until(condition: Callable[[], bool]) -> None:
        while not condition():
            controller.poll(0.02)

    def voxels() -> npt.NDArray[np.bool_]:
        return np.array(controller.inputs.segmentation_node.segments[segment].voxels)

    def dice(mask: npt.NDArray[np.bool_], wanted: npt.NDArray[np.bool_]) -> float:
        return float(2 * (mask & wanted).sum() / max(1, mask.sum() + wanted.sum()))

    controller.inputs.set_volume(volume)
    until(lambda: controller.network.state in (NetworkState.READY, NetworkState.FAILED))
    segment = controller.inputs.add_segment("left")
    controller.editing.start_placing(Tool.BOX)
    scene.user.place(box_from_voxels(geometry, SliceRef(SliceAxis.K, 7), 8, 14, 27, 35))
    until(lambda: not controller.poll(0.02))
    preview = voxels()
    controller.runs.propagate()
    until(lambda: not controller.poll(0.02))
    propagated = voxels()
    controller.history.undo()
    undone = voxels()
    controller.history.redo()
    redone = voxels()
    files = controller.files.export_prompts(folder / "prompts.json")
    write_labelmap(folder / "mask.nii.gz", {"left": redone}, geometry, {"left": (1.0, 0.0, 0.0)})
    points = Action.PLACE_POINT, Action.SCRIBBLE
    known = [controller.reason(action) for action in points]
    controller.network.set_checkpoint("litemedsam")
    until(lambda: controller.network.state in (NetworkState.READY, NetworkState.FAILED))
    controller.network.set_overlap("all")
    controller.inputs.add_segment("right")
    unknown = [controller.reason(action) for action in (*points, Action.PLACE)]
    controller.editing.start_placing(Tool.BOX)
    scene.user.place(box_from_voxels(geometry, SliceRef(SliceAxis.K, 7), 8, 14, 27, 35))
    until(lambda: not controller.poll(0.02))
    corrected = [controller.reason(action) for action in points]
    robbed = voxels()
    controller.history.undo()
    given_back = voxels()
    controller.close()
    return {
        "points_known": known,
        "points_unknown": unknown,
        "points_after_a_box": corrected,
        "network": controller.network.failure or "ready",
        "markups": [len(obj.prompts) for obj in scene.markups.shown],
        "preview_slices": np.flatnonzero(preview.any(axis=(1, 2))).tolist(),
        "preview_dice": dice(preview[7], truth[7]),
        "dice": dice(propagated, truth),
        "undo_gives_the_preview_again": bool(np.array_equal(undone, preview)),
        "redo_gives_the_mask_again": bool(np.array_equal(redone, propagated)),
        "taken_on_slices": np.flatnonzero((redone & ~robbed).any(axis=(1, 2))).tolist(),
        "undo_gives_back_what_was_taken": bool(np.array_equal(given_back, redone)),
        "files": [path.name for path in files],
        "exported_voxels": int(redone.sum()),
        "of_slicer": sorted({name.split(".")[0] for name in sys.modules} & {"slicer", "vtk", "qt", "ctk"}),
    }


if __name__ == "__main__":
    sys.meta_path.insert(0, Refused())
    sys.stdout.write(json.dumps(main(Path(sys.argv[1]))) + "\n")
