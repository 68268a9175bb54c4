"""The registry: finding, trusting, listing, verifying and deleting checkpoints."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from file_server import FileServer

from MedSAMSlicerLib.core.errors import CheckpointError, DownloadError
from MedSAMSlicerLib.models import (
    Checkpoint,
    DownloadSettings,
    Question,
    Registry,
    State,
    cache_folder,
)


def archive(text: str) -> bytes:
    """A file as torch writes it, as far as its structure goes: a zip archive with a pickle in it."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as file:
        file.writestr(zipfile.ZipInfo("weights/data.pkl"), text)
    return content.getvalue()


WEIGHTS = archive("numbers" * 100)
KNOWN = Checkpoint(
    "known", "Known", "known.pt", bytes=len(WEIGHTS), sha256=hashlib.sha256(WEIGHTS).hexdigest()
)
UNKNOWN = Checkpoint("unknown", "Unknown", "unknown.pt", url="http://127.0.0.1:9/unknown.pt")
NANO = Checkpoint("nano", "Nano", "nano.safetensors", bundled=True)


def yes(_: Question) -> bool:
    return True


def no(_: Question) -> bool:
    return False


def never(question: Question) -> bool:
    raise AssertionError(f"asked: {question.text}")


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    (tmp_path / "bundled").mkdir()
    (tmp_path / "bundled" / "nano.safetensors").write_bytes(b"nano")
    (tmp_path / "offline").mkdir()
    (tmp_path / "cache").mkdir()
    return Registry(
        [NANO, KNOWN, UNKNOWN],
        cache=tmp_path / "cache",
        offline=[tmp_path / "offline"],
        bundled=[tmp_path / "nowhere", tmp_path / "bundled"],
    )


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A file of weights somewhere on the user's disk."""
    path = tmp_path / "mine.pt"
    path.write_bytes(archive("my own numbers"))
    return path


# --- folders ---


def test_the_cache_folder_is_the_one_the_environment_names(tmp_path: Path) -> None:
    assert cache_folder({"MEDSAMSLICER_MODELS": str(tmp_path)}) == tmp_path


@pytest.mark.parametrize(
    ("platform", "environ", "expected"),
    [
        ("linux", {"XDG_CACHE_HOME": "/x"}, Path("/x/medsamslicer/models")),
        ("linux", {}, Path.home() / ".cache/medsamslicer/models"),
        ("darwin", {}, Path.home() / "Library/Caches/MedSAMSlicer/models"),
        ("win32", {"LOCALAPPDATA": "/l"}, Path("/l/MedSAMSlicer/models")),
    ],
)
def test_the_cache_folder_is_where_the_system_keeps_such_files(
    monkeypatch: pytest.MonkeyPatch, platform: str, environ: dict[str, str], expected: Path
) -> None:
    monkeypatch.setattr("sys.platform", platform)
    assert cache_folder(environ) == expected


