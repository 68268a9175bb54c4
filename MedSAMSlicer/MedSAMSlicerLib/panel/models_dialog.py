"""The dialog of models: what each is good for, how good and how fast; download, delete, use a file of one's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from ..app.model_download import Bytes, Ended, ModelDownload
from ..core.errors import MedSAMError
from ..models import Checkpoint, Registry, State

_WAIT = 0.01  # seconds on each turn of the timer, in which the download's thread gets to run
_TURN_MS = 60


class ModelsDialog:
    """See the module's docstring.

    Args:
        registry: the models.
        on_change: called when a model came or went; with its id when the user wants to use it.
        current: returns the id of the model in use.
        seconds_a_slice: returns about what a model takes for a slice on this computer; None = not known (yet).
    """

    def __init__(
        self,
        registry: Registry,
        on_change: Callable[[str | None], None],
        current: Callable[[], str | None] = lambda: None,
        seconds_a_slice: Callable[[Checkpoint], float | None] = lambda _checkpoint: None,
    ) -> None:
        self._registry = registry
        self._on_change, self._current, self._seconds = on_change, current, seconds_a_slice
        self._download: ModelDownload | None = None
        self._shown: list[Checkpoint] = []
        self._timer = qt.QTimer()
        self._timer.setInterval(_TURN_MS)
        self._timer.connect("timeout()", self._turn)
        self.dialog = self._build()
        self.fill()

    def open(self) -> None:
        """Show the dialog beside Slicer's window, the model in use selected; it does not block."""
        self.fill(self._current())
        self.dialog.show()
        self.dialog.raise_()

    def close(self) -> None:
        """End a download under way and hide the dialog for good."""
        self._timer.stop()
        if self._download is not None:
            self._download.cancel()
            self._download.join(5.0)
            self._download = None
        self.dialog.hide()
        self.dialog.deleteLater()

    # --------------------------------------------------------------------------------------------------- the window

    def _build(self) -> Any:
        dialog = qt.QDialog(slicer.util.mainWindow())
        dialog.objectName = "MedSAMSlicerModels"
        dialog.windowTitle = _("MedSAMSlicer: models")
        dialog.resize(1250, 480)
        layout = qt.QVBoxLayout(dialog)
        self.table = qt.QTreeWidget()
        headers = _columns()
        self.table.setHeaderLabels([header for header, _tip in headers])
        for column, (_header, tip) in enumerate(headers):
            self.table.headerItem().setToolTip(column, tip)
        self.table.rootIsDecorated = False
        self.table.connect("itemSelectionChanged()", self._show_buttons)
        layout.addWidget(self.table)
        self.note = qt.QLabel()
        self.note.wordWrap = True
        self.note.toolTip = _("About the selected model, or what went wrong")
        layout.addWidget(self.note)
        self.bar = qt.QProgressBar()
        self.bar.toolTip = _("How much of the model has been downloaded")
        self.bar.setVisible(False)
        layout.addWidget(self.bar)
        row = qt.QHBoxLayout()
        layout.addLayout(row)
        self.use_button = self._button(row, _("Use"), _("Use the selected model"), self.use)
        self.download_button = self._button(
            row, _("Download"), _("Download the selected model from its authors"), self.download
        )
        self.cancel_button = self._button(
            row, _("Cancel"), _("Stop; the next download continues from there"), self.cancel
        )
        self.delete_button = self._button(
            row, _("Delete"), _("Delete the downloaded file from this computer"), self.delete
        )
        self.file_button = self._button(
            row,
            _("Add a file..."),
            _("Add a weights file for one of these networks"),
            self.add_file,
        )
        row.addStretch(1)
        self._button(row, _("Close"), _("Close; a running download continues"), dialog.hide)
        return dialog

    @staticmethod
    def _button(row: Any, text: str, tip: str, slot: Callable[[], object]) -> Any:
        button = qt.QPushButton(text)
        button.toolTip = tip
        button.autoDefault = False
        button.connect("clicked()", slot)
        row.addWidget(button)
        return button

    def fill(self, chosen: str | None = None) -> None:
        """List the models again; the one with the id `chosen` is selected, None = the one that was."""
        kept = self.selected
        wanted = chosen or (kept.id if kept is not None else None)
        self._shown = list(self._registry)
        self.table.clear()
        for checkpoint in self._shown:
            item = qt.QTreeWidgetItem(self.table)
            item.setToolTip(_MODEL, checkpoint.citation)
            if checkpoint.recommended:
                font = item.font(_MODEL)
                font.setBold(True)
                item.setFont(_MODEL, font)
            for column in (_DICE, _SECONDS, _SIZE):
                item.setTextAlignment(column, qt.Qt.AlignRight | qt.Qt.AlignVCenter)
            if wanted == checkpoint.id:
                self.table.setCurrentItem(item)
        self.show_facts()
        for column in range(len(_columns())):
            self.table.resizeColumnToContents(column)
            self.table.setColumnWidth(column, self.table.columnWidth(column) + 12)
        self._show_buttons()

    def show_facts(self) -> None:
        """Write what is known of the models that are listed, such as how long each would take here."""
        for row, checkpoint in enumerate(self._shown):
            item = self.table.topLevelItem(row)
            for column, text in enumerate(self._texts(checkpoint)):
                item.setText(column, text)

    def _texts(self, checkpoint: Checkpoint) -> tuple[str, ...]:
        size = f"{checkpoint.bytes / 1e6:.0f} MB" if checkpoint.bytes else _("not known")
        states = {
            State.BUNDLED: _("bundled"),
            State.ON_DISK: _("on this computer"),
            State.NOT_ON_DISK: _("not downloaded"),
        }
        title = checkpoint.title.split(":")[0]
        seconds = self._seconds(checkpoint)
        return (
            _("{title} (recommended)").format(title=title) if checkpoint.recommended else title,
            checkpoint.good_for,
            _prompts(checkpoint),
            "\N{EN DASH}" if checkpoint.dice is None else f"{checkpoint.dice:.2f}",
            "" if seconds is None else _("{seconds} s").format(seconds=_rounded(seconds)),
            size,
            checkpoint.license,
            states[self._registry.state(checkpoint)],
        )

    @property
    def selected(self) -> Checkpoint | None:
        """The selected model."""
        item = self.table.currentItem()
        row = self.table.indexOfTopLevelItem(item) if item is not None else -1
        return self._shown[row] if 0 <= row < len(self._shown) else None

    def _show_buttons(self) -> None:
        chosen = self.selected
        state = self._registry.state(chosen) if chosen is not None else None
        busy = self._download is not None
        self.use_button.enabled = state in (State.BUNDLED, State.ON_DISK)
        self.download_button.enabled = (
            state is State.NOT_ON_DISK and not busy and chosen is not None and chosen.url is not None
        )
        self.delete_button.enabled = state is State.ON_DISK
        self.file_button.enabled = not busy
        self.cancel_button.setVisible(busy)
        self.download_button.setVisible(not busy)
        if chosen is not None and not busy:
            self.note.text = f"{chosen.title}. {prompts_sentence(chosen)}{chosen.citation}"

    # --------------------------------------------------------------------------------------------------- what it does

    def use(self) -> None:
        """Use the selected model."""
        if self.selected is not None:
            self._on_change(self.selected.id)
            self.dialog.hide()

    def download(self) -> None:
        """Fetch the selected model, after a question about where it comes from."""
        chosen = self.selected
        if chosen is None or self._download is not None:
            return
        if not slicer.util.confirmOkCancelDisplay(question(chosen), _("MedSAMSlicer")):
            return
        self._download = ModelDownload(self._registry, chosen)
        self.note.text = _("Downloading {title}...").format(title=chosen.title)
        self.bar.setRange(0, 0)
        self.bar.setVisible(True)
        self._timer.start()
        self._show_buttons()

    def cancel(self) -> None:
        """Stop the download."""
        if self._download is not None:
            self._download.cancel()
            self.note.text = _("Stopping...")

    def delete(self) -> None:
        """Delete the selected model from this computer."""
        chosen = self.selected
        if chosen is not None:
            self._attempt(lambda: self._registry.delete(chosen))
            self._changed(None)

    def add_file(self) -> None:
        """Take a file of the user's own into the list."""
        answer = qt.QFileDialog.getOpenFileName(
            self.dialog, _("Add a weights file"), "", _("Weights (*.pt *.pth *.safetensors)")
        )
        name = answer[0] if isinstance(answer, (tuple, list)) else answer
        if name:
            self._attempt(lambda: self._registry.add(str(name)))
            self._changed(None)

    def _attempt(self, action: Callable[[], object]) -> None:
        try:
            action()
        except MedSAMError as error:
            slicer.util.errorDisplay(str(error), parent=self.dialog)

    def _changed(self, use: str | None) -> None:
        self.fill()
        self._on_change(use)

    def _turn(self) -> None:
        """Read the progress of the download; the short wait lets its thread run."""
        news = self._download.news(_WAIT) if self._download is not None else None
        if isinstance(news, Bytes):
            self.bar.setRange(0, 1000 if news.total else 0)
            if news.total:
                self.bar.setValue(round(1000 * news.done / news.total))
            self.note.text = _("{done} MB downloaded").format(done=f"{news.done / 1e6:.0f}")
        elif isinstance(news, Ended):
            self._end(news)

    def _end(self, ended: Ended) -> None:
        self._timer.stop()
        self._download = None
        self.bar.setVisible(False)
        self._changed(None)
        if ended.error is None:
            self.note.text = _("Stopped; the next download continues from there.")
        elif ended.error:
            self.note.text = ended.error
        else:
            self.note.text = _("{title} is on this computer; press Use.").format(title=ended.checkpoint.title)


