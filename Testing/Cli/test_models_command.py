"""`medsamslicer models` on a folder of its own and a server on this computer."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from file_server import FileServer, running_server

from MedSAMSlicerLib.cli.models import loads
from MedSAMSlicerLib.core.errors import CheckpointError
from MedSAMSlicerLib.models import BUNDLED_ID, Checkpoint, read_entries, registry
from MedSAMSlicerLib.sam2.checkpoint import save, seeded
from MedSAMSlicerLib.sam2.config import NANO


@pytest.fixture(scope="module")
def random_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundled network with random weights: a known kind of a plausible size."""
    path = tmp_path_factory.mktemp("weights") / "random.safetensors"
    save(seeded(NANO, 3), path)
    return path


@pytest.fixture
def mirror(random_checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    """A server with small weights under every name, and a registry in which those of MedSAM2 are that small."""
    small = {"config": "medsamslicer_nano", "bytes_between": (1_000_000, 100_000_000)}
    entries = [replace(e, **small) if e.id.startswith("medsam2") else e for e in read_entries()]
    monkeypatch.setattr(registry, "read_entries", lambda: entries)
    with running_server() as server:
        server.content, server.chunk_bytes = random_checkpoint.read_bytes(), 1 << 20
        yield server


def test_list_shows_every_checkpoint_with_state_size_and_license(cli: Any) -> None:
    done = cli("models", "list")
    assert done.code == 0
    lines = done.out.splitlines()
    assert lines[0].split() == ["NAME", "STATE", "SIZE", "LICENSE", "PROMPTS"]
    assert [line.split()[0] for line in lines[1:]] == [entry.id for entry in read_entries()]
    (tiny,) = [line for line in lines if line.startswith("sam2.1-tiny")]
    assert "not downloaded  156 MB" in tiny
    assert "Apache-2.0" in tiny
    assert "box, point, mask" in tiny
    (lite,) = [line for line in lines if line.startswith("litemedsam")]
    assert re.split(r" {2,}", lite)[4] == "box"


def test_list_as_json_can_be_read_by_a_program(cli: Any) -> None:
    content = json.loads(cli("models", "list", "--json").out)
    assert {entry["id"] for entry in content} >= {BUNDLED_ID, "sam2.1-large", "medsam2-latest"}
    assert {entry["state"] for entry in content} <= {"bundled", "on disk", "not downloaded"}


def test_show_prints_all_of_one_checkpoint(cli: Any) -> None:
    content = json.loads(cli("models", "show", "medsam2-latest").out)
    assert content["license"] == "CC-BY-SA-4.0"
    assert "MedSAM2" in content["citation"]


def test_an_unknown_name_is_an_error(cli: Any) -> None:
    done = cli("models", "show", "sam9")
    assert done.code == 1
    assert "'sam9'" in done.err


def test_a_download_prints_where_the_file_is(cli: Any, mirror: FileServer, own_cache: Path) -> None:
    done = cli("models", "download", "medsam2-latest", "--yes", "--mirror", mirror.address)
    assert done.code == 0, done
    assert done.out == f"{own_cache / 'MedSAM2_latest.pt'}\n"
    assert done.err == ""
    assert (own_cache / "MedSAM2_latest.pt").read_bytes() == mirror.content
    assert "on disk" in next(
        line for line in cli("models", "list").out.splitlines() if "medsam2-latest" in line
    )


def test_an_unpublished_hash_needs_a_yes(cli: Any, mirror: FileServer, own_cache: Path) -> None:
    done = cli("models", "download", "medsam2-latest", "--mirror", mirror.address)
    assert done.code == 1
    assert "--yes" in done.err
    assert mirror.requests == []
    assert list(own_cache.iterdir()) == []


def test_a_server_with_another_file_is_refused(cli: Any, mirror: FileServer, own_cache: Path) -> None:
    done = cli("models", "download", "sam2.1-tiny", "--mirror", mirror.address)
    assert done.code == 1
    assert f"offers {len(mirror.content)} bytes, but this checkpoint has 156008466" in done.err
    assert not (own_cache / "sam2.1_hiera_tiny.pt").exists()


def test_the_mirror_of_the_environment_is_used(
    cli: Any, mirror: FileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDSAMSLICER_MIRROR", mirror.address)
    assert cli("models", "download", "medsam2-us-heart", "--yes").code == 0
    assert mirror.requests[0][0] == "/MedSAM2_US_Heart.pt"


def test_verify_finds_a_file_that_was_changed(cli: Any, mirror: FileServer, own_cache: Path) -> None:
    cli("models", "download", "medsam2-latest", "--yes", "--mirror", mirror.address)
    assert "medsam2-latest: right" in cli("models", "verify", "medsam2-latest").out
    (own_cache / "MedSAM2_latest.pt").write_bytes(b"changed")
    done = cli("models", "verify")
    assert done.code == 1
    assert "MedSAM2_latest.pt is not the expected file" in done.out


def test_delete_removes_the_file_and_says_which(cli: Any, mirror: FileServer, own_cache: Path) -> None:
    cli("models", "download", "medsam2-latest", "--yes", "--mirror", mirror.address)
    done = cli("models", "delete", "medsam2-latest")
    assert done.out == f"medsam2-latest: deleted {own_cache / 'MedSAM2_latest.pt'}\n"
    assert cli("models", "delete", "medsam2-latest").out == "medsam2-latest: was not on this computer\n"


def test_the_bundled_checkpoint_is_not_deleted(cli: Any) -> None:
    done = cli("models", "delete", BUNDLED_ID)
    assert done.code == 1
    assert "bundled" in done.err


def test_an_own_file_gets_a_name_and_loses_it_again(
    cli: Any, random_checkpoint: Path, tmp_path: Path
) -> None:
    path = tmp_path / "mine.safetensors"
    path.write_bytes(random_checkpoint.read_bytes())
    done = cli("models", "add", path, "--name", "my-model")
    assert done.out == f"my-model: {path}, SHA-256 {hashlib.sha256(path.read_bytes()).hexdigest()}\n"
    assert "my-model" in cli("models", "list").out
    assert "still there" in cli("models", "delete", "my-model").out
    assert path.exists()
    assert "my-model" not in cli("models", "list").out


def test_a_file_that_does_not_exist_cannot_be_added(cli: Any, tmp_path: Path) -> None:
    done = cli("models", "add", tmp_path / "none.pt")
    assert done.code == 1
    assert "none.pt does not exist" in done.err


def test_weights_are_read_into_the_network_before_their_hash_is_recorded(
    random_checkpoint: Path, tmp_path: Path
) -> None:
    part = tmp_path / "weights.safetensors.part"
    part.write_bytes(random_checkpoint.read_bytes())
    loads(Checkpoint("nano", "Nano", "weights.safetensors", config="medsamslicer_nano"), part)
    part.write_bytes(random_checkpoint.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match="damaged, incomplete"):
        loads(Checkpoint("nano", "Nano", "weights.safetensors", config="medsamslicer_nano"), part)
