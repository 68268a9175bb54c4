"""Each step of the network gives what the published packages give, with the same seeded weights, in float32."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

from MedSAMSlicerLib.sam2 import (
    BASE_PLUS,
    LARGE,
    SAM2,
    SMALL,
    TINY,
    Config,
    DecoderPrompts,
    ImageFeatures,
    MaskOutput,
    Memory,
)
from MedSAMSlicerLib.sam2.checkpoint import seeded
from MedSAMSlicerLib.sam2.dialects import renamed

from .oracles import (
    TransformersSession,
    build_transformers_model,
    intersection_over_union,
    official_predictor,
    phantom,
    relative_error,
    seeded_at,
)

pytestmark = pytest.mark.parity

SIZE = 256
TOLERANCE = 1e-4

POINT = ([[100.0, 120.5]], [1])
POINTS = ([[100.0, 120.0], [140.0, 60.0], [90.0, 90.0]], [1, 0, 1])
BOX = ([[70.0, 80.0], [160.0, 150.0]], [2, 3])
BOX_AND_POINT = ([[70.0, 80.0], [160.0, 150.0], [110.0, 140.0]], [2, 3, 0])
PROMPTS = {"one point": POINT, "points": POINTS, "box": BOX, "box and point": BOX_AND_POINT}


class Setup(NamedTuple):
    """Our network and the official one on the same two slices."""

    ours: SAM2
    theirs: Any
    frames: np.ndarray
    features: ImageFeatures


@pytest.fixture(scope="module", autouse=True)
def _without_gradients():
    with torch.inference_mode():
        yield


@pytest.fixture(scope="module")
def setup() -> Setup:
    ours = seeded_at(TINY, SIZE)
    frames = phantom(4, SIZE)
    return Setup(
        ours, official_predictor(ours), frames, ours.encode_image(ours.normalize(torch.from_numpy(frames)))
    )


@pytest.fixture(scope="module")
def transformers_model(setup: Setup) -> Any:
    return build_transformers_model(setup.ours)


def test_weights_with_the_names_of_transformers_come_back_under_ours(
    setup: Setup, transformers_model: Any
) -> None:
    found, dialect = renamed(transformers_model.state_dict(), "model.safetensors")
    assert dialect.name == "SAM 2 in transformers"
    assert found.keys() == setup.ours.state_dict().keys()
    assert all(torch.equal(weight, setup.ours.state_dict()[name]) for name, weight in found.items())


def _slice(features: ImageFeatures, index: int) -> ImageFeatures:
    return ImageFeatures(*(part[index : index + 1] for part in features))


def _tensors(prompt: tuple[list[list[float]], list[int]]) -> tuple[Tensor, Tensor]:
    return torch.tensor([prompt[0]]), torch.tensor([prompt[1]], dtype=torch.int32)


def _square(size: int) -> Tensor:
    mask = torch.zeros(1, 1, size, size)
    mask[:, :, size // 3 : size // 2, size // 4 : size // 2] = 1
    return mask


def _heads(setup: Setup, features: ImageFeatures, conditioned: Tensor, **arguments: Any) -> MaskOutput:
    """The official prompt encoder and mask decoder, in our words."""
    _, _, iou, low, _, pointer, score = setup.theirs._forward_sam_heads(
        conditioned, high_res_features=[features.fine, features.mid], **arguments
    )
    return MaskOutput(low, iou.amax(1), score[:, 0], pointer)


def _assert_same(ours: MaskOutput, theirs: MaskOutput) -> None:
    for name, mine, other in zip(MaskOutput._fields, ours, theirs, strict=True):
        assert relative_error(mine, other) <= TOLERANCE, name
    assert intersection_over_union(ours.logits, theirs.logits) == 1.0
    assert (ours.logits > 0).any()
    assert (ours.logits < 0).any()


@pytest.mark.parametrize(
    ("config", "size"),
    [(TINY, 256), (SMALL, 256), (BASE_PLUS, 128), (LARGE, 128)],
    ids=["tiny", "small", "base plus", "large"],
)
def test_every_published_image_encoder_gives_the_official_features(config: Config, size: int):
    ours = seeded_at(config, size, seed=1)
    frames = ours.normalize(torch.from_numpy(phantom(1, size)))
    fine, mid, top = official_predictor(ours).forward_image(frames)["backbone_fpn"]
    for mine, theirs in zip(ours.encode_image(frames), (top, mid, fine), strict=True):
        assert relative_error(mine, theirs) <= TOLERANCE


def test_frames_are_normalized_as_the_official_predictor_does():
    gray = torch.tensor([[[0, 128], [200, 255]]], dtype=torch.uint8)
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    expected = (gray[0, :, :, None] / 255 - mean) / deviation
    torch.testing.assert_close(SAM2.normalize(gray)[0].permute(1, 2, 0), expected)


@pytest.mark.parametrize("prompt", PROMPTS.values(), ids=PROMPTS)
@pytest.mark.parametrize("multimask", [False, True], ids=["single", "multimask"])
def test_prompts_give_the_official_mask(
    setup: Setup, prompt: tuple[list[list[float]], list[int]], multimask: bool
):
    features = _slice(setup.features, 0)
    points, labels = _tensors(prompt)
    conditioned = setup.ours.condition_first(features.top)
    ours = setup.ours.decode(
        conditioned, features.mid, features.fine, DecoderPrompts(points, labels), multimask
    )
    theirs = _heads(
        setup,
        features,
        conditioned,
        point_inputs={"point_coords": points, "point_labels": labels},
        multimask_output=multimask,
    )
    _assert_same(ours, theirs)


def test_a_correction_starts_from_the_earlier_mask_as_officially(setup: Setup):
    features = _slice(setup.features, 1)
    points, labels = _tensors(POINTS)
    earlier = torch.randn(1, 1, SIZE // 4, SIZE // 4, generator=torch.Generator().manual_seed(2)) * 8
    conditioned = setup.ours.condition_first(features.top)
    ours = setup.ours.decode(
        conditioned, features.mid, features.fine, DecoderPrompts(points, labels, earlier)
    )
    point_inputs = {"point_coords": points, "point_labels": labels}
    _assert_same(ours, _heads(setup, features, conditioned, point_inputs=point_inputs, mask_inputs=earlier))


def test_a_mask_prompt_becomes_the_mask_as_officially(setup: Setup):
    features, mask = _slice(setup.features, 2), _square(SIZE)
    ours = setup.ours.decode_mask_as_output(*features, mask)
    _, _, iou, low, _, pointer, score = setup.theirs._use_mask_as_output(
        features.top, [features.fine, features.mid], mask
    )
    _assert_same(ours, MaskOutput(low, iou[:, 0], score[:, 0], pointer))


def test_an_empty_mask_prompt_says_that_the_object_is_not_there(setup: Setup):
    features = _slice(setup.features, 2)
    ours = setup.ours.decode_mask_as_output(*features, torch.zeros(1, 1, SIZE, SIZE))
    assert ours.object_score.item() == -10
    torch.testing.assert_close(ours.pointer, setup.ours.no_obj_ptr)


def test_several_objects_in_one_batch_are_the_objects_one_by_one(setup: Setup):
    features = _slice(setup.features, 0)
    conditioned = setup.ours.condition_first(features.top)
    points = torch.tensor([POINTS[0], [[30.0, 40.0], [50.0, 60.0], [70.0, 200.0]]])
    labels = torch.tensor([POINTS[1], [1, 1, 0]])
    together = setup.ours.decode(
        conditioned.expand(2, -1, -1, -1), features.mid, features.fine, DecoderPrompts(points, labels)
    )
    for index in range(2):
        one = slice(index, index + 1)
        alone = setup.ours.decode(
            conditioned, features.mid, features.fine, DecoderPrompts(points[one], labels[one])
        )
        _assert_same(MaskOutput(*(part[one] for part in together)), alone)


@pytest.mark.parametrize("from_points", [True, False], ids=["prompted", "tracked"])
@pytest.mark.parametrize("score", [3.0, -3.0], ids=["there", "gone"])
def test_a_slice_is_remembered_as_officially(setup: Setup, from_points: bool, score: float):
    top = setup.features.top[:1]
    logits = torch.randn(1, 1, SIZE // 4, SIZE // 4, generator=torch.Generator().manual_seed(3)) * 4
    ours = setup.ours.encode_memory(top, logits, torch.tensor([score]), from_points)
    high = torch.nn.functional.interpolate(logits, (SIZE, SIZE), mode="bilinear", align_corners=False)
    tokens = top.flatten(2).permute(2, 0, 1)
    memory, position = setup.theirs._encode_new_memory(
        [tokens], [(SIZE // 16, SIZE // 16)], high, torch.tensor([[score]]), from_points
    )
    assert ours.features.dtype == torch.bfloat16
    assert (
        relative_error(ours.features, memory.to(torch.bfloat16)) <= 2**-8
    )  # a value on the brink may round apart
    assert (ours.features == memory.to(torch.bfloat16)).float().mean() > 0.999
    torch.testing.assert_close(ours.position, position[-1])


def _remember(setup: Setup, index: int) -> tuple[Memory, Tensor]:
    random = torch.Generator().manual_seed(index)
    logits = torch.randn(1, 1, SIZE // 4, SIZE // 4, generator=random) * 4
    memory = setup.ours.encode_memory(
        setup.features.top[index : index + 1], logits, torch.tensor([3.0]), False
    )
    return memory, torch.randn(1, 256, generator=random)


@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "backward"])
def test_memories_and_pointers_condition_a_slice_as_officially(setup: Setup, reverse: bool):
    memories = {index: _remember(setup, index) for index in range(4)}
    outputs = {
        index: {"maskmem_features": memory.features, "maskmem_pos_enc": [memory.position], "obj_ptr": pointer}
        for index, (memory, pointer) in memories.items()
    }
    # slice 10 of 30: conditioned by slice 2 (or 18), slices 7, 8 and 9 (or 13, 12 and 11) tracked before
    sign = -1 if reverse else 1
    tracked = {10 - sign * distance: outputs[distance] for distance in (1, 2, 3)}
    top = setup.features.top[3:4]
    position = setup.theirs.image_encoder.neck.position_encoding(top)
    theirs = setup.theirs._prepare_memory_conditioned_features(
        frame_idx=10,
        is_init_cond_frame=False,
        current_vision_feats=[top.flatten(2).permute(2, 0, 1)],
        current_vision_pos_embeds=[position.flatten(2).permute(2, 0, 1)],
        feat_sizes=[(SIZE // 16, SIZE // 16)],
        output_dict={"cond_frame_outputs": {10 - sign * 8: outputs[0]}, "non_cond_frame_outputs": tracked},
        num_frames=30,
        track_in_reverse=reverse,
    )
    distances = {0: 8, 1: 1, 2: 2, 3: 3}
    ours = setup.ours.condition_on_memory(
        top,
        [(memories[0][0], 6), *((memories[index][0], index - 1) for index in (3, 2, 1))],
        [(memories[index][1], float(distance)) for index, distance in distances.items()],
    )
    assert relative_error(ours, theirs) <= TOLERANCE


def test_memory_without_pointers_and_a_short_volume_are_conditioned_as_officially(setup: Setup):
    memory, pointer = _remember(setup, 0)
    top = setup.features.top[1:2]
    # bfloat16 memories alone do not run there without autocast; the values are the same
    features = memory.features.float()
    stored = {"maskmem_features": features, "maskmem_pos_enc": [memory.position], "obj_ptr": pointer}
    position = setup.theirs.image_encoder.neck.position_encoding(top)
    # while the conditioning slice lies ahead its pointer is left out
    for frame, pointers in ((1, []), (3, [(pointer, 1.0)])):
        theirs = setup.theirs._prepare_memory_conditioned_features(
            frame_idx=frame,
            is_init_cond_frame=False,
            current_vision_feats=[top.flatten(2).permute(2, 0, 1)],
            current_vision_pos_embeds=[position.flatten(2).permute(2, 0, 1)],
            feat_sizes=[(SIZE // 16, SIZE // 16)],
            output_dict={"cond_frame_outputs": {2: stored}, "non_cond_frame_outputs": {}},
            num_frames=5,
        )
        ours = setup.ours.condition_on_memory(top, [(memory, 6)], pointers, pointer_span=5)
        assert relative_error(ours, theirs) <= TOLERANCE


def _track_to_second_slice(setup: Setup, first: MaskOutput) -> MaskOutput:
    memory = setup.ours.encode_memory(
        setup.features.top[:1], first.logits, first.object_score, from_points=True
    )
    features = _slice(setup.features, 1)
    conditioned = setup.ours.condition_on_memory(
        features.top, [(memory, 6)], [(first.pointer, 1.0)], pointer_span=len(setup.frames)
    )
    return setup.ours.decode(conditioned, features.mid, features.fine, multimask=setup.ours.multimask_for(0))


@pytest.mark.parametrize("prompt", PROMPTS.values(), ids=PROMPTS)
def test_prompts_and_a_step_of_tracking_agree_with_transformers(
    setup: Setup, transformers_model: Any, prompt: tuple[list[list[float]], list[int]]
):
    session = TransformersSession(transformers_model, setup.frames)
    features = _slice(setup.features, 0)
    points, labels = _tensors(prompt)
    session.add(0, points[0], labels[0])
    multimask = setup.ours.multimask_for(points.shape[1])
    conditioned = setup.ours.condition_first(features.top)
    ours = setup.ours.decode(
        conditioned, features.mid, features.fine, DecoderPrompts(points, labels), multimask
    )
    for index, mine in enumerate((ours, _track_to_second_slice(setup, ours))):
        theirs = session.logits(index)
        assert relative_error(mine.logits, theirs) <= TOLERANCE
        assert intersection_over_union(mine.logits, theirs) == 1.0


def test_a_mask_prompt_agrees_with_transformers(setup: Setup, transformers_model: Any):
    # on this slice only: what transformers remembers of a mask (full size, multimask pointer) is not official
    session = TransformersSession(transformers_model, setup.frames)
    session.add(0, mask=_square(SIZE)[0, 0])
    ours = setup.ours.decode_mask_as_output(*_slice(setup.features, 0), _square(SIZE))
    assert relative_error(ours.logits, session.logits(0)) <= TOLERANCE


def test_sam_2_0_has_the_weights_of_the_published_network_and_remembers_as_it_does():
    build_sam = pytest.importorskip("sam2.build_sam")
    ours = seeded(
        replace(TINY, name="sam2_hiera_tiny", image_size=SIZE, pointer_positions=False, absent_memory=False)
    )
    theirs = build_sam.build_sam2(
        "configs/sam2/sam2_hiera_t.yaml",
        None,
        device="cpu",
        hydra_overrides_extra=[f"++model.image_size={SIZE}"],
    )
    theirs.load_state_dict(ours.state_dict(), strict=True)
    features = torch.randn(1, 256, SIZE // 16, SIZE // 16, generator=torch.Generator().manual_seed(0))
    score, mask = (
        torch.tensor([[-3.0]]),
        torch.randn(1, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(1)),
    )
    with torch.no_grad():
        # In float64, so that both round to the same bfloat16 on every processor.
        features, mask, score = features.double(), mask.double(), score.double()
        memory = ours.double().encode_memory(features, mask, score[:, 0], False)
        flat = features.flatten(2).permute(2, 0, 1)
        sizes = [(SIZE // 16, SIZE // 16)]
        expected, _ = theirs.double()._encode_new_memory([flat], sizes, mask, score, False)
    assert relative_error(memory.features, expected.to(torch.bfloat16)) < TOLERANCE
