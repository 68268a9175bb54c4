"""The API: every action on a session as a typed function, which Gradio offers under the function's name.

Each returns the state of the session, see `view.state_of`, unless it says otherwise. What cannot be done is an error of
one sentence.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, ParamSpec, TypeVar

import gradio as gr
import numpy as np

from ..core.errors import MedSAMError, VolumeError
from ..core.geometry import SliceAxis
from ..core.input_files import read_prompts
from ..core.masks import run_lengths
from ..io.volumes import Volume
from .exports import export
from .session import Kind, WebSession
from .store import SessionStore
from .view import color_from_hex, mask_volume, state_of, without_folder

P = ParamSpec("P")
T = TypeVar("T")

Axis = Literal["k", "j", "i"]
Ending = Literal["seg.nrrd", "nii.gz", "nrrd", "mha", "dcm", "json", "png", "zip"]
State = dict[str, Any]
File = dict[str, Any]
"""An uploaded file as Gradio hands it over: `gradio_client.handle_file(PATH)` makes one."""

_STEP_SECONDS = 0.25
_HASH = re.compile("[0-9a-f]{64}")
_NOT_THERE = "The uploaded file is not there any more: upload it again."


class Endpoints:
    """The functions of the API on the sessions of a store.

    Args:
        store: of the sessions.
        sample: makes the volume of `open_sample`.
    """

    def __init__(self, store: SessionStore, sample: Callable[[], Volume]) -> None:
        self._store, self._sample = store, sample

    # ------------------------------------------------------------------------------------------------ the volume

    def open(self, file: File, series: str = "", session: str = "") -> State:
        """Open a volume (NIfTI, NRRD, MetaImage, a zip of a DICOM series) or a video (MP4, a zip of pictures).

        Where a zip holds several series, `series` of the answer lists them: call again with the session and one.

        Args:
            file: the uploaded volume.
            series: SeriesInstanceUID, where a zip holds several series.
            session: a session whose volume it replaces; empty for a new session, whose identifier is in the answer.
        """
        chosen = self._store.get(session) if session else self._store.new()
        try:
            path = self._received(chosen, file)
            chosen.open(path, series)
        except Exception:
            if not session:
                self._store.end(chosen.id)
            raise
        return state_of(chosen)

    def open_sample(self, session: str = "") -> State:
        """Open a generated CT of an abdomen.

        Args:
            session: a session whose volume it replaces; empty for a new session, whose identifier is in the answer.
        """
        chosen = self._store.get(session) if session else self._store.new()
        chosen.show(self._sample())
        return state_of(chosen)

    def state(self, session: str) -> State:
        """Return volume, objects, prompts, progress, confidences and messages of a session.

        Args:
            session: the identifier that `open` returned.
        """
        return state_of(self._store.get(session))

    def window(self, session: str, window: str) -> State:
        """Choose the gray values that the network sees as black and white.

        Args:
            session: the identifier that `open` returned.
            window: auto, soft-tissue, lung, bone, brain, liver, mediastinum, percentile, pet, full or LOWER,UPPER.
        """
        chosen = self._store.get(session)
        chosen.set_window(window)
        return state_of(chosen)

    def end(self, session: str) -> bool:
        """End a session and remove its files.

        Args:
            session: the identifier that `open` returned.
        """
        self._store.end(session)
        return True

    # ----------------------------------------------------------------------------------------------- the objects

    def add_object(self, session: str, name: str = "", color: str = "") -> State:
        """Add an object and select it; its identifier is `selected` in the answer.

        Args:
            session: the identifier that `open` returned.
            name: of the object; empty for a number.
            color: #rrggbb; empty for one that the others do not have.
        """
        chosen = self._store.get(session)
        chosen.add_object(name, color_from_hex(color) if color else None)
        return state_of(chosen)

    def select_object(self, session: str, object: str) -> State:
        """Let prompts without a named object go to this one, and show its confidences.

        Args:
            session: the identifier that `open` returned.
            object: identifier or name.
        """
        chosen = self._store.get(session)
        chosen.select_object(object)
        return state_of(chosen)

    def change_object(self, session: str, object: str, name: str = "", color: str = "") -> State:
        """Give an object another name or color.

        Args:
            session: the identifier that `open` returned.
            object: identifier or name.
            name: the new one; empty to keep it.
            color: #rrggbb; empty to keep it.
        """
        chosen = self._store.get(session)
        chosen.change_object(object, name or None, color_from_hex(color) if color else None)
        return state_of(chosen)

    def remove_object(self, session: str, object: str) -> State:
        """Remove an object; undo brings it back if it had prompts.

        Args:
            session: the identifier that `open` returned.
            object: identifier or name.
        """
        chosen = self._store.get(session)
        chosen.remove_object(object)
        return state_of(chosen)

    # ----------------------------------------------------------------------------------------------- the prompts

    def prompt(
        self,
        session: str,
        kind: Literal["box", "point", "lasso", "line"],
        slice: int,
        places: list[list[float]],
        axis: Axis = "k",
        object: str = "",
        positive: bool = True,
        wait: float = 20.0,
    ) -> State:
        """Give an object a prompt on one slice; its mask there is computed as a preview.

        Args:
            session: the identifier that `open` returned.
            kind: box, point, lasso (a closed outline) or line (the longest diameter).
            slice: counted from 0 along the axis.
            places: [x, y] in voxels: two corners of a box (far edges exclusive), a point, an outline, or two ends.
            axis: array axis of the slices.
            object: identifier or name; empty for the selected one.
            positive: whether a point or lasso marks the object, or what does not belong to it.
            wait: seconds to wait for the preview at most.
        """
        chosen = self._store.get(session)
        wanted: Kind = kind
        chosen.prompt(object, wanted, SliceAxis.parse(axis), slice, places, positive)
        return self._when_previewed(chosen, wait)

    def prompt_mask(
        self,
        session: str,
        file: File,
        slice: int,
        axis: Axis = "k",
        object: str = "",
        label: str = "",
        wait: float = 20.0,
    ) -> State:
        """Give an object the mask of one slice.

        Args:
            session: the identifier that `open` returned.
            file: a picture of that slice (PNG, TIFF, BMP, JPEG), or a label volume of the same grid.
            slice: counted from 0 along the axis.
            axis: array axis of the slices.
            object: identifier or name; empty for the selected one.
            label: which label of a label volume: its value or name.
            wait: seconds to wait for the preview at most.
        """
        chosen = self._store.get(session)
        path = self._received(chosen, file)
        chosen.prompt_mask(object, SliceAxis.parse(axis), slice, path, label)
        return self._when_previewed(chosen, wait)

    def remove_prompt(self, session: str, position: int, object: str = "", wait: float = 0.0) -> State:
        """Remove one prompt of an object.

        Args:
            session: the identifier that `open` returned.
            position: of the prompt in the object's list, from 0.
            object: identifier or name; empty for the selected one.
            wait: seconds to wait for the preview at most.
        """
        chosen = self._store.get(session)
        chosen.remove_prompt(object, position)
        return self._when_previewed(chosen, wait)

    def set_range(self, session: str, first: int = -1, last: int = -1, object: str = "") -> State:
        """Propagate an object over these slices only.

        Args:
            session: the identifier that `open` returned.
            first: the first slice; -1 for the end of the volume.
            last: the last slice, included; -1 for the end of the volume.
            object: identifier or name; empty for the selected one.
        """
        chosen = self._store.get(session)
        chosen.set_range(object, None if first < 0 else first, None if last < 0 else last)
        return state_of(chosen)

    def import_prompts(self, session: str, file: File) -> State:
        """Add the objects of a prompts file that was made on the same volume.

        Args:
            session: the identifier that `open` returned.
            file: prompts as JSON, from `export`, the command line or 3D Slicer.
        """
        chosen = self._store.get(session)
        path = self._received(chosen, file)
        chosen.import_prompts(read_prompts(path, chosen.geometry))
        return state_of(chosen)

    # ------------------------------------------------------------------------------------------------- computing

    def propagate(self, session: str, object: str = "", all: bool = False) -> Iterator[State]:
        """Carry the mask of an object through the slices; the state is handed out while that goes on, and at the end.

        After a correction only the slices between it and the neighboring prompts are computed again.

        Args:
            session: the identifier that `open` returned.
            object: identifier or name; empty for the selected one.
            all: every object instead.
        """
        chosen = self._store.get(session)
        chosen.wait(60.0, previews_only=True)
        chosen.propagate(object, all)
        while not chosen.wait(_STEP_SECONDS):
            chosen.touch()
            yield state_of(chosen)
        yield state_of(chosen)

    def begin_propagation(self, session: str, object: str = "", all: bool = False) -> State:
        """Begin what `propagate` does and return at once; `state` shows the progress.

        Args:
            session: the identifier that `open` returned.
            object: identifier or name; empty for the selected one.
            all: every object instead.
        """
        chosen = self._store.get(session)
        chosen.propagate(object, all)
        return state_of(chosen)

    def cancel(self, session: str) -> State:
        """End the propagation within one slice; the masks are as before, and redo brings back what was computed.

        Args:
            session: the identifier that `open` returned.
        """
        chosen = self._store.get(session)
        chosen.cancel()
        return state_of(chosen)

    def accept(self, session: str, slice: int, object: str = "", accepted: bool = True) -> State:
        """Keep the mask of a slice from being computed again, or let it be.

        Args:
            session: the identifier that `open` returned.
            slice: counted from 0 along the object's axis.
            object: identifier or name; empty for the selected one.
            accepted: whether it is kept.
        """
        chosen = self._store.get(session)
        chosen.accept(object, slice, accepted)
        return state_of(chosen)

    def next_doubtful(self, session: str, object: str = "") -> int:
        """Return the slice whose mask is the least certain, then the next with each call.

        Args:
            session: the identifier that `open` returned.
            object: identifier or name; empty for the selected one.
        """
        return self._store.get(session).next_doubtful(object)

    def undo(self, session: str) -> State:
        """Undo the last step, prompts and masks together.

        Args:
            session: the identifier that `open` returned.
        """
        chosen = self._store.get(session)
        chosen.undo()
        return state_of(chosen)

    def redo(self, session: str) -> State:
        """Redo the last undone step last.

        Args:
            session: the identifier that `open` returned.
        """
        chosen = self._store.get(session)
        chosen.redo()
        return state_of(chosen)

    def take_offer(self, session: str) -> State:
        """Do what the last message offers, such as to compute with less memory.

        Args:
            session: the identifier that `open` returned.
        """
        chosen = self._store.get(session)
        chosen.take_offer()
        return state_of(chosen)

    # --------------------------------------------------------------------------------------------------- results

    def mask(self, session: str, slice: int, axis: Axis = "k", object: str = "") -> State:
        """Return the mask of an object on a slice: `rows`, `columns`, and `runs`, the lengths of its alternating runs.

        Runs follow the rows; the first one is of pixels outside and may be 0.

        Args:
            session: the identifier that `open` returned.
            slice: counted from 0 along the axis.
            axis: array axis of the slices.
            object: identifier or name; empty for the selected one.
        """
        chosen = self._store.get(session)
        chosen.check_slice(SliceAxis.parse(axis), slice)
        plane = np.take(mask_volume(chosen, object), slice, axis=int(SliceAxis.parse(axis)))
        return {"rows": plane.shape[0], "columns": plane.shape[1], "runs": run_lengths(plane.ravel())}

    def export(self, session: str, format: Ending = "seg.nrrd") -> File:
        """Write the results into a file, which the answer is.

        Args:
            session: the identifier that `open` returned.
            format: seg.nrrd (3D Slicer), nii.gz, nrrd, mha (labels), dcm (DICOM SEG), json (prompts), png, zip (video).
        """
        path = export(self._store.get(session), format)
        return {"path": str(path), "orig_name": path.name, "meta": {"_type": "gradio.FileData"}}

    # ---------------------------------------------------------------------------------------------------- inside

    def _when_previewed(self, session: WebSession, seconds: float) -> State:
        if seconds > 0:
            session.wait(min(seconds, 60.0), previews_only=True)
        return state_of(session)

    def _received(self, session: WebSession, file: File) -> Path:
        """The uploaded file in the private folder of its session.

        Gradio keeps one copy of what several users upload alike: it stays until the store removes it. Where it lies is
        given by the caller: only what was uploaded is taken, not any other file that the server could read.
        """
        try:
            path = Path(file["path"]).resolve(strict=True)
            if not self._is_upload(path):
                raise VolumeError(_NOT_THERE)
            session.limits.check_upload(path.name, path.stat().st_size)
            target = session.new_path(Path(file.get("orig_name") or path.name).name)
            try:
                os.link(path, target)
            except OSError:  # a file system without links
                shutil.copyfile(path, target)
        except (OSError, KeyError, TypeError, ValueError, RuntimeError) as error:
            raise VolumeError(_NOT_THERE) from error
        return target

    def _is_upload(self, path: Path) -> bool:
        """Return whether a path without links is that of an upload: ROOT/HASH/NAME, as Gradio writes it."""
        folder = path.parent
        inside = folder.parent == self._store.root.resolve() and _HASH.fullmatch(folder.name) is not None
        return inside and path.is_file()

    def functions(self) -> tuple[Callable[..., Any], ...]:
        """All functions of the API, each with its errors as sentences for the caller."""
        chosen = (
            self.open, self.open_sample, self.state, self.window, self.end,
            self.add_object, self.select_object, self.change_object, self.remove_object,
            self.prompt, self.prompt_mask, self.remove_prompt, self.set_range, self.import_prompts,
            self.propagate, self.begin_propagation, self.cancel, self.accept, self.next_doubtful,
            self.undo, self.redo, self.take_offer, self.mask, self.export,
        )  # fmt: skip
        return tuple(
            self._streaming(each) if each == self.propagate else self._answering(each) for each in chosen
        )

    def _answering(self, function: Callable[P, T]) -> Callable[P, T]:
        @functools.wraps(function)
        def answer(*args: P.args, **kwargs: P.kwargs) -> T:
            with self._sentences():
                return function(*args, **kwargs)

        return answer

    def _streaming(self, function: Callable[P, Iterator[State]]) -> Callable[P, Iterator[State]]:
        @functools.wraps(function)
        def answer(*args: P.args, **kwargs: P.kwargs) -> Iterator[State]:
            with self._sentences():
                yield from function(*args, **kwargs)

        return answer

    @contextlib.contextmanager
    def _sentences(self) -> Iterator[None]:
        """Inside, what cannot be done is reported to the caller; faults of the program are left to the server."""
        try:
            yield
        except MedSAMError as error:
            sentence = without_folder(str(error), self._store.root)
            raise gr.Error(sentence, print_exception=False) from error
