"""`medsamslicer segment` from end to end on a small volume, with a network whose masks mean nothing."""

from __future__ import annotations

import argparse
import json
import os
import pty
import re
import runpy
import signal
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk

from MedSAMSlicerLib.cli.segment import where_lost, write_results
from MedSAMSlicerLib.core.errors import OutputError
from MedSAMSlicerLib.core.geometry import VolumeGeometry
from MedSAMSlicerLib.core.prompts import PromptSet
from MedSAMSlicerLib.io.volumes import read_volume

PACKAGE = Path(__file__).parents[2] / "MedSAMSlicer"


def read(path: Path) -> np.ndarray:
    return sitk.GetArrayFromImage(sitk.ReadImage(str(path)))


def test_a_box_becomes_a_segmentation_in_place(segment: Any, ct_file: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.seg.nrrd"
    done = segment("-o", output)
    assert (done.code, done.out, done.err) == (0, "", ""), done
    written, volume = sitk.ReadImage(str(output)), sitk.ReadImage(str(ct_file))
    assert written.GetSize() == volume.GetSize()
    np.testing.assert_allclose(written.GetOrigin(), volume.GetOrigin())
    np.testing.assert_allclose(written.GetSpacing(), volume.GetSpacing())
    np.testing.assert_allclose(written.GetDirection(), volume.GetDirection())
    assert written.GetMetaData("Segment0_Name") == "Segment_1"
    assert [file.name for file in tmp_path.iterdir()] == ["out.seg.nrrd"]


@pytest.mark.parametrize("name", ["out.nii.gz", "out.nii", "out.nrrd", "out.mha"])
def test_the_name_of_the_output_decides_its_format(segment: Any, tmp_path: Path, name: str) -> None:
    segment("-o", tmp_path / "out.seg.nrrd")
    assert segment("-o", tmp_path / name).code == 0
    np.testing.assert_array_equal(read(tmp_path / name), read(tmp_path / "out.seg.nrrd"))


def test_several_names_become_several_segments(segment: Any, tmp_path: Path) -> None:
    done = segment(
        "--point", "second=4,30,30", "--point", "second=8,31,29", "-o", tmp_path / "out.seg.nrrd", "--json"
    )
    assert [obj["name"] for obj in json.loads(done.out)["objects"]] == ["Segment_1", "second"]
    header = sitk.ReadImage(str(tmp_path / "out.seg.nrrd"))
    assert header.GetMetaData("Segment1_Name") == "second"


def test_json_has_result_and_timings(segment: Any, tmp_path: Path, random_checkpoint: Path) -> None:
    done = segment("-o", tmp_path / "out.nii.gz", "--json", "--range", "3,9")
    assert done.err == ""
    content = json.loads(done.out)
    mask = read(tmp_path / "out.nii.gz") > 0
    (obj,) = content["objects"]
    assert obj["voxels"] == mask.sum()
    assert obj["milliliters"] == pytest.approx(mask.sum() * 1.5 * 1.5 * 3 / 1000)
    filled = np.flatnonzero(mask.any(axis=(1, 2)))
    assert (obj["first_slice"], obj["last_slice"]) == (filled[0], filled[-1])
    assert obj["key_slices"] == [6]
    assert content["volume"]["shape_kji"] == [12, 40, 48]
    assert content["checkpoint"]["path"] == str(random_checkpoint)
    assert content["device"] == "cpu"
    assert set(content["seconds"]) == {"read", "load", "segment", "write", "total"}
    assert content["window"]["name"] == "soft-tissue"


def test_the_range_is_kept(segment: Any, tmp_path: Path) -> None:
    segment("-o", tmp_path / "out.nii.gz", "--range", "5,7")
    filled = np.flatnonzero((read(tmp_path / "out.nii.gz") > 0).any(axis=(1, 2)))
    assert set(filled) <= {5, 6, 7}


@pytest.mark.parametrize(("axis", "size"), [("k", 12), ("j", 40), ("i", 48)])
def test_any_axis_can_be_the_slice_axis(segment: Any, tmp_path: Path, axis: str, size: int) -> None:
    done = segment(
        "-o", tmp_path / "out.nii.gz", "--axis", axis, "--json", "--range", "4,8", prompt="--box=6,2,3,10,9"
    )
    assert done.code == 0, done
    mask = read(tmp_path / "out.nii.gz") > 0
    filled = np.flatnonzero(mask.any(axis=tuple(n for n in range(3) if n != "kji".index(axis))))
    assert set(filled) <= set(range(4, 9))


def test_replayed_prompts_give_the_same_mask_bit_for_bit(
    segment: Any, cli: Any, ct_file: Path, tmp_path: Path
) -> None:
    saved = tmp_path / "prompts.json"
    segment(
        "--point", "6,30,8,-", "--window", "-200,200", "-o", tmp_path / "one.nii.gz", "--save-prompts", saved
    )
    prompts = PromptSet.from_json(saved.read_text())
    assert (prompts.window.lower, prompts.window.upper) == (-200, 200)
    assert prompts.tier in ("exact", "balanced", "fast")
    done = cli("segment", ct_file, "--prompts", saved, "--threads", "1", "-o", tmp_path / "two.nii.gz")
    assert done.code == 0, done
    np.testing.assert_array_equal(read(tmp_path / "one.nii.gz"), read(tmp_path / "two.nii.gz"))


def test_a_replay_cleans_up_as_the_run_did(segment: Any, cli: Any, ct_file: Path, tmp_path: Path) -> None:
    labels = sitk.ReadImage(str(ct_file)) * 0
    labels[19:29, 15:25, 6] = 1
    labels[2:4, 30:32, 6] = 1
    sitk.WriteImage(labels, str(tmp_path / "mask.nii.gz"))
    saved, prompts = (
        tmp_path / "prompts.json",
        (f"--mask=a=6,{tmp_path / 'mask.nii.gz'}", "--box=b=7,19,15,29,25"),
    )
    options = ("--cleanup", "both", "--overlap", "highest")
    done = segment(*prompts, *options, "-o", tmp_path / "one.seg.nrrd", "--save-prompts", saved, prompt=None)
    assert done.code == 0, done
    assert [json.loads(saved.read_text())[name] for name in ("cleanup", "overlap")] == ["both", "highest"]
    words = ("segment", ct_file, "--prompts", saved, "--threads", "1", "-o")
    done = cli(*words, tmp_path / "two.seg.nrrd", "--save-prompts", tmp_path / "again.json")
    assert done.code == 0, done
    assert (tmp_path / "two.seg.nrrd").read_bytes() == (tmp_path / "one.seg.nrrd").read_bytes()
    assert (tmp_path / "again.json").read_bytes() == saved.read_bytes()
    assert cli(*words, tmp_path / "raw.seg.nrrd", "--cleanup", "none", "--overlap", "keep").code == 0
    segment(*prompts, "-o", tmp_path / "plain.seg.nrrd", prompt=None)
    assert (tmp_path / "raw.seg.nrrd").read_bytes() == (tmp_path / "plain.seg.nrrd").read_bytes()
    assert (tmp_path / "raw.seg.nrrd").read_bytes() != (tmp_path / "one.seg.nrrd").read_bytes()


def test_prompts_in_mm_give_the_same_mask(segment: Any, ct_geometry: VolumeGeometry, tmp_path: Path) -> None:
    segment("-o", tmp_path / "voxels.nii.gz")
    corners = ct_geometry.to_ras([(18.5, 14.5, 6), (28.5, 24.5, 6)])
    box = ",".join(map(repr, corners.ravel().tolist()))
    assert segment("--ras", "-o", tmp_path / "mm.nii.gz", prompt=f"--box={box}").code == 0
    np.testing.assert_array_equal(read(tmp_path / "mm.nii.gz"), read(tmp_path / "voxels.nii.gz"))


def test_a_mask_and_a_line_are_prompts_too(segment: Any, tmp_path: Path) -> None:
    segment("-o", tmp_path / "first.nii.gz")
    labels = sitk.ReadImage(str(tmp_path / "first.nii.gz"))
    array = sitk.GetArrayFromImage(labels) * 0
    array[6, 15:25, 19:29] = 1
    again = sitk.GetImageFromArray(array)
    again.CopyInformation(labels)
    sitk.WriteImage(again, str(tmp_path / "mask.nii.gz"))
    for prompt in (f"--mask=6,{tmp_path / 'mask.nii.gz'}", "--line=6,19,15,29,25"):
        assert segment("-o", tmp_path / "out.nii.gz", prompt=prompt).code == 0


def test_the_picture_is_a_png(segment: Any, tmp_path: Path) -> None:
    done = segment("-o", tmp_path / "out.seg.nrrd", "--picture", tmp_path / "out.png")
    assert done.code == 0, done
    assert read(tmp_path / "out.png").ndim == 3


def test_a_volume_of_one_slice_works(segment: Any, ct_file: Path, tmp_path: Path) -> None:
    image = sitk.ReadImage(str(ct_file))[:, :, 6:7]
    sitk.WriteImage(image, str(tmp_path / "one.nii.gz"))
    done = segment(
        "-o", tmp_path / "out.nii.gz", volume=tmp_path / "one.nii.gz", prompt="--box=0,19,15,29,25"
    )
    assert done.code == 0, done
    assert read(tmp_path / "out.nii.gz").shape == (1, 40, 48)


def test_the_volume_is_never_written_over(segment: Any, ct_file: Path) -> None:
    before = ct_file.read_bytes()
    done = segment("-o", ct_file)
    assert done.code == 1
    assert "that is the volume" in done.err
    assert ct_file.read_bytes() == before


def test_an_unknown_checkpoint_file_needs_a_yes_once(
    cli: Any, ct_file: Path, random_checkpoint: Path, tmp_path: Path
) -> None:
    words = [
        "segment",
        ct_file,
        "--box=6,19,15,29,25",
        "--model",
        random_checkpoint,
        "-o",
        tmp_path / "out.nii.gz",
    ]
    done = cli(*words)
    assert done.code == 1
    assert "--yes" in done.err
    assert not (tmp_path / "out.nii.gz").exists()
    assert cli(*words, "--yes").code == 0
    assert cli(*words).code == 0


def test_a_model_that_is_not_here_says_how_to_get_it(cli: Any, ct_file: Path, tmp_path: Path) -> None:
    done = cli(
        "segment", ct_file, "--box=6,19,15,29,25", "--model", "sam2.1-tiny", "-o", tmp_path / "out.nii.gz"
    )
    assert done.code == 1
    assert "medsamslicer models download sam2.1-tiny" in done.err


def test_prompts_of_another_checkpoint_are_refused_unless_one_is_named(
    segment: Any, cli: Any, ct_file: Path, random_checkpoint: Path, tmp_path: Path
) -> None:
    saved = tmp_path / "prompts.json"
    segment("-o", tmp_path / "one.nii.gz", "--save-prompts", saved)
    content = json.loads(saved.read_text())
    content["checkpoint"]["sha256"] = "0" * 64
    saved.write_text(json.dumps(content))
    words = ["segment", ct_file, "--prompts", saved, "-o", tmp_path / "two.nii.gz"]
    done = cli(*words)
    assert done.code == 1
    assert "made with another checkpoint" in done.err
    done = cli(*words, "--model", random_checkpoint)
    assert done.code == 0
    assert "warning" in done.err


def test_runs_with_two_checkpoint_files_of_one_name_are_each_repeated_with_their_own(
    cli: Any, ct_file: Path, tmp_path: Path
) -> None:
    from Testing.small_networks import SMALL

    from MedSAMSlicerLib.sam2.checkpoint import save, seeded

    box = ("--box=6,19,15,29,25", "--range", "5,7", "--threads", "1")
    broken = tmp_path / "broken" / "w.safetensors"
    broken.parent.mkdir()
    broken.write_bytes(b"these are no weights")  # so it takes no name from those that follow
    done = cli("segment", ct_file, *box, "--model", broken, "--yes", "-o", tmp_path / "out.nii.gz")
    assert done.code == 1
    ids = []
    for seed in (3, 4):
        path, folder = tmp_path / str(seed) / "w.safetensors", tmp_path / str(seed)
        folder.mkdir()
        save(seeded(SMALL, seed), path)
        words = (
            "--model",
            path,
            "--yes",
            "-o",
            folder / "one.nii.gz",
            "--save-prompts",
            folder / "p.json",
            "--json",
        )
        done = cli("segment", ct_file, *box, *words)
        assert done.code == 0, done
        ids.append(json.loads(done.out)["checkpoint"]["id"])
        assert json.loads((folder / "p.json").read_text())["checkpoint"]["id"] == ids[-1]
    assert ids[0] == "w"
    assert ids[1].startswith("w-")
    for folder in (tmp_path / "3", tmp_path / "4"):
        words = ("--prompts", folder / "p.json", "--threads", "1", "-o", folder / "two.nii.gz")
        done = cli("segment", ct_file, *words)
        assert (done.code, done.err) == (0, "")
        assert (folder / "two.nii.gz").read_bytes() == (folder / "one.nii.gz").read_bytes()


@pytest.mark.parametrize("device", ["cuda", "cuda:7", "nonsense"])
def test_a_device_that_is_not_there_is_no_silent_fall_back(segment: Any, tmp_path: Path, device: str) -> None:
    import torch

    if device == "cuda" and torch.cuda.is_available():
        pytest.skip("this computer has one")
    done = segment("-o", tmp_path / "out.nii.gz", "--device", device)
    assert done.code == 1
    assert device in done.err
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def two_series(ct_file: Path, tmp_path: Path) -> Path:
    """A folder with the small CT as series 1, and as series 2 without its first two slices."""
    write_series = runpy.run_path(str(Path(__file__).parents[1] / "IO" / "dicom_files.py"))["write_series"]
    array = read(ct_file)
    write_series(tmp_path / "dicom", array, series=1, prefix="a")
    write_series(tmp_path / "dicom", array[2:], series=2, prefix="b")
    return tmp_path / "dicom"


def test_one_of_several_dicom_series_is_chosen_with_an_option(
    segment: Any, two_series: Path, tmp_path: Path
) -> None:
    words = ("--range", "5,7", "-o", tmp_path / "out.nii.gz")
    done = segment(*words, volume=two_series)
    assert done.code == 1
    assert "choose one with --series UID: series 1 (12 images), UID " in done.err
    uids = [word.rstrip(".;\n") for word in re.findall(r"UID (\d\S+)", done.err)]
    for uid, slices in zip(uids, (12, 10), strict=True):
        assert segment(*words, "--series", uid, volume=two_series).code == 0
        assert len(read(tmp_path / "out.nii.gz")) == slices
    done = segment(*words, "--series", "1.2.3", volume=two_series)
    assert (done.code, "holds no series 1.2.3" in done.err) == (1, True)


def test_a_series_of_a_file_that_is_not_dicom_is_refused(segment: Any, ct_file: Path, tmp_path: Path) -> None:
    done = segment("--series", "1.2.3", "-o", tmp_path / "out.nii.gz")
    assert (done.code, done.err) == (
        1,
        f"medsamslicer: error: --series 1.2.3 is for DICOM, but {ct_file} is not.\n",
    )


# --- on a terminal ---


@pytest.fixture
def one_series(ct_file: Path, tmp_path: Path) -> Path:
    write_series = runpy.run_path(str(Path(__file__).parents[1] / "IO" / "dicom_files.py"))["write_series"]
    write_series(tmp_path / "dicom", read(ct_file))
    return tmp_path / "dicom"


def test_masks_that_no_dicom_seg_can_hold_are_written_beside_it(one_series: Path, tmp_path: Path) -> None:
    pytest.importorskip("highdicom")
    volume = read_volume(one_series)
    (tmp_path / "out.seg.nrrd").write_bytes(b"an older result")
    assert volume.dicom_files is not None
    volume.dicom_files[1].unlink()  # while the network ran
    mask = volume.array > np.median(volume.array)
    arguments = argparse.Namespace(save_prompts=None, picture=None, output=tmp_path / "out.dcm")
    result: Any = types.SimpleNamespace(
        masks={"a": mask}, prompts=types.SimpleNamespace(objects=()), geometry=volume.geometry
    )
    with pytest.raises(OutputError, match=r"masks were written to .*out-2\.seg\.nrrd instead"):
        write_results(arguments, volume, result)
    assert (read(tmp_path / "out-2.seg.nrrd") > 0).sum() == mask.sum()
    assert (tmp_path / "out.seg.nrrd").read_bytes() == b"an older result"


def test_a_series_without_pixel_size_names_the_option(segment: Any, one_series: Path, tmp_path: Path) -> None:
    pydicom = pytest.importorskip("pydicom")
    for file in one_series.iterdir():
        dataset = pydicom.dcmread(file)
        del dataset.PixelSpacing
        dataset.save_as(file)
    words = ("--range", "5,7", "-o", tmp_path / "out.nii.gz")
    refused = segment(*words, volume=one_series)
    assert refused.code == 1
    assert "Give it with --spacing X,Y" in refused.err
    done = segment(*words, "--spacing", "1.5,1.25", volume=one_series)
    assert done.code == 0, done
    assert sitk.ReadImage(str(tmp_path / "out.nii.gz")).GetSpacing() == pytest.approx((1.5, 1.25, 2.5))


def test_where_an_object_was_lost_is_one_sentence() -> None:
    up, down = {"direction": 1, "last_seen": 41}, {"direction": -1, "last_seen": 12}
    assert (
        where_lost("spleen", [up]) == "spleen: not seen after slice 41; the slices beyond were not searched."
    )
    assert where_lost("spleen", [down, up, up]) == (
        "spleen: not seen after slice 41, nor before slice 12; the slices beyond were not searched."
    )


def test_a_terminal_is_reported_where_an_object_was_lost(
    monkeypatch: pytest.MonkeyPatch, segment: Any, tmp_path: Path
) -> None:
    message: list[str] = []
    monkeypatch.setattr("MedSAMSlicerLib.cli.segment.show_message", message.append)
    done = segment("-o", tmp_path / "out.nii.gz", "--json")
    (obj,) = json.loads(done.out)["objects"]
    lost = [sentence for sentence in message if "not seen" in sentence]
    assert lost == ([where_lost("Segment_1", obj["ended"])] if obj["ended"] else [])


def on_terminal(words: list[object], interrupt: bool) -> tuple[int, str]:
    """Run the program with its error output on a terminal; with `interrupt`, press Ctrl-C at the third slice."""
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "MedSAMSlicerLib.cli", *map(str, words)],
        env={**os.environ, "PYTHONPATH": str(PACKAGE)},
        stdout=subprocess.DEVNULL,
        stderr=slave,
    )
    os.close(slave)
    shown = b""
    while True:
        try:
            piece = os.read(master, 4096)
        except OSError:  # Linux says so when the other side has closed
            break
        if not piece:
            break
        shown += piece
        if interrupt and shown.count(b"slice") >= 3:
            process.send_signal(signal.SIGINT)
            interrupt = False
    os.close(master)
    return process.wait(), shown.decode()


