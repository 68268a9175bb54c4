"""Examples that were made once are read as they were written."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from MedSAMSlicerLib.lab.training.example_files import example_file, read_examples, write_examples


def test_examples_are_read_as_they_were_written(tmp_path: Path) -> None:
    path = example_file(tmp_path / "lessons", "ct/one")
    assert path == tmp_path / "lessons" / "ct_one.npz"
    made = [{"image": np.full((n + 1, 4), n, np.uint8), "ratio": n / 2} for n in range(12)]
    for compressed in (False, True):
        write_examples(path, made, compressed)
        found = read_examples(path, ("image", "ratio"))
        assert [float(each["ratio"]) for each in found] == [each["ratio"] for each in made]
        assert all(np.array_equal(each["image"], one["image"]) for each, one in zip(found, made, strict=True))


def test_a_volume_without_examples_is_remembered_as_such(tmp_path: Path) -> None:
    path = example_file(tmp_path, "empty")
    write_examples(path, [])
    assert path.is_file()
    assert read_examples(path, ("image",)) == []