@pytest.mark.skipif(os.name != "posix", reason="the list of users of POSIX systems")
def test_a_user_without_a_home_folder_gets_one_among_the_temporary_files(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import pwd

    def unknown(number: int) -> None:
        raise KeyError(number)

    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert cache_folder({}) == tmp_path / f"medsamslicer-{os.getuid()}" / "models"
    with pytest.raises(CheckpointError, match="'sam9'"):
        Registry(cache=cache_folder({})).find("sam9")
    with pytest.raises(CheckpointError, match=r"~/sam9\.pt does not exist"):
        Registry(cache=cache_folder({})).find("~/sam9.pt")


def test_checkpoints_are_found_in_the_offline_folder(registry: Registry, tmp_path: Path) -> None:
    (tmp_path / "offline" / "known.pt").write_bytes(WEIGHTS)
    assert registry.open("known", never).path == tmp_path / "offline" / "known.pt"


def test_the_environment_names_offline_folders(tmp_path: Path) -> None:
    made = Registry.from_environment({"MEDSAMSLICER_MODELS": "c", "MEDSAMSLICER_OFFLINE": str(tmp_path)})
    assert made.offline == (tmp_path,)


# --- finding ---


def test_an_unknown_name_is_quoted_with_the_known_ones(registry: Registry) -> None:
    with pytest.raises(CheckpointError, match=r"'sam9'; choose one of nano, known, unknown"):
        registry.find("sam9")


@pytest.mark.parametrize("name", ["no/such/file", "weights.pt", "weights.safetensors"])
def test_a_file_that_does_not_exist_is_named(registry: Registry, name: str) -> None:
    with pytest.raises(CheckpointError, match=f"{name} does not exist"):
        registry.find(name)


def test_a_folder_is_no_checkpoint(registry: Registry, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=f"{tmp_path} is a folder"):
        registry.find(tmp_path)


def test_states_are_bundled_downloaded_or_missing(registry: Registry) -> None:
    (registry.cache / "known.pt").write_bytes(WEIGHTS)
    assert [registry.state(c) for c in registry] == [State.BUNDLED, State.ON_DISK, State.NOT_ON_DISK]


# --- trusting ---


def test_the_bundled_checkpoint_is_used_without_a_question(registry: Registry) -> None:
    assert registry.open("nano", never).sha256 == hashlib.sha256(b"nano").hexdigest()


def test_a_known_hash_is_used_without_a_question(registry: Registry) -> None:
    (registry.cache / "known.pt").write_bytes(WEIGHTS)
    assert registry.open("known", never).sha256 == KNOWN.sha256


def test_another_file_under_a_known_name_is_refused(registry: Registry) -> None:
    (registry.cache / "known.pt").write_bytes(b"evil")
    with pytest.raises(CheckpointError, match=r"known\.pt is not the expected file"):
        registry.open("known", yes)


def test_a_checkpoint_that_is_not_here_says_how_to_get_it(registry: Registry) -> None:
    with pytest.raises(CheckpointError, match="medsamslicer models download known"):
        registry.open("known", yes)


def test_an_own_file_is_asked_about_once_and_then_remembered(registry: Registry, own: Path) -> None:
    asked: list[str] = []

    def confirm(question: Question) -> bool:
        asked.append(question.text)
        return True

    first = registry.open(own, confirm)
    assert str(own) in asked[0]
    assert first.sha256 in asked[0]
    assert registry.open(str(own), never).sha256 == first.sha256
    assert registry.open("mine", never).path == own


@pytest.mark.parametrize("confirm", [no, None])
def test_an_own_file_that_is_not_confirmed_is_not_used(
    registry: Registry, own: Path, confirm: object
) -> None:
    with pytest.raises(CheckpointError, match=r"mine\.pt was not confirmed"):
        registry.open(own, confirm)  # type: ignore[arg-type]
    assert not (registry.cache / "confirmed.json").exists()


def test_an_own_file_that_changed_since_is_an_error_until_added_again(registry: Registry, own: Path) -> None:
    registry.open(own, yes)
    own.write_bytes(archive("other numbers"))
    with pytest.raises(CheckpointError, match=r"mine\.pt is not the expected file"):
        registry.open(own, yes)
    registry.add(own)
    assert registry.open(own, never).sha256 == hashlib.sha256(archive("other numbers")).hexdigest()


def test_a_copy_of_a_known_checkpoint_is_recognized_anywhere(registry: Registry, tmp_path: Path) -> None:
    copy = tmp_path / "renamed.bin"
    copy.write_bytes(WEIGHTS)
    opened = registry.open(copy, never)
    assert (opened.checkpoint.id, opened.path) == ("known", copy)


def test_two_own_files_of_one_name_are_both_kept(registry: Registry, own: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = tmp_path / "other" / "mine.pt"
    other.write_bytes(archive("the other one"))
    registry.open(own, yes)
    registry.open(other, yes)
    assert registry.open(own, never).path == own
    assert registry.open(other, never).path == other


def test_the_second_file_of_one_name_is_opened_under_the_id_it_is_recorded_by(
    registry: Registry, own: Path, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    other = tmp_path / "other" / "mine.pt"
    other.write_bytes(archive("the other one"))
    assert registry.open(own, yes).checkpoint.id == "mine"
    opened = registry.open(other, yes)
    assert opened.checkpoint.id == f"mine-{opened.sha256[:8]}"
    assert registry.open(other, never).checkpoint == opened.checkpoint
    assert registry.open(opened.checkpoint.id, never).path == other


def test_a_saved_checkpoint_is_found_by_its_hash_before_its_id(
    registry: Registry, own: Path, tmp_path: Path
) -> None:
    first = registry.open(own, yes)
    other = tmp_path / "other.pt"
    other.write_bytes(archive("the other one"))
    second = registry.add(other)
    assert registry.open_saved("mine", second.sha256, never).path == other
    assert registry.open_saved("gone", first.sha256, never).path == own
    assert registry.open_saved("mine", None, never).path == own
    assert registry.open_saved("mine", "0" * 64, never).path == own
    with pytest.raises(CheckpointError, match="'gone'"):
        registry.open_saved("gone", "0" * 64, never)


def test_a_saved_checkpoint_is_found_in_a_copy_when_the_first_file_has_changed(
    registry: Registry, own: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "copy.pt"
    copy.write_bytes(own.read_bytes())
    digest = registry.add(own).sha256
    registry.add(copy)
    own.write_bytes(b"fine-tuned since")
    assert registry.open_saved("mine", digest, never).path == copy


def test_a_file_is_added_under_a_name_of_ones_own(registry: Registry, own: Path) -> None:
    registry.add(own, "best")
    assert registry.open("best", never).path == own


def test_a_name_of_the_registry_cannot_be_taken(registry: Registry, own: Path) -> None:
    with pytest.raises(CheckpointError, match="'known' belongs"):
        registry.add(own, "known")


def test_a_damaged_file_of_confirmed_hashes_is_named(registry: Registry) -> None:
    (registry.cache / "confirmed.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"confirmed\.json cannot be read"):
        registry.find("known")


def run_python(program: str, *arguments: str) -> subprocess.Popen[bytes]:
    path = str(Path(__file__).parents[2] / "MedSAMSlicer")
    return subprocess.Popen(
        [sys.executable, "-c", program, *arguments], env={**os.environ, "PYTHONPATH": path}
    )


def test_programs_that_confirm_at_the_same_time_lose_nothing(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from MedSAMSlicerLib.models import Registry; "
        "Registry([], cache=Path(sys.argv[1])).open(sys.argv[2], lambda question: True)"
    )
    files = [tmp_path / f"w{number}.pt" for number in range(4)]
    for file in files:
        file.write_bytes(archive(file.name))
    running = [run_python(program, str(tmp_path / "cache"), str(file)) for file in files]
    assert [process.wait() for process in running] == [0] * 4
    content = json.loads((tmp_path / "cache" / "confirmed.json").read_text())
    assert set(content["files"]) == set(map(str, files))


@pytest.mark.skipif(os.name != "posix", reason="folder permissions of Unix")
def test_a_confirmed_file_is_used_although_its_hash_cannot_be_recorded(
    registry: Registry, own: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (registry.cache / ".confirmed.json.lock").mkdir()  # not even root can open a lock file there
    assert registry.open(own, yes).path == own
    assert "cannot be recorded" in caplog.text
    with pytest.raises(CheckpointError, match="cannot be recorded"):
        registry.add(own)


# --- downloading ---


@pytest.fixture
def online(registry: Registry, server: FileServer) -> Registry:
    server.content = WEIGHTS
    entries = [
        NANO,
        replace(KNOWN, url=server.url("known.pt")),
        replace(UNKNOWN, url=server.url("unknown.pt")),
    ]
    return Registry(entries, cache=registry.cache, offline=registry.offline, bundled=registry._bundled)


def test_a_download_lands_in_the_cache_folder(online: Registry, quick: DownloadSettings) -> None:
    got = online.download(online.find("known"), confirm=never, settings=quick)
    assert got.path == online.cache / "known.pt"
    assert online.state(online.find("known")) is State.ON_DISK


def test_an_unknown_hash_is_asked_about_before_the_download(
    online: Registry, server: FileServer, quick: DownloadSettings
) -> None:
    with pytest.raises(CheckpointError, match="unknown was not confirmed"):
        online.download(online.find("unknown"), confirm=no, settings=quick)
    assert server.requests == []


def test_the_hash_of_the_first_download_is_recorded_and_holds_for_the_next(
    online: Registry, server: FileServer, quick: DownloadSettings
) -> None:
    online.download(online.find("unknown"), confirm=yes, settings=quick)
    assert online.open("unknown", never).sha256 == KNOWN.sha256
    online.delete(online.find("unknown"))
    server.content = other = archive("published later")
    with pytest.raises(DownloadError, match=r"wrong SHA-256.*medsamslicer models delete unknown --forget"):
        online.download(online.find("unknown"), confirm=never, settings=quick)
    online.delete(online.find("unknown"), forget=True)
    assert online.download(online.find("unknown"), confirm=yes, settings=quick).path.read_bytes() == other


def test_a_file_put_into_the_cache_by_hand_is_asked_about(registry: Registry) -> None:
    (registry.cache / "unknown.pt").write_bytes(archive("by hand"))
    with pytest.raises(CheckpointError, match="not confirmed"):
        registry.open("unknown", no)
    registry.open("unknown", yes)
    assert registry.open("unknown", never).sha256 == hashlib.sha256(archive("by hand")).hexdigest()


def test_what_is_on_disk_is_not_downloaded_again(
    online: Registry, server: FileServer, quick: DownloadSettings
) -> None:
    online.download(online.find("known"), settings=quick)
    online.download(online.find("known"), settings=quick)
    assert len(server.requests) == 1


# --- what is no checkpoint is not recorded ---


def safetensors(length: int = 4, there: int = 4) -> bytes:
    """A safetensors file with one weight of `length` bytes, of which `there` are there."""
    header = json.dumps({"w": {"dtype": "U8", "shape": [length], "data_offsets": [0, length]}}).encode()
    return len(header).to_bytes(8, "little") + header + bytes(there)


NOT_CHECKPOINTS = [
    (b"", "it is empty"),
    (
        b"<!DOCTYPE html><title>Log in</title>",
        "neither a torch archive nor a safetensors file; it begins with",
    ),
    (gzip.compress(WEIGHTS), "neither a torch archive nor a safetensors file"),
    (WEIGHTS[:-30], "incomplete or damaged torch archive"),
    (archive("x").replace(b"data.pkl", b"data.txt"), "not one that torch wrote"),
    (safetensors(there=3), "incomplete safetensors file: "),
    (safetensors()[:20], "its header is longer than the file"),
    ((10**18).to_bytes(8, "little") + b"{}", "its header is longer than the file"),
    ((4).to_bytes(8, "little") + b"{[}]", "header cannot be read"),
    ((2).to_bytes(8, "little") + b"{}", "header cannot be read"),
]


@pytest.mark.parametrize(("content", "why"), NOT_CHECKPOINTS)
def test_what_a_server_sends_instead_of_a_checkpoint_is_not_recorded(
    online: Registry, server: FileServer, quick: DownloadSettings, content: bytes, why: str
) -> None:
    server.content = content
    with pytest.raises(DownloadError, match=why if content else "0 bytes"):
        online.download(online.find("unknown"), confirm=yes, settings=quick)
    server.content = WEIGHTS
    assert online.download(online.find("unknown"), confirm=yes, settings=quick).sha256 == KNOWN.sha256


@pytest.mark.parametrize(("content", "why"), NOT_CHECKPOINTS)
def test_an_own_file_that_is_no_checkpoint_is_not_asked_about(
    registry: Registry, own: Path, content: bytes, why: str
) -> None:
    own.write_bytes(content)
    with pytest.raises(CheckpointError, match=f"mine.pt cannot be used.*{why}"):
        registry.open(own, never)
    with pytest.raises(CheckpointError, match=f"mine.pt cannot be added.*{why}"):
        registry.add(own)


def test_a_whole_safetensors_file_is_a_checkpoint(registry: Registry, own: Path) -> None:
    own.write_bytes(safetensors())
    assert registry.add(own).path == own


def test_a_file_that_does_not_load_is_not_recorded(
    online: Registry, server: FileServer, quick: DownloadSettings
) -> None:
    def refuse(checkpoint: Checkpoint, path: Path) -> None:
        assert (checkpoint.id, path.read_bytes()) == ("unknown", WEIGHTS)
        raise CheckpointError("It is another network.")

    with pytest.raises(DownloadError, match="It is another network"):
        online.download(online.find("unknown"), confirm=yes, loads=refuse, settings=quick)
    (online.cache / "unknown.pt").write_bytes(WEIGHTS)
    with pytest.raises(CheckpointError, match="It is another network"):
        online.open("unknown", yes, refuse)
    assert online.find("unknown").sha256 is None


def test_a_file_of_implausible_size_is_not_recorded(
    online: Registry, server: FileServer, quick: DownloadSettings
) -> None:
    entry = replace(online.find("unknown"), bytes_between=(10_000, 20_000))
    with pytest.raises(DownloadError, match=f"offers {len(WEIGHTS)} bytes, but this checkpoint has 10000"):
        online.download(entry, confirm=yes, settings=quick)
    (online.cache / "unknown.pt").write_bytes(WEIGHTS)
    with pytest.raises(CheckpointError, match=f"It has {len(WEIGHTS)} bytes; unknown has 10000 to 20000"):
        online.open(entry, yes)


def test_the_refusal_of_a_changed_file_says_how_to_accept_another_one(registry: Registry) -> None:
    path = registry.cache / "unknown.pt"
    path.write_bytes(WEIGHTS)
    registry.open("unknown", yes)
    path.write_bytes(archive("published later"))
    with pytest.raises(CheckpointError, match="models delete unknown --forget"):
        registry.open("unknown", yes)
    (registry.cache / "known.pt").write_bytes(b"evil")
    with pytest.raises(CheckpointError, match="not the expected file") as published:
        registry.open("known", yes)
    assert "--forget" not in str(published.value)


def test_parts_that_nobody_has_continued_for_a_month_are_deleted_by_the_next_download(
    online: Registry, quick: DownloadSettings
) -> None:
    month = 31 * 24 * 3600
    for name, age in (("old.pt.part", month), ("old.pt.part.json", month), ("new.pt.part", 0)):
        path = online.cache / name
        path.write_bytes(b"x")
        os.utime(path, (path.stat().st_atime - age, path.stat().st_mtime - age))
    online.download(online.find("known"), settings=quick)
    visible = {path.name for path in online.cache.iterdir() if not path.name.startswith(".")}
    assert visible == {"known.pt", "new.pt.part"}


# --- verifying and deleting ---


def test_the_note_of_a_download_that_was_ended_right_after_its_last_step_is_swept(
    online: Registry, quick: DownloadSettings
) -> None:
    online.download(online.find("known"), settings=quick)
    note = online.cache / f"{online.find('known').file}.part.json"
    note.write_text("{}", encoding="utf-8")
    online.download(online.find("known"), settings=quick)
    assert not note.exists()


def test_verify_passes_the_right_and_names_the_wrong_file(registry: Registry) -> None:
    (registry.cache / "known.pt").write_bytes(WEIGHTS)
    registry.verify(registry.find("known"))
    (registry.cache / "known.pt").write_bytes(WEIGHTS[:-1])
    with pytest.raises(CheckpointError, match="not the expected file"):
        registry.verify(registry.find("known"))


def test_verify_says_when_no_hash_is_known(registry: Registry) -> None:
    (registry.cache / "unknown.pt").write_bytes(b"x")
    with pytest.raises(CheckpointError, match="The SHA-256 of unknown is not known"):
        registry.verify(registry.find("unknown"))


def test_delete_removes_file_and_broken_download(registry: Registry) -> None:
    for name in ("known.pt", "known.pt.part", "known.pt.part.json"):
        (registry.cache / name).write_bytes(WEIGHTS)
    assert registry.delete(registry.find("known")) == registry.cache / "known.pt"
    assert list(registry.cache.iterdir()) == []


def test_deleting_what_is_not_there_is_no_error(registry: Registry) -> None:
    assert registry.delete(registry.find("known")) is None


def test_the_bundled_checkpoint_is_never_deleted(registry: Registry, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="bundled"):
        registry.delete(registry.find("nano"))
    assert (tmp_path / "bundled" / "nano.safetensors").exists()


def test_a_file_of_the_offline_folder_is_not_deleted(registry: Registry, tmp_path: Path) -> None:
    (tmp_path / "offline" / "known.pt").write_bytes(WEIGHTS)
    with pytest.raises(CheckpointError, match="offline folder"):
        registry.delete(registry.find("known"))


def test_deleting_an_own_file_only_forgets_it(registry: Registry, own: Path) -> None:
    registry.add(own, "best")
    registry.delete(registry.find("best"))
    assert own.exists()
    with pytest.raises(CheckpointError, match="'best'"):
        registry.find("best")


def test_the_registry_needs_neither_torch_nor_numpy() -> None:
    program = "import sys, MedSAMSlicerLib.models; sys.exit(bool({'torch', 'numpy'} & set(sys.modules)))"
    assert run_python(program).wait() == 0