@pytest.fixture(scope="session")
def long_volume(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """400 slices: a run that takes long enough to be stopped."""
    array = np.random.default_rng(1).normal(0, 50, (400, 48, 48)).astype(np.int16)
    path = tmp_path_factory.mktemp("long") / "long.nrrd"
    sitk.WriteImage(sitk.GetImageFromArray(array), str(path))
    return path


def test_a_terminal_shows_progress_and_what_was_found(
    ct_file: Path, random_checkpoint: Path, tmp_path: Path
) -> None:
    words = [
        "segment",
        ct_file,
        "--box=6,19,15,29,25",
        "--model",
        random_checkpoint,
        "--yes",
        "--threads",
        "1",
    ]
    code, shown = on_terminal([*words, "-o", tmp_path / "out.nii.gz"], interrupt=False)
    assert code == 0, shown
    assert "segmenting" in shown
    assert "100 %" in shown
    assert "Segment_1: " in shown
    assert "out.nii.gz written in" in shown


def test_ctrl_c_half_way_leaves_nothing_behind(
    long_volume: Path, random_checkpoint: Path, tmp_path: Path
) -> None:
    words = [
        "segment",
        long_volume,
        "--box=200,10,10,30,30",
        "--model",
        random_checkpoint,
        "--yes",
        "--threads",
        "1",
    ]
    results = [
        "-o",
        tmp_path / "out.seg.nrrd",
        "--picture",
        tmp_path / "out.png",
        "--save-prompts",
        tmp_path / "p.json",
    ]
    code, shown = on_terminal([*words, *results], interrupt=True)
    assert code == 130, shown
    assert "canceled; no file was left half-written." in shown
    assert "Traceback" not in shown
    assert list(tmp_path.iterdir()) == []


def test_adapters_of_a_checkpoint_change_its_masks_and_those_of_another_are_refused(
    segment: Any, random_checkpoint: Path, tmp_path: Path
) -> None:
    import torch

    from MedSAMSlicerLib.sam2.adapters import PREFIX, AdapterConfig, attach, serialized_adapters
    from MedSAMSlicerLib.sam2.checkpoint import load, seeded
    from MedSAMSlicerLib.sam2.config import NANO

    for name, model in (("own", load(random_checkpoint)[0]), ("other", seeded(NANO, 9))):
        attach(model, [AdapterConfig("bottleneck", "sam_mask_decoder.transformer.layers.*.mlp")])
        with torch.no_grad():
            for weight_name, weight in model.named_parameters():
                if PREFIX in weight_name:
                    weight.normal_(0, 0.5)
        (tmp_path / f"{name}.safetensors").write_bytes(serialized_adapters(model))
    plain, adapted = tmp_path / "plain.nii.gz", tmp_path / "adapted.nii.gz"
    assert segment("--range", "5,7", "-o", plain).code == 0
    done = segment("--range", "5,7", "--adapters", tmp_path / "own.safetensors", "-o", adapted)
    assert done.code == 0, done
    assert not np.array_equal(read(plain), read(adapted))
    refused = segment("--adapters", tmp_path / "other.safetensors", "-o", tmp_path / "refused.nii.gz")
    assert refused.code == 1
    assert "belong to another network" in refused.err
