"""The dialog of models, downloading from a server on this computer."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from MedSAMSlicerLib.models import BUNDLED_ID, Checkpoint, Registry, State, sha256_of

sys.path.insert(
    0, str(Path(__file__).resolve().parents[1] / "Models")
)  # pytest's importlib mode leaves it out
from file_server import FileServer, running_server

CONTENT = Registry(cache=Path("unused")).open(BUNDLED_ID).path.read_bytes()


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with running_server() as files:
        files.content = CONTENT
        yield files


def registry_of(server: FileServer, folder: Path, sha256: str | None = None) -> Registry:
    entry = Checkpoint(
        id="weights",
        title="Weights: for the test",
        file="weights.pt",
        bytes=len(CONTENT),
        sha256=sha256,
        license="Apache-2.0",
        citation="Nobody.",
        url=server.url(),
    )
    return Registry([entry], cache=folder / "cache", bundled=())


@pytest.fixture
def opened(host, server, tmp_path):
    from MedSAMSlicerLib.panel.models_dialog import ModelsDialog

    registry = registry_of(server, tmp_path)
    used: list[str | None] = []
    dialog = ModelsDialog(registry, used.append)
    dialog.open()
    dialog.table.setCurrentItem(dialog.table.topLevelItem(0))
    yield dialog, registry, used
    dialog.close()


def test_a_model_is_downloaded_after_a_question_used_and_deleted(host, opened):
    dialog, registry, used = opened
    assert dialog.download_button.enabled
    assert not dialog.use_button.enabled
    host.dialogs.answer(True)
    host.press(dialog.download_button)
    assert host.wait_until(lambda: used == [None], 20)
    (checkpoint,) = registry
    assert registry.state(checkpoint) is State.ON_DISK
    assert checkpoint.sha256 == sha256_of(registry.path_of(checkpoint))
    host.press(dialog.use_button)
    assert used == [None, "weights"]
    dialog.open()
    host.press(dialog.delete_button)
    assert registry.state(checkpoint) is State.NOT_ON_DISK


def test_no_to_the_question_downloads_nothing(host, opened, server):
    dialog, _registry, _used = opened
    host.dialogs.answer(False)
    host.press(dialog.download_button)
    assert server.requests == []


def test_a_download_can_be_canceled_and_says_so(host, opened, server):
    dialog, registry, _used = opened
    server.chunk_pause_s = 0.2
    host.dialogs.answer(True)
    host.press(dialog.download_button)
    assert host.wait_until(lambda: dialog.cancel_button.visible, 5)
    host.press(dialog.cancel_button)
    assert host.wait_until(lambda: dialog.download_button.visible, 20)
    assert "Stopped" in dialog.note.text
    (checkpoint,) = registry
    assert registry.state(checkpoint) is State.NOT_ON_DISK


def test_a_failed_download_is_reported_in_one_sentence(host, opened, server):
    dialog, _registry, _used = opened
    server.statuses = [404] * 5
    host.dialogs.answer(True)
    host.press(dialog.download_button)
    assert host.wait_until(lambda: dialog.download_button.visible and "404" in dialog.note.text, 20)


def test_closing_the_dialog_ends_a_download_and_its_thread(host, opened, server):
    import threading

    dialog, _registry, _used = opened
    server.chunk_pause_s = 0.1
    host.dialogs.answer(True)
    host.press(dialog.download_button)
    dialog.close()
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("download")] == []


def test_the_question_names_size_license_and_address_and_warns_without_a_checksum(host, server, tmp_path):
    from MedSAMSlicerLib.panel.models_dialog import question

    (unknown,) = registry_of(server, tmp_path)
    (known,) = registry_of(server, tmp_path, sha256="0" * 64)
    for text in (question(unknown), question(known)):
        assert "5 MB" in text
        assert "Apache-2.0" in text
        assert server.url() in text
    assert "cannot be verified" in question(unknown)
    assert "cannot be verified" not in question(known)
