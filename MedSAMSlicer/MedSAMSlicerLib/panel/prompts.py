"""Prompts: one active tool at a time; brush and lasso draw without Slicer's place mode."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any

import numpy as np
import numpy.typing as npt
import slicer
from slicer.i18n import tr as _

from ..app.ports import ShownSlice, Tool
from ..app.signals import Signal
from ..app.state import Action, Topic
from ..core.errors import MedSAMError
from ..core.geometry import VolumeGeometry
from ..core.outlines import lasso_from_outline
from ..core.prompts import Prompt, SliceRef
from ..core.strokes import scribble_from_mask
from ..scene.slice_views import orientation
from .context import Context, SignalsBlocked, with_letter
from .cursors import ToolCursor
from .lasso import LassoTool
from .scribble import Scribbler

_TOOLS = {
    Tool.POINT_POSITIVE: ("positiveButton", "PointPositive", "positive"),
    Tool.POINT_NEGATIVE: ("negativeButton", "PointNegative", "negative"),
    Tool.BOX: ("boxButton", "Box", "box"),
    Tool.LINE: ("lineButton", "Line", "line"),
}


_OPPOSITE: dict[Tool | None, Tool] = {
    Tool.POINT_POSITIVE: Tool.POINT_NEGATIVE,
    Tool.POINT_NEGATIVE: Tool.POINT_POSITIVE,
    Tool.BOX: Tool.BOX_NEGATIVE,
    Tool.BOX_NEGATIVE: Tool.BOX,
}

_BOXES = (Tool.BOX, Tool.BOX_NEGATIVE)


def placing_hint(tool: Tool) -> str:
    """Return what to click with the active tool."""
    sentences = {
        Tool.POINT_POSITIVE: _("Click on the object in a slice view; press the button again to stop."),
        Tool.POINT_NEGATIVE: _("Click on a part of the mask that is wrong; press the button again to stop."),
        Tool.BOX: _(
            "Drag a box around the object on one slice, or click two corners; T: around a part of the background."
        ),
        Tool.BOX_NEGATIVE: _(
            "Draw a box around a part of the background: nothing inside belongs to the object."
        ),
        Tool.LINE: _("Click both ends of the longest diameter of the object on one slice."),
    }
    return sentences[tool]


class PromptsSection:
    """The section.

    Signals:
        tool_changed: a tool may have been activated or deactivated; with whether one is active.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self.tool_changed: Signal[[bool]] = Signal()
        ui = context.ui
        self._scribbler = Scribbler(slicer.mrmlScene, self._stroke)
        self._lasso = LassoTool(self._outlined)
        self._cursor = ToolCursor()
        for tool, (name, icon, action) in _TOOLS.items():
            button = context.set_up_button(name, icon, action)
            button.connect("clicked()", self._toggler(tool))
        context.set_up_button("scribbleButton", "Scribble", "scribble").connect(
            "clicked()", self.toggle_scribble
        )
        context.set_up_button("lassoButton", "Lasso", "lasso").connect("clicked()", self.toggle_lasso)
        context.set_up_button("currentMaskButton", "CurrentMask", "current_mask").connect(
            "clicked()", self.use_current_mask
        )
        context.set_up_button("removePromptsButton", "Delete").connect("clicked()", self.remove_prompts)
        ui.scribblePositive.connect("toggled(bool)", self._scribbler.set_positive)
        ui.scribblePositive.connect("toggled(bool)", self._lasso.set_positive)
        ui.brushDiameter.connect("valueChanged(double)", self._scribbler.set_diameter)

    def refresh(self, topics: frozenset[Topic]) -> None:
        """See Section."""
        ui, controller = self._context.ui, self._context.controller
        if controller.editing.placing is not None or controller.inputs.volume_node is None:
            self._stop_drawing()
        for tool, (name, _icon, _action) in _TOOLS.items():
            point = tool in (Tool.POINT_POSITIVE, Tool.POINT_NEGATIVE)
            self._context.allow(name, Action.PLACE_POINT if point else Action.PLACE)
            placing = controller.editing.placing
            _check(getattr(ui, name), placing is tool or (tool is Tool.BOX and placing in _BOXES))
        self._context.allow("scribbleButton", Action.SCRIBBLE)
        _check(ui.scribbleButton, self._scribbler.active)
        self._context.allow("lassoButton", Action.PLACE)
        _check(ui.lassoButton, self._lasso.active)
        around_other = controller.editing.placing is Tool.BOX_NEGATIVE
        ui.boxButton.text = with_letter(_("Box \N{MINUS SIGN}") if around_other else _("Box"), "box", "\n")
        ui.promptFoot.setCurrentWidget(ui.scribbleFrame if self._drawing else ui.segmentFrame)
        for widget in (ui.brushCaption, ui.brushDiameter):
            widget.setVisible(self._scribbler.active)
        self._show_cursor()
        self.tool_changed.emit(self.tool_is_active)
        self._context.allow("currentMaskButton", Action.USE_CURRENT_MASK)
        self._context.allow("removePromptsButton", Action.REMOVE_PROMPTS)
        if topics & {Topic.INPUTS, Topic.SEGMENTS, Topic.PROMPTS, Topic.VIEW}:
            ui.promptLabel.text = self._about_segment()

    def close(self) -> None:
        """See Section."""
        self._cursor.hide()
        self._lasso.stop()
        self._scribbler.close()

    @property
    def tool_is_active(self) -> bool:
        """Return whether the next click or stroke in a view gives a prompt."""
        return self._drawing or self._context.controller.editing.placing is not None

    @property
    def _drawing(self) -> bool:
        return self._scribbler.active or self._lasso.active

    def leave_tool(self) -> None:
        """Deactivate the active tool, if there is one."""
        self._stop_drawing()
        if self._context.controller.editing.placing is not None:
            self._context.attempt(self._context.controller.editing.stop_placing, keep_message=True)
        self.refresh(frozenset({Topic.TOOL}))

    def exit(self) -> None:
        """Deactivate the active tool when the module is left."""
        self.leave_tool()

    def actions(self) -> Mapping[str, Callable[[], object]]:
        """Return what the shortcuts of this section do."""
        tools = {action: self._toggler(tool) for tool, (_name, _icon, action) in _TOOLS.items()}
        return {
            **tools,
            "scribble": self.toggle_scribble,
            "lasso": self.toggle_lasso,
            "leave_tool": self.leave_tool,
            "polarity": self.switch_polarity,
            "current_mask": self.use_current_mask,
        }

    def toggle(self, tool: Tool) -> None:
        """Activate a tool, or deactivate it if it is active."""
        controller = self._context.controller
        active = controller.editing.placing
        if active is tool or (tool is Tool.BOX and active in _BOXES):
            self._context.attempt(controller.editing.stop_placing, keep_message=True)
        else:
            self._stop_drawing()
            self._context.attempt(lambda: controller.editing.start_placing(tool))
        self.refresh(frozenset({Topic.TOOL}))

    def toggle_scribble(self) -> None:
        """Activate the brush, or deactivate it if it is active."""
        if self._scribbler.active:
            self._stop_drawing()
        else:
            self._context.attempt(self._start_scribbling)
        self.refresh(frozenset({Topic.TOOL}))

    def toggle_lasso(self) -> None:
        """Activate the lasso, or deactivate it if it is active."""
        if self._lasso.active:
            self._stop_drawing()
        else:
            self._context.attempt(self._start_lasso)
        self.refresh(frozenset({Topic.TOOL}))

    def switch_polarity(self) -> None:
        """Switch the active tool from the object to background, or back; a line marks the object only."""
        ui, other = self._context.ui, _OPPOSITE.get(self._context.controller.editing.placing)
        if self._drawing:
            (ui.scribbleNegative if ui.scribblePositive.checked else ui.scribblePositive).checked = True
        elif other is not None:
            self._context.attempt(lambda: self._context.controller.editing.start_placing(other))
            self.refresh(frozenset({Topic.TOOL}))

    def use_current_mask(self) -> None:
        """Use the mask of the slice in view as a prompt."""
        self._context.attempt(self._context.controller.editing.use_current_mask)

    def remove_prompts(self) -> None:
        """Remove all prompts of the selected segment."""
        self._context.attempt(self._context.controller.editing.remove_prompts)

    def _show_cursor(self) -> None:
        """Let the cursor show the tool's sign, in the segment's color; the brush has a circle of its own."""
        controller = self._context.controller
        placing = controller.editing.placing
        if placing is None and not self._lasso.active:
            self._cursor.hide()
            return
        negative = placing in (Tool.POINT_NEGATIVE, Tool.BOX_NEGATIVE)
        if placing is None:
            negative = not self._context.ui.scribblePositive.checked
        self._cursor.show(not negative, controller.inputs.segment_color or (1.0, 1.0, 1.0))

    def _toggler(self, tool: Tool) -> Callable[[], None]:
        return lambda: self.toggle(tool)

    def _start_scribbling(self) -> None:
        ui, controller = self._context.ui, self._context.controller
        why = controller.reason(Action.SCRIBBLE)
        if why is not None:
            raise MedSAMError(why)
        self._lasso.stop()
        if controller.editing.placing is not None:
            controller.editing.stop_placing()
        self._scribbler.start(
            controller.inputs.volume_node, bool(ui.scribblePositive.checked), float(ui.brushDiameter.value)
        )

    def _start_lasso(self) -> None:
        controller = self._context.controller
        why = controller.reason(Action.PLACE)
        if why is not None:
            raise MedSAMError(why)
        self._stop_drawing()
        if controller.editing.placing is not None:
            controller.editing.stop_placing()
        self._lasso.start(controller.inputs.volume_node, bool(self._context.ui.scribblePositive.checked))

    def _stop_drawing(self) -> None:
        self._lasso.stop()
        if self._scribbler.active:
            self._scribbler.stop()

    def _outlined(self, outline: Sequence[Sequence[float]], positive: bool, shown: ShownSlice) -> None:
        self._add(lambda geometry, place: lasso_from_outline(geometry, place, outline, positive), shown)

    def _stroke(self, mask: npt.NDArray[np.bool_], positive: bool, shown: ShownSlice) -> None:
        self._add(lambda geometry, place: scribble_from_mask(geometry, place, mask, positive), shown)

    def _add(self, prompt: Callable[[VolumeGeometry, SliceRef], Prompt], shown: ShownSlice) -> None:
        def add() -> None:
            controller = self._context.controller
            if controller.inputs.segment_id is None:
                controller.inputs.add_segment()
            controller.editing.add_drawn(prompt, shown)

        self._context.attempt(add)

    def hint(self) -> str | None:
        """Return what to do with the brush or the lasso, while one is active."""
        if self._lasso.active:
            if self._context.ui.scribblePositive.checked:
                return _(
                    "Draw around the object with the mouse button held down: nothing outside belongs to it."
                )
            return _(
                "Draw around a part of the background with the mouse button held down: "
                "nothing inside belongs to the object."
            )
        if not self._scribbler.active:
            return None
        if self._context.ui.scribblePositive.checked:
            return _(
                "Paint over a part of the object in a slice view; press the button again, or Escape, to stop."
            )
        return _("Paint where the mask must not be; press the button again, or Escape, to stop.")

    def _about_segment(self) -> str:
        """The segment that prompts go to, with its color, and the direction of its slices."""
        controller = self._context.controller
        segmentation, segment_id = controller.inputs.segmentation_node, controller.inputs.segment_id
        segment = (
            segmentation.GetSegmentation().GetSegment(segment_id)
            if segmentation is not None and segment_id
            else None
        )
        if segment is None:
            return _("The first prompt makes a new segment.")
        red, green, blue = (round(255 * part) for part in segment.GetColor())
        name = escape(str(segment.GetName() or segment_id))
        chip = f'<span style="color:rgb({red},{green},{blue})">&#9632;</span> <b>{name}</b>'
        if controller.editing.axis is None or controller.inputs.volume_node is None:
            return _("Prompts go to {segment}").format(segment=chip)
        return _("Prompts go to {segment}, {slices} slices").format(
            segment=chip, slices=orientation(controller.inputs.volume_node, controller.editing.axis)
        )


def _check(button: Any, checked: bool) -> None:
    if bool(button.checked) != checked:
        with SignalsBlocked(button):
            button.checked = checked
