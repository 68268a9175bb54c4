"""The state of a run, in one file or in parts, is whole or refused."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from MedSAMSlicerLib.core.errors import CheckpointError, OutputError  # noqa: E402
from MedSAMSlicerLib.lab.training.state import has_state, read_state, write_state  # noqa: E402


def state(value: float) -> dict[str, object]:
    return {"model": {"w": torch.full((700_000,), value)}, "counts": [1, 2], "config": "{}"}


def test_a_state_in_parts_is_the_same_state(tmp_path: Path) -> None:
    assert read_state(tmp_path, "cpu") is None
    assert not has_state(tmp_path)
    write_state(tmp_path, state(3.0), part_mb=1)
    assert has_state(tmp_path)
    assert all(path.stat().st_size <= 1_000_000 for path in tmp_path.iterdir())
    read = read_state(tmp_path, "cpu")
    assert read is not None
    assert torch.equal(read["model"]["w"], torch.full((700_000,), 3.0))
    assert read["counts"] == [1, 2]


def test_a_new_state_leaves_nothing_of_the_old_one(tmp_path: Path) -> None:
    for value, part_mb in ((1.0, 0), (2.0, 1), (3.0, 1), (4.0, 0)):
        write_state(tmp_path, state(value), part_mb)
        assert float(read_state(tmp_path, "cpu")["model"]["w"][0]) == value
        assert len(list(tmp_path.iterdir())) == (4 if part_mb else 1)


def test_a_part_that_is_missing_or_altered_is_noticed(tmp_path: Path) -> None:
    write_state(tmp_path, state(1.0), part_mb=1)
    part = sorted(tmp_path.glob("*.part"))[1]
    content = part.read_bytes()
    part.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(CheckpointError, match="belong together"):
        read_state(tmp_path, "cpu")
    part.unlink()
    with pytest.raises(CheckpointError, match="incomplete"):
        read_state(tmp_path, "cpu")


def test_a_file_that_is_no_state_is_refused(tmp_path: Path) -> None:
    (tmp_path / "state.pt").write_bytes(b"no state")
    with pytest.raises(CheckpointError, match="damaged"):
        read_state(tmp_path, "cpu")


@pytest.mark.parametrize("part_mb", [0, 1])
def test_where_there_is_no_room_the_state_before_stays(
    tmp_path: Path, part_mb: int, small_disk: AbstractContextManager[None]
) -> None:
    write_state(tmp_path, {"step": 1}, part_mb)
    files = sorted(tmp_path.iterdir())
    with small_disk, pytest.raises(OutputError, match="larger than is allowed"):
        write_state(tmp_path, state(2.0), part_mb)
    assert sorted(tmp_path.iterdir()) == files
    assert read_state(tmp_path, "cpu") == {"step": 1}
