"""Bad input: the error names file or value in one line, the exit code is not 0, and no output is left."""

from __future__ import annotations

import os
import pickle
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from MedSAMSlicerLib.io.atomic import reserved

Check = Callable[..., str]


@pytest.fixture
def refused(segment: Any, tmp_path: Path) -> Check:
    """Run `segment`, check that it fails as it should, and return what it said."""
    folder = tmp_path / "results"
    folder.mkdir()

    def run(*words: object, **options: object) -> str:
        results = (
            "-o",
            folder / "out.seg.nrrd",
            "--picture",
            folder / "out.png",
            "--save-prompts",
            folder / "p.json",
        )
        done = segment(*results, *words, **options)
        assert done.code == 1, done
        assert done.out == ""
        assert done.err.startswith("medsamslicer: error: "), done
        assert done.err.count("\n") == 1, done
        assert "fault of the program" not in done.err
        assert list(folder.iterdir()) == []
        return str(done.err)

    return run


# --- volumes ---


def write_image(path: Path, array: np.ndarray, vector: bool | None = None) -> Path:
    sitk.WriteImage(sitk.GetImageFromArray(array, isVector=vector), str(path))
    return path


def truncated(path: Path, source: Path) -> Path:
    content = source.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    return path


def test_a_missing_file(refused: Check, tmp_path: Path) -> None:
    assert f"{tmp_path / 'none.nii.gz'} does not exist" in refused(volume=tmp_path / "none.nii.gz")


@pytest.mark.parametrize("suffix", [".nii.gz", ".nii", ".nrrd", ".mha"])
def test_a_truncated_file(refused: Check, ct_file: Path, tmp_path: Path, suffix: str) -> None:
    whole = tmp_path / f"whole{suffix}"
    sitk.WriteImage(sitk.ReadImage(str(ct_file)), str(whole))
    path = truncated(tmp_path / f"half{suffix}", whole)
    assert str(path) in refused(volume=path)


@pytest.mark.parametrize("suffix", [".nii.gz", ".nii", ".nrrd", ".mha", ".dcm", ".txt"])
def test_a_file_that_is_not_an_image(refused: Check, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"letter{suffix}"
    path.write_text("Dear Sir or Madam, " * 50)
    assert str(path) in refused(volume=path)


def test_an_empty_file(refused: Check, tmp_path: Path) -> None:
    path = tmp_path / "empty.nii"
    path.touch()
    assert f"{path} is empty" in refused(volume=path)


def test_a_folder_without_dicom(refused: Check, tmp_path: Path) -> None:
    folder = tmp_path / "nothing"
    folder.mkdir()
    assert str(folder) in refused(volume=folder)


def test_a_picture_where_a_volume_is_needed(refused: Check, tmp_path: Path) -> None:
    path = write_image(tmp_path / "plane.nii.gz", np.arange(600, dtype=np.int16).reshape(20, 30))
    message = refused(volume=path)
    assert str(path) in message
    assert "2-D" in message


def test_a_time_series_where_a_volume_is_needed(refused: Check, tmp_path: Path) -> None:
    path = write_image(
        tmp_path / "film.nii.gz", np.arange(2400, dtype=np.int16).reshape(2, 4, 10, 30), vector=False
    )
    assert "4-D" in refused(volume=path)


def test_a_constant_volume(refused: Check, tmp_path: Path) -> None:
    path = write_image(tmp_path / "flat.nii.gz", np.full((12, 40, 48), 7, np.int16))
    assert f"{path} holds nothing to segment: every voxel is 7" in refused(volume=path)


def test_a_volume_of_nothing_but_nan(refused: Check, tmp_path: Path) -> None:
    path = write_image(tmp_path / "nan.nii.gz", np.full((12, 40, 48), np.nan, np.float32))
    assert "NaN" in refused(volume=path)


def test_a_volume_without_voxels(refused: Check, tmp_path: Path) -> None:
    path = tmp_path / "empty.nrrd"
    path.write_text("NRRD0004\ntype: short\ndimension: 3\nsizes: 4 4 0\nencoding: raw\nendian: little\n\n")
    assert str(path) in refused(volume=path)


# --- prompts ---


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ("--box=6,40,15,49,25", "column 48.50"),
        ("--box=6,29,15,19,25", "inverted"),
        ("--box=6,19,15,19,25", "no size"),
        ("--point=6,48,3", "column 48.00"),
        ("--point=6,3,-1", "row -1.00"),
        ("--box=12,19,15,29,25", "Slice 12 does not exist: axis k has slices 0 to 11"),
        ("--point=99,3,3", "Slice 99"),
        ("--line=6,5,5,5,5", "no length"),
        ("--line=6,5,5,500,5", "column 500.00"),
    ],
)
def test_a_prompt_that_does_not_fit(refused: Check, prompt: str, message: str) -> None:
    assert message in refused(prompt=prompt)