def _columns() -> tuple[tuple[str, str], ...]:
    """Header and tooltip of each column, in order."""
    return (
        (_("Model"), _("The networks that MedSAMSlicer can use")),
        (_("Good for"), _("What its authors trained it for")),
        (_("Prompts"), _("Prompts it accepts for the first mask")),
        (
            _("Dice"),
            _(
                "Mean overlap with the truth from one box and the range, on 28 organs and lesions in real CT, MR and "
                "PET volumes; a dash: not measured by this project"
            ),
        ),
        (
            _("Time per slice"),
            _(
                "About how long one slice takes on this computer, estimated from the size of the network "
                "and a short measurement"
            ),
        ),
        (_("Size"), _("Size of the file")),
        (_("License"), _("Each model has its own license")),
        (_("State"), _("On this computer, or not downloaded yet")),
    )


_MODEL, _DICE, _SECONDS, _SIZE = 0, 3, 4, 5  # columns


def _prompts(checkpoint: Checkpoint) -> str:
    """The kinds of prompts that a model knows, in words."""
    words = {"box": _("box"), "point": _("point"), "mask": _("mask")}
    return ", ".join(words[kind] for kind in checkpoint.prompts if kind in words)


def _rounded(seconds: float) -> str:
    """An estimate with one or two significant digits."""
    if seconds >= 9.5:
        return f"{float(f'{seconds:.1g}'):.0f}" if seconds >= 95 else f"{seconds:.0f}"
    return f"{float(f'{seconds:.1g}'):g}"


def prompts_sentence(checkpoint: Checkpoint) -> str:
    """The prompts that the model was trained with; empty when it knows all or that is not known."""
    if checkpoint.prompts != ("box",):
        return ""
    return _("It accepts only boxes: begin with a box, not a point.") + " "


def question(checkpoint: Checkpoint) -> str:
    """Return what the user is asked before a download: what, how big, from where, under which license."""
    size = f"{checkpoint.bytes / 1e6:.0f} MB" if checkpoint.bytes else _("size not known")
    text = _("Download {title} ({size}, license {license}) from {url}?").format(
        title=checkpoint.title, size=size, license=checkpoint.license, url=checkpoint.url
    )
    if checkpoint.sha256 is None:
        text += "\n\n" + _(
            "No checksum of it is published, so the download cannot be verified. Only numbers are read from it, never "
            "code; its checksum is remembered for later."
        )
    return text
