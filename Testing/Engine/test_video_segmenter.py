"""Objects through a video with the bundled network: each from its own frame, none changed by another."""

from __future__ import annotations

import numpy as np
import pytest
from Testing.clips import ENTERS, dice, moving_shapes
from Testing.small_networks import SMALLEST

from MedSAMSlicerLib.core.errors import Canceled, MedSAMError, ObjectError, PromptError
from MedSAMSlicerLib.core.folders import bundled_folders
from MedSAMSlicerLib.core.tiers import SECOND_NETWORK
from MedSAMSlicerLib.engine.proposals import ProposalSettings
from MedSAMSlicerLib.engine.segmenter import VolumeSegmenter
from MedSAMSlicerLib.engine.video_segmenter import (
    LEAST_CROP_MARGIN,
    VideoResult,
    VideoSegmenter,
    video_geometry,
)
from MedSAMSlicerLib.sam2.checkpoint import load, seeded

VIDEO, DISC, BAR = moving_shapes(11)
COUNT = len(VIDEO)
DISC_BOX = (0, 17, 49, 44, 76)
BAR_BOX = (ENTERS, 92, 0, 108, 14)


class Recorded:
    """Frames that note which of them were read."""

    def __init__(self, frames: np.ndarray = VIDEO) -> None:
        self.frames, self.shape, self.read = frames, frames.shape, []

    def frame(self, index: int) -> np.ndarray:
        self.read.append(index)
        return self.frames[index]


@pytest.fixture(scope="module")
def video() -> VideoSegmenter:
    [path] = [p for folder in bundled_folders() for p in folder.glob("medsamslicer_nano.safetensors")][:1]
    return VideoSegmenter(Recorded(), load(path)[0], threads=1)


@pytest.fixture(scope="module")
def alone(video: VideoSegmenter) -> VideoResult:
    return video.segment([video.object("disc", video.box(*DISC_BOX))])


def all_masks(result: VideoResult, name: str) -> np.ndarray:
    return np.stack([result.mask(name, index) for index in range(COUNT)])


def test_a_box_on_the_first_frame_follows_the_object_to_the_last(alone: VideoResult) -> None:
    assert min(dice(alone.mask("disc", index), DISC[index]) for index in range(COUNT)) > 0.85


def test_an_object_that_enters_later_is_found_from_there_on_and_changes_no_other(
    video: VideoSegmenter, alone: VideoResult
) -> None:
    frames = video.frames
    assert isinstance(frames, Recorded)
    frames.read.clear()
    bar = video.object("bar", video.box(*BAR_BOX))
    both = video.segment([video.object("disc", video.box(*DISC_BOX)), bar])
    assert min(frames.read) >= ENTERS  # nothing of the first object was computed again
    assert np.array_equal(all_masks(both, "disc"), all_masks(alone, "disc"))
    found = all_masks(both, "bar")
    assert not found[:ENTERS].any()
    assert both.found("bar", ENTERS - 1) is None
    assert min(dice(found[index], BAR[index]) for index in range(ENTERS, COUNT)) > 0.85
    without = video.segment([bar])
    assert np.array_equal(all_masks(without, "bar"), found)


def test_backward_goes_to_the_beginning_and_both_ways_are_the_two_together(video: VideoSegmenter) -> None:
    place = (5, 32, 54, 59, 81)
    ways = {
        way: all_masks(video.segment([video.object("disc", video.box(*place))], way), "disc")
        for way in ("forward", "backward", "both")
    }
    assert min(dice(ways["backward"][index], DISC[index]) for index in range(6)) > 0.85
    assert not ways["backward"][6:].any()
    assert np.array_equal(ways["both"][5:], ways["forward"][5:])
    assert np.array_equal(ways["both"][:5], ways["backward"][:5])


def test_frames_read_one_by_one_give_what_all_of_them_at_once_give() -> None:
    network = seeded(SMALLEST, 3)
    lazy = VideoSegmenter(Recorded(), network, threads=1, tier="exact")
    objects = [lazy.object("disc", lazy.box(*DISC_BOX))]
    ours = lazy.segment(objects)
    at_once = VolumeSegmenter(
        VIDEO, video_geometry(Recorded()), network, threads=1, tier="exact", patience=0, tapers=False,
        crop_margin=LEAST_CROP_MARGIN,
    )  # fmt: skip
    theirs = at_once.segment(lazy.prompt_set(objects))
    assert np.array_equal(all_masks(ours, "disc"), theirs.masks["disc"])


def test_a_range_within_a_video_does_not_make_an_object_smaller_toward_its_end(
    video: VideoSegmenter, alone: VideoResult
) -> None:
    part = video.segment([video.object("disc", video.box(*DISC_BOX), frames=(0, 7))])
    assert np.array_equal(all_masks(part, "disc")[:8], all_masks(alone, "disc")[:8])


def test_what_no_object_covers_is_suggested(video: VideoSegmenter) -> None:
    settings = ProposalSettings(points_per_side=4, least_iou=0.0, least_stability=0.0)
    frame = COUNT - 1
    full = video.segment([video.object("disc", video.box(*DISC_BOX))])
    found = video.suggest(frame, full, settings)
    assert found
    covered = full.mask("disc", frame)
    assert all((proposal.mask & covered).sum() <= proposal.area / 2 for proposal in found)
    assert len(found) < len(video.suggest(frame, None, settings))


def test_objects_in_color_are_suggested_without_another_network(
    video: VideoSegmenter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """LiteMedSAM draws in boxes, though frames in color are never read twice."""
    monkeypatch.delenv(SECOND_NETWORK)
    found = video.suggest(ENTERS + 2)
    assert max(dice(each.mask, DISC[ENTERS + 2]) for each in found) > 0.85


def test_a_canceled_run_goes_on_where_it_stopped() -> None:
    source = Recorded()
    video = VideoSegmenter(source, seeded(SMALLEST, 3), threads=1)
    objects = [video.object("disc", video.point(0, 30, 62))]
    done: list[int] = []
    with pytest.raises(Canceled):
        video.segment(objects, progress=lambda n, _, __: done.append(n), cancel=lambda: len(done) >= 5)
    assert max(source.read) < COUNT - 1
    result = video.segment(objects)
    assert len(result.objects[0].slices) == COUNT


def test_what_does_not_fit_a_video_is_one_sentence(video: VideoSegmenter) -> None:
    with pytest.raises(PromptError, match=r"Frame 99 does not exist: the video has frames 0 to 10\."):
        video.box(99, 0, 0, 5, 5)
    with pytest.raises(MedSAMError, match="direction must be one of forward, backward, both, got 'up'"):
        video.segment([video.object("a", video.point(0, 5, 5))], "up")
    with pytest.raises(ObjectError, match="There are no prompts for 'a'"):
        video.segment([video.object("a")])
    with pytest.raises(PromptError, match="no object 'b'"):
        video.segment([]).mask("b", 0)