def test_a_prompt_in_mm_outside(refused: Check) -> None:
    assert "(500.00, 0.00, 0.00) mm" in refused("--ras", prompt="--point=500,0,0")


def test_a_range_beyond_the_last_slice(refused: Check) -> None:
    assert "(3, 12)" in refused("--range", "3,12")


def test_a_prompt_outside_the_range(refused: Check) -> None:
    assert "slice 6, outside the range 7,9" in refused("--range", "7,9")


def test_a_label_file_of_another_geometry(refused: Check, tmp_path: Path) -> None:
    path = write_image(tmp_path / "label.nii.gz", np.ones((12, 40, 48), np.uint8))
    assert f"{path} does not fit the volume" in refused(prompt=f"--mask=6,{path}")


def test_a_missing_label_file(refused: Check, tmp_path: Path) -> None:
    assert f"{tmp_path / 'none.nii.gz'} does not exist" in refused(
        prompt=f"--mask=6,{tmp_path / 'none.nii.gz'}"
    )


@pytest.mark.parametrize("prompt", ["--box=6,1,2,3", "--point=a,b,c", "--mask=6", "--range=5"])
def test_an_option_that_cannot_be_understood_is_wrong_usage(
    segment: Any, tmp_path: Path, prompt: str
) -> None:
    done = segment("-o", tmp_path / "out.seg.nrrd", prompt, prompt="--point=6,20,20")
    assert (done.code, done.out) == (2, "")
    assert prompt.partition("=")[0] in done.err
    assert list(tmp_path.iterdir()) == []


def test_no_prompt_at_all_is_wrong_usage(segment: Any, tmp_path: Path) -> None:
    done = segment("-o", tmp_path / "out.seg.nrrd", prompt=None)
    assert done.code == 2
    assert "needs a prompt" in done.err


def test_a_prompts_file_that_is_missing_or_damaged(refused: Check, tmp_path: Path) -> None:
    path = tmp_path / "prompts.json"
    assert str(path) in refused("--prompts", path)
    path.write_bytes(b"\xff\xfe")
    assert str(path) in refused("--prompts", path)
    path.write_text("{")
    message = refused("--prompts", path)
    assert str(path) in message
    assert "JSON" in message


def test_a_prompts_file_of_another_volume(
    segment: Any, refused: Check, ct_file: Path, tmp_path: Path
) -> None:
    saved, other = tmp_path / "prompts.json", tmp_path / "other.nii.gz"
    segment("-o", tmp_path / "one.nii.gz", "--save-prompts", saved)
    image = sitk.ReadImage(str(ct_file))
    image.SetSpacing((1.5, 1.5, 4.0))
    sitk.WriteImage(image, str(other))
    assert "another volume" in refused("--prompts", saved, volume=other, prompt=None)


def test_a_prompts_file_for_another_axis(segment: Any, refused: Check, tmp_path: Path) -> None:
    segment("-o", tmp_path / "one.nii.gz", "--save-prompts", tmp_path / "prompts.json")
    assert "slice axis k, not j" in refused(
        "--prompts", tmp_path / "prompts.json", "--axis", "j", prompt=None
    )


def test_an_unknown_window(refused: Check) -> None:
    assert "'spleen'" in refused("--window", "spleen")


def test_a_window_that_is_upside_down(refused: Check) -> None:
    assert "240 to -160" in refused("--window", "240,-160")


# --- checkpoints ---


class Bomb:
    """Runs a program when it is unpickled."""

    def __init__(self, sentinel: Path) -> None:
        self.sentinel = sentinel

    def __reduce__(self) -> tuple[object, ...]:
        return os.system, (f"touch {self.sentinel}",)


def weights() -> dict[str, torch.Tensor]:
    from MedSAMSlicerLib.sam2.checkpoint import seeded
    from MedSAMSlicerLib.sam2.config import NANO

    return seeded(NANO, 3).state_dict()


def test_a_checkpoint_that_is_missing(refused: Check, tmp_path: Path) -> None:
    assert f"{tmp_path / 'none.pt'} does not exist" in refused("--model", tmp_path / "none.pt")


def test_an_unknown_model_name(refused: Check) -> None:
    assert "'sam9'" in refused("--model", "sam9")


def test_a_truncated_checkpoint(refused: Check, random_checkpoint: Path, tmp_path: Path) -> None:
    torch.save({"model": weights()}, tmp_path / "whole.pt")
    assert "half.pt" in refused("--model", truncated(tmp_path / "half.pt", tmp_path / "whole.pt"))
    half = truncated(tmp_path / "half.safetensors", random_checkpoint)
    assert "half.safetensors" in refused("--model", half)


