"""The registry of this package: what its entries say, and that they are right."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest
from record_bundled import record

from MedSAMSlicerLib import models
from MedSAMSlicerLib.core.errors import CheckpointError
from MedSAMSlicerLib.models import BUNDLED_ID, Checkpoint, Registry, read_entries, sha256_of
from MedSAMSlicerLib.sam2 import checkpoint as checkpoints
from MedSAMSlicerLib.sam2 import config


def test_every_entry_has_license_citation_and_how_it_is_loaded() -> None:
    entries = read_entries()
    assert len({e.id for e in entries}) == len({e.file for e in entries}) == len(entries)
    for entry in entries:
        assert entry.title
        assert entry.citation
        assert entry.config
        assert entry.license in {"Apache-2.0", "CC-BY-SA-4.0"}
        by_hand = entry.bundled or (entry.url is None and entry.source)
        assert by_hand or (entry.url or "").startswith("https://")
        assert by_hand or (entry.url or "").endswith("/" + entry.file)


def test_official_checkpoints_have_size_and_hash() -> None:
    official = [e for e in read_entries() if e.id.startswith("sam2.1-")]
    assert [e.bytes for e in official] == [156008466, 184416285, 323606802, 898083611]
    assert all(re.fullmatch("[0-9a-f]{64}", e.sha256 or "") for e in official)
    assert {e.image_size for e in official} == {1024}


def test_every_download_names_a_revision_that_does_not_change_and_what_is_known_of_its_size() -> None:
    for entry in (e for e in read_entries() if e.url is not None):
        fixed = entry.sha256 is not None or re.search(r"/resolve/[0-9a-f]{40}/|/records/\d+/", entry.url)
        assert fixed, entry.url
        assert (entry.bytes is None) == (entry.bytes_between is not None)
        if entry.bytes_between is not None:
            least, most = entry.bytes_between
            assert 0 < least < most < 1.2 * least


BUNDLED = [entry for entry in read_entries() if entry.bundled]


def test_the_own_network_and_litemedsam_are_bundled() -> None:
    assert [entry.id for entry in BUNDLED] == [BUNDLED_ID, "litemedsam"]


@pytest.mark.parametrize("entry", BUNDLED, ids=lambda entry: entry.id)
def test_the_bundled_file_is_the_one_the_registry_describes(entry: Checkpoint) -> None:
    path = Registry(cache=Path("unused")).path_of(entry)
    assert path is not None
    message = "run: python Testing/Models/record_bundled.py"
    assert (entry.bytes, entry.sha256) == (path.stat().st_size, sha256_of(path)), message


@pytest.mark.parametrize("entry", BUNDLED, ids=lambda entry: entry.id)
def test_the_registry_names_the_network_and_the_size_that_the_bundled_file_was_trained_for(
    entry: Checkpoint,
) -> None:
    path = Registry(cache=Path("unused")).path_of(entry)
    assert path is not None
    trained_for = checkpoints.load_network(path).config
    assert (entry.config, entry.image_size) == (trained_for.name, trained_for.image_size)


def test_a_new_bundled_checkpoint_is_recorded_and_nothing_else_is_changed(tmp_path: Path) -> None:
    registry, checkpoint = tmp_path / "registry.json", tmp_path / "medsamslicer_nano.safetensors"
    registry.write_bytes(Path(models.__file__).with_name("registry.json").read_bytes())
    for weights in (b"first weights", b"better weights"):
        checkpoint.write_bytes(weights)
        record(registry, checkpoint)
        bundled, *others = read_entries(registry)
        assert (bundled.bytes, bundled.sha256) == (len(weights), hashlib.sha256(weights).hexdigest())
        assert others == list(read_entries()[1:])


def test_every_configuration_of_the_registry_exists() -> None:
    names = {
        value.name for value in vars(config).values() if isinstance(value, config.Config | config.Sam1Config)
    }
    assert {e.config for e in read_entries()} <= names


def test_the_registry_says_which_prompts_and_which_image_size_each_network_was_trained_with() -> None:
    published = {known.name: known for known in config.PUBLISHED}
    for entry in read_entries():
        assert entry.prompts == published[entry.config].prompts, entry.id
        assert entry.id == BUNDLED_ID or entry.image_size == published[entry.config].image_size, entry.id


def test_a_checkpoint_without_an_address_says_where_it_can_be_had(tmp_path: Path) -> None:
    registry = Registry(cache=tmp_path)
    with pytest.raises(CheckpointError, match=r"get sam-med2d_b\.pth from github\.com/OpenGVLab/SAM-Med2D"):
        registry.open("sam-med2d")
    with pytest.raises(CheckpointError, match=r"get sam-med2d_b\.pth from github\.com/OpenGVLab/SAM-Med2D"):
        registry.download(registry.find("sam-med2d"))


@pytest.mark.parametrize(
    "text", ["", "[]", '{"schema_version": 99, "checkpoints": []}', '{"checkpoints": []}']
)
def test_a_damaged_registry_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "registry.json"
    path.write_text(text)
    with pytest.raises(CheckpointError, match=str(path)):
        read_entries(path)
