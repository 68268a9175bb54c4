"""`medsamslicer video` from end to end on a short clip with a small network."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from Testing.clips import ENTERS, moving_shapes, write_pictures, write_video
from Testing.IO.rle_decoding import decode_rle

from MedSAMSlicerLib.io.png import encode_png
from MedSAMSlicerLib.io.video import open_frames

COUNT = 8
VIDEO, DISC, _ = moving_shapes(COUNT, 41, 56)
DISC_BOX, BAR_POINT = "--box=disc=0,8,21,19,33", f"--point=tool/1={ENTERS},44,2"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pictures(tmp_path_factory.mktemp("clip") / "frames", VIDEO)


@pytest.fixture
def video(cli: Any, folder: Path, random_checkpoint: Path) -> Any:
    def run(*words: Any, path: Path = folder) -> Any:
        return cli("video", path, "--model", random_checkpoint, "--yes", "--threads", "1", *words)

    return run


def masks_of(output: Path, place: str) -> dict[int, np.ndarray]:
    with open_frames(output / "masks" / place) as frames:
        return {int(Path(name).stem): frames.frame(n)[..., 0] > 0 for n, name in enumerate(frames.names)}


def test_pictures_run_lengths_and_overlay_hold_the_same_masks(video: Any, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = video(DISC_BOX, BAR_POINT, "-o", out, "--json")
    assert done.code == 0, done
    assert sorted(path.name for path in out.iterdir()) == [
        "annotations.json", "masks", "overlay.mp4", "prompts.json",
    ]  # fmt: skip
    content = json.loads((out / "annotations.json").read_text())
    assert content["videos"][0]["file_names"] == [f"{index}.png" for index in range(COUNT)]
    assert [each["name"] for each in content["categories"]] == ["disc", "tool/1"]
    for annotation, place, first in zip(content["annotations"], ("disc", "tool_1"), (0, ENTERS), strict=True):
        pictures = masks_of(out, place)
        assert sorted(pictures) == list(range(first, COUNT))
        for index, (segmentation, box, area) in enumerate(
            zip(annotation["segmentations"], annotation["bboxes"], annotation["areas"], strict=True)
        ):
            picture = pictures.get(index, np.zeros((41, 56), np.bool_))
            if segmentation is None:
                assert not picture.any()
                continue
            assert np.array_equal(decode_rle(segmentation), picture)
            x, y, width, height = box
            inside = np.zeros_like(picture)
            inside[y : y + height, x : x + width] = True
            assert area == picture.sum()
            assert not (picture & ~inside).any()
    with open_frames(out / "overlay.mp4") as overlay:
        assert overlay.shape == (COUNT, 40, 56, 3)
    described = json.loads(done.out)["objects"]
    assert [each["prompted_frames"] for each in described] == [[0], [ENTERS]]


def test_the_saved_prompts_give_the_same_masks_and_a_second_object_changes_none(
    video: Any, tmp_path: Path
) -> None:
    assert video(DISC_BOX, "-o", tmp_path / "one", "--no-overlay").code == 0
    more = video(
        "--prompts", tmp_path / "one" / "prompts.json", BAR_POINT, "-o", tmp_path / "two", "--no-overlay"
    )
    assert more.code == 0, more
    one, two = (masks_of(tmp_path / name, "disc") for name in ("one", "two"))
    assert one.keys() == two.keys()
    assert all(np.array_equal(one[index], two[index]) for index in one)
    assert not (tmp_path / "two" / "overlay.mp4").exists()


def test_a_video_file_is_segmented_backward_from_a_mask_of_one_frame(video: Any, tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.mp4", VIDEO[:, :40])
    (tmp_path / "disc.png").write_bytes(encode_png(DISC[5, :40].astype(np.uint8)))
    done = video(
        f"--mask=disc=5,{tmp_path / 'disc.png'}", "--direction", "backward", "-o", tmp_path / "out", path=path
    )
    assert done.code == 0, done
    found = masks_of(tmp_path / "out", "disc")
    assert sorted(found) == list(range(6))


def test_suggestions_are_prompts_of_the_next_run(video: Any, tmp_path: Path) -> None:
    done = video("--suggest", "7", "-o", tmp_path / "out", "--no-overlay", "--json")
    assert done.code == 0, done
    names = json.loads(done.out)["suggestions"]
    kept = json.loads((tmp_path / "out" / "suggestions.json").read_text())
    assert [each["name"] for each in kept["objects"]] == names


def test_without_av_the_overlay_is_left_out_with_a_warning(
    video: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    done = video(DISC_BOX, "--range", "0,2", "-o", tmp_path / "out")
    assert done.code == 0, done
    assert "overlay.mp4 is left out: it is a video, which needs the package av" in done.err
    assert sorted(masks_of(tmp_path / "out", "disc")) == [0, 1, 2]


def test_a_run_that_is_stopped_or_fails_leaves_nothing(
    video: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from MedSAMSlicerLib.io import video_output

    def stopped(*_: Any) -> bytes:
        raise KeyboardInterrupt

    monkeypatch.setattr(video_output, "encode_png", stopped)
    done = video(DISC_BOX, "--range", "0,1", "-o", tmp_path / "out")
    assert done.code != 0
    assert "canceled" in done.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        ((), 2, "video needs a prompt"),
        (("--box=99,1,1,5,5",), 1, "Frame 99 does not exist: .* has frames 0 to 7"),
        (("--box=0,1,1,99,5",), 1, "outside"),
        (("--point=0,5,5", "--range", "2,4"), 1, "outside the range 2,4"),
        (("--point=0,5,5", "--range", "0,40"), 1, "exceeds the last frame, 7"),
        (("--suggest", "8"), 1, "Frame 8 does not exist"),
    ],
)
def test_what_does_not_fit_is_one_sentence(
    video: Any, tmp_path: Path, words: Any, code: int, sentence: str
) -> None:
    import re

    done = video(*words, "-o", tmp_path / "out")
    assert done.code == code, done
    assert re.search(sentence, done.err), done
    assert list(tmp_path.iterdir()) == []


def test_results_never_go_into_a_folder_with_other_files(video: Any, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    done = video(DISC_BOX, "-o", tmp_path)
    assert done.code == 1
    assert "the folder is not empty" in done.err
    missing = video(DISC_BOX, "-o", tmp_path / "a" / "b")
    assert "the folder" in missing.err
    assert "does not exist" in missing.err
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