@pytest.mark.parametrize("as_zip", [True, False])
def test_a_checkpoint_that_would_run_a_program_does_not(refused: Check, tmp_path: Path, as_zip: bool) -> None:
    path, sentinel = tmp_path / "bomb.pt", tmp_path / "exploded"
    if as_zip:
        torch.save({"model": Bomb(sentinel)}, path)
    else:
        path.write_bytes(pickle.dumps({"model": Bomb(sentinel)}))
    assert "bomb.pt" in refused("--model", path)
    assert not sentinel.exists()


def test_a_checkpoint_of_another_network(refused: Check, tmp_path: Path) -> None:
    torch.save({"model": torch.nn.Linear(3, 4).state_dict()}, tmp_path / "linear.pt")
    assert "linear.pt" in refused("--model", tmp_path / "linear.pt")


@pytest.mark.parametrize("change", ["missing", "unexpected", "shape"])
def test_a_checkpoint_with_a_wrong_key_names_it(refused: Check, tmp_path: Path, change: str) -> None:
    state = weights()
    key = "memory_encoder.out_proj.weight"
    assert key in state
    if change == "missing":
        del state[key]
    elif change == "shape":
        state[key] = state[key][:1].clone()
    else:
        key = "something.else"
        state[key] = torch.zeros(3)
    torch.save({"model": state}, tmp_path / "odd.pt")
    message = refused("--model", tmp_path / "odd.pt")
    assert "odd.pt" in message
    assert key in message


def test_a_checkpoint_with_nan(refused: Check, tmp_path: Path) -> None:
    state = weights()
    state["memory_encoder.out_proj.weight"][0] = float("nan")
    torch.save({"model": state}, tmp_path / "nan.pt")
    message = refused("--model", tmp_path / "nan.pt")
    assert "nan.pt" in message
    assert "memory_encoder.out_proj.weight" in message


# --- outputs ---


def test_an_output_of_an_unknown_kind(segment: Any, tmp_path: Path) -> None:
    done = segment("-o", tmp_path / "out.stl")
    assert done.code == 1
    assert "out.stl" in done.err
    assert ".seg.nrrd" in done.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("option", ["-o", "--picture", "--save-prompts"])
def test_an_output_folder_that_does_not_exist(segment: Any, tmp_path: Path, option: str) -> None:
    results = {"-o": tmp_path / "out.seg.nrrd", option: tmp_path / "none" / "out.seg.nrrd"}
    done = segment(*[word for pair in results.items() for word in pair])
    assert done.code == 1
    assert f"the folder {tmp_path / 'none'} does not exist" in done.err
    assert list(tmp_path.iterdir()) == []


def test_the_names_beside_a_labelmap_are_a_result_too(segment: Any, tmp_path: Path) -> None:
    done = segment("-o", tmp_path / "out.nii.gz", "--save-prompts", tmp_path / "out.labels.json")
    assert done.code == 1
    assert f"Cannot write {tmp_path / 'out.labels.json'}: two results have that name" in done.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("link", [False, True])
def test_no_result_replaces_a_mask_that_is_read(
    segment: Any, ct_file: Path, tmp_path: Path, link: bool
) -> None:
    mask = tmp_path / "liver.nii.gz"
    mask.write_bytes(ct_file.read_bytes())
    output = tmp_path / "link.nii.gz" if link else mask
    if link:
        output.symlink_to(mask)
    done = segment("-o", output, prompt=f"--mask=liver=6,{mask}")
    assert done.code == 1
    assert f"Cannot write {output}: that is the file of a --mask" in done.err
    assert mask.read_bytes() == ct_file.read_bytes()


def test_no_result_replaces_the_checkpoint_or_the_prompts(
    cli: Any, segment: Any, ct_file: Path, tmp_path: Path
) -> None:
    words = ("segment", ct_file, "--box=6,19,15,29,25", "-o", tmp_path / "out.seg.nrrd")
    done = cli(*words, "--model", tmp_path / "nano.pt", "--save-prompts", tmp_path / "nano.pt")
    assert done.code == 1
    assert f"Cannot write {tmp_path / 'nano.pt'}: that is the --model" in done.err
    path = tmp_path / "odd.png"
    done = segment("--prompts", path, "--picture", path, "-o", tmp_path / "out.seg.nrrd")
    assert f"Cannot write {path}: that is the file of the --prompts" in done.err


def test_a_picture_that_is_not_a_png_is_refused_before_anything_is_read(segment: Any, tmp_path: Path) -> None:
    picture = tmp_path / "e.jpg"
    done = segment("-o", tmp_path / "out.seg.nrrd", "--picture", picture, volume=tmp_path / "none.nrrd")
    assert done.code == 1
    assert f"Cannot write {picture}: a picture's name must end in .png" in done.err


@pytest.mark.parametrize("part", ["file", "folder"])
def test_a_name_too_long_for_the_file_system_is_one_sentence(
    refused: Check, tmp_path: Path, part: str
) -> None:
    long = "x" * 300
    path = tmp_path / f"{long}.seg.nrrd" if part == "file" else tmp_path / long / "out.seg.nrrd"
    assert f"Cannot write {path}: " in refused("-o", path)


def test_dicom_seg_of_a_volume_that_is_not_dicom(segment: Any, ct_file: Path, tmp_path: Path) -> None:
    done = segment("-o", tmp_path / "out.dcm")
    assert done.code == 1
    assert f"{ct_file} is not a DICOM series" in done.err


@pytest.mark.skipif(sys.platform == "win32", reason="folder permissions of Unix")
def test_a_read_only_output_folder(
    program: Any, ct_file: Path, random_checkpoint: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "results"
    folder.mkdir()
    folder.chmod(0o555)
    words = [
        "segment",
        ct_file,
        "--box=6,19,15,29,25",
        "--model",
        random_checkpoint,
        "-o",
        folder / "out.seg.nrrd",
    ]
    # The superuser may write everywhere, so it becomes somebody else, who still may read this test's files, but perhaps
    # not Python's own: what is needed is imported before.
    prelude = (
        "import os; import MedSAMSlicerLib.io.segmentations\n"
        "from MedSAMSlicerLib.cli import build_parser; build_parser()\n"
        "if os.geteuid() == 0: os.setgroups([]); os.setresuid(65534, 65534, 65534)"
    )
    temporary = Path(tempfile.gettempdir())
    above = [parent for parent in ct_file.parent.parents if temporary in parent.parents]
    opened = [ct_file.parent, random_checkpoint.parent, tmp_path, *above]
    modes = [(path, path.stat().st_mode) for path in opened]
    try:
        for path, mode in modes:
            path.chmod(mode | 0o055)
        done = program(*words, prelude=prelude)
    finally:
        for path, mode in modes:
            path.chmod(mode)
        folder.chmod(0o755)
    assert done.code == 1, done
    assert f"the folder {folder} is read-only" in done.err
    assert list(folder.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="file size limits of Unix")
@pytest.mark.parametrize("name", ["out.seg.nrrd", "out.nii.gz", "out.mha"])
def test_a_full_disk_keeps_what_was_there_before(
    program: Any, cli: Any, ct_file: Path, random_checkpoint: Path, tmp_path: Path, name: str
) -> None:
    assert cli("models", "add", random_checkpoint).code == 0
    output = tmp_path / name
    output.write_bytes(b"yesterday's result")
    words = ["segment", ct_file, "--box=6,19,15,29,25", "--model", random_checkpoint, "-o", output]
    # 60 bytes a file: like a full disk, that of the last byte included.
    prelude = "import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (60, 60))"
    done = program(*words, prelude=prelude)
    assert done.code == 1, done
    assert f"Cannot write {tmp_path}" in done.err
    assert done.err.count("\n") == 1
    assert [file.name for file in tmp_path.iterdir()] == [name]
    assert output.read_bytes() == b"yesterday's result"


@pytest.mark.skipif(os.name != "posix", reason="modes of POSIX systems")
def test_a_read_only_output_is_refused_before_anything_is_computed(segment: Any, tmp_path: Path) -> None:
    out = tmp_path / "out.seg.nrrd"
    out.write_text("protected")
    out.chmod(0o444)
    done = segment("-o", out)
    assert (done.code, done.err) == (
        1,
        f"medsamslicer: error: Cannot write {out}: the file is read-only.\n",
    )
    assert out.read_text() == "protected"


@pytest.mark.parametrize("option", ["-o", "--picture", "--save-prompts"])
def test_a_second_run_with_the_same_output_is_refused_in_one_sentence(
    segment: Any, tmp_path: Path, option: str
) -> None:
    taken = tmp_path / {"-o": "out.seg.nrrd", "--picture": "out.png", "--save-prompts": "out.json"}[option]
    with reserved(taken):
        done = segment("-o", tmp_path / "out.seg.nrrd", option, taken)
    assert (done.code, done.err.count("\n")) == (1, 1)
    assert f"Cannot write {taken}: another run is writing there" in done.err
    assert list(tmp_path.iterdir()) == []


def test_two_runs_that_would_share_a_file_of_names_are_kept_apart(segment: Any, tmp_path: Path) -> None:
    names = tmp_path / "out.labels.json"  # of out.nii.gz and of out.mha
    with reserved(names):
        done = segment("-o", tmp_path / "out.mha")
    assert done.code == 1
    assert f"Cannot write {names}: another run is writing there" in done.err
