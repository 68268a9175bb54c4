"""The sizes that a network is made of, without weights.

A :class:`Config` says everything that is needed to build a :class:`~.model.SAM2`, a :class:`Sam1Config` the same for a
:class:`~.sam1.SAM1`; the published ones are constants at the end of the file. Sizes that depend on the image (position
embeddings, rotary angles, masks) are computed from the features, so `image_size` is the size a checkpoint was trained
for, not a limit.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, is_dataclass, replace
from typing import Any, get_args, get_origin, get_type_hints

from ..core.errors import CheckpointError

FITS = ("center", "corner", "stretch")
FILTERS = ("linear", "cubic", "area", "nearest")
RANGES = ("mean-deviation", "min-max")
PADDINGS = ("black", "zero")


@dataclass(frozen=True)
class InputRule:
    """The rule by which a slice becomes the square frame that a network was trained with.

    The published programs count in pixels. Here the longer side is the longer one in mm, so that "center" and "corner"
    show a circle as a circle whatever the spacing; on square pixels the two are the same.

    Args:
        fit: "corner" = the longer side fills the square and the slice lies in its upper left; "center" = the same with
            the slice in the middle; "stretch" = rows and columns are scaled each by itself and fill the square.
        filter: "linear" and "cubic" as Pillow resizes, which smooths where the slice shrinks; "area" = the mean of what
            a pixel covers; "nearest".
        range: "mean-deviation" = (value / 255 - mean) / deviation; "min-max" = each frame stretched to 0..1.
        mean, deviation: of the channels, for values in 0..1.
        padding: of the square beyond the slice: "black" = gray value 0, "zero" = zero for the network's first layer.
        channels: of the network's first layer; a gray slice is repeated.
    """

    fit: str = "center"
    filter: str = "linear"
    range: str = "mean-deviation"
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    deviation: tuple[float, float, float] = (0.229, 0.224, 0.225)
    padding: str = "black"
    channels: int = 3

    def __post_init__(self) -> None:
        for name, known in (("fit", FITS), ("filter", FILTERS), ("range", RANGES), ("padding", PADDINGS)):
            if getattr(self, name) not in known:
                raise ValueError(
                    f"field {name!r} must be one of {', '.join(known)}, got {getattr(self, name)!r}"
                )
        if self.channels != len(self.mean) or min(self.deviation) <= 0:
            raise ValueError(
                f"field 'channels' must be 3 and each deviation positive, got {self.channels}, {self.deviation}"
            )


SAM_INPUT = InputRule(fit="corner", padding="zero")
"""Of SAM and MobileSAM: the longer side is resized, the rest is zero after the mean was subtracted."""

MEDSAM_INPUT = InputRule(fit="stretch", filter="cubic", range="min-max", padding="zero")
LITEMEDSAM_INPUT = InputRule(fit="corner", filter="area", range="min-max", padding="zero")
SAM_MED2D_INPUT = InputRule(fit="stretch", filter="nearest", padding="zero")


@dataclass(frozen=True)
class HieraConfig:
    """The hierarchical vision transformer of SAM 2 (Ryali et al. 2023, Bolya et al. 2023).

    Args:
        embed_dim: Channels of the first stage; doubles with every stage.
        num_heads: Attention heads of the first stage; doubles with every stage.
        stages: Blocks in each of the four stages (strides 4, 8, 16, 32).
        global_attention_blocks: Indices of the blocks that attend to the whole image instead of windows.
        window_sizes: Side of the attention window of each stage, in tokens.
        position_embedding_size: Rows and columns of the learned background position embedding.
    """

    embed_dim: int
    num_heads: int
    stages: tuple[int, int, int, int]
    global_attention_blocks: tuple[int, ...]
    window_sizes: tuple[int, int, int, int] = (8, 4, 14, 7)
    position_embedding_size: tuple[int, int] = (14, 14)


@dataclass(frozen=True)
class ConvTrunkConfig:
    """A small residual convolutional trunk with features at strides 2, 4, 8 and 16.

    Args:
        channels: Channels of the four stages, finest first.
        blocks: Residual blocks of the four stages, finest first.
    """

    channels: tuple[int, int, int, int]
    blocks: tuple[int, int, int, int]

    @property
    def stride(self) -> int:
        """Image pixels per feature where it is the image encoder of a network without memory."""
        return 4


@dataclass(frozen=True)
class TinyViTConfig:
    """The TinyViT trunk of MobileSAM and LiteMedSAM (Wu et al. 2022).

    Args:
        widths: Channels of the four stages; attention heads have 32 each.
        depths: Blocks of the four stages.
        windows: Side of the attention window of each stage, in tokens; the first stage has no attention.
        stem_kernel: Kernel of both convolutions of the stem.
        stem_stride: Stride of both convolutions of the stem.
    """

    widths: tuple[int, int, int, int] = (64, 128, 160, 320)
    depths: tuple[int, int, int, int] = (2, 2, 6, 2)
    windows: tuple[int, int, int, int] = (7, 7, 14, 7)
    stem_kernel: int = 3
    stem_stride: int = 2

    @property
    def stride(self) -> int:
        """Image pixels per feature of the last stage."""
        return 4 * self.stem_stride**2


@dataclass(frozen=True)
class ViTConfig:
    """The plain vision transformer of SAM (Li et al. 2022, ViTDet) and of EfficientTAM.

    Args:
        width: Channels.
        depth: Blocks.
        heads: Attention heads.
        global_blocks: Indices of the blocks that attend to the whole image instead of windows.
        grid: Rows and columns of the tokens at the size the checkpoint was trained for.
        position_grid: Rows and columns of the stored position embedding; 0 = as `grid`. It is enlarged to the tokens.
        window: Side of the attention window in tokens.
        relative_positions: Attention logits get a learned part for the distance in rows and in columns.
        class_token: The stored position embedding begins with that of a class token, which is not used.
        adapters: Each block has a channel and spatial adapter beside its MLP (SAM-Med2D, Cheng et al. 2023).
    """

    width: int
    depth: int
    heads: int
    global_blocks: tuple[int, ...]
    grid: int = 64
    position_grid: int = 0
    window: int = 14
    relative_positions: bool = True
    class_token: bool = False
    adapters: bool = False

    @property
    def stride(self) -> int:
        """Image pixels per feature."""
        return 16


@dataclass(frozen=True)
class Sam1Config:
    """All sizes of a network of the first SAM (Kirillov et al. 2023): an image encoder and a mask decoder, no memory.

    Args:
        name: What the network is called in messages and file names.
        image_size: Side of the square image the checkpoint was trained for, in pixels.
        trunk: The image encoder.
        decoder_feedforward: Hidden channels of the mask decoder's feed-forward parts.
        num_multimask_outputs: Alternative masks for ambiguous prompts.
        only_boxes: The checkpoint was trained on boxes only; points and earlier masks mean nothing to it.
        best_of_alternatives: The mask is always the best of the alternatives, not only for a single point.
        crop_margin: Side of the square the network is shown / longer side of the object's box; None = whole slice.
        input: How a slice becomes a frame.
    """

    name: str
    image_size: int
    trunk: TinyViTConfig | ViTConfig | ConvTrunkConfig
    decoder_feedforward: int = 2048
    num_multimask_outputs: int = 3
    only_boxes: bool = False
    best_of_alternatives: bool = False
    crop_margin: float | None = None
    input: InputRule = LITEMEDSAM_INPUT  # of the files that were written before a description named it

    @property
    def stride(self) -> int:
        """Image pixels per feature."""
        return self.trunk.stride

    @property
    def prompts(self) -> tuple[str, ...]:
        """The kinds of prompts that the checkpoint was trained with: "box", "point", "mask"."""
        return ("box",) if self.only_boxes else ("box", "point", "mask")

    def multimask_for(self, num_points: int, has_box: bool = False, has_mask: bool = False) -> bool:
        """Return whether the best of several masks is taken: for one point, which may mean a part or the whole."""
        return self.best_of_alternatives or (num_points == 1 and not has_box and not has_mask)

    def to_json(self) -> str:
        """One line of JSON that :meth:`from_json` reads back to an equal config."""
        return json.dumps(
            {**asdict(self), "trunk": _described(self.trunk), "decoder": "sam1"}, sort_keys=True
        )

    @classmethod
    def from_json(cls, text: str) -> Sam1Config:
        """Read what :meth:`to_json` wrote.

        Raises:
            CheckpointError: If the text is not JSON, or a field is unknown, missing or of another type.
        """
        try:
            values = _loaded(text)
            if values.pop("decoder") != "sam1":
                raise ValueError("its decoder is not that of SAM 1")
            values["trunk"].setdefault("kind", "tinyvit")  # the first files of this program name none
            config: Sam1Config = _build(cls, _with_parts(values, (TinyViTConfig, ViTConfig, ConvTrunkConfig)))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise CheckpointError(
                f"The description of the network in the checkpoint cannot be read: {error}."
            ) from error
        return config


@dataclass(frozen=True)
class Config:
    """All sizes of one network.

    Args:
        name: What the network is called in messages and file names.
        image_size: Side of the square frame the checkpoint was trained for, in pixels.
        trunk: The image trunk; its kind decides between the published networks and the small one.
        hidden_dim: Channels of the image features, prompt tokens and object pointers.
        memory_dim: Channels of the spatial memories; divides `hidden_dim`.
        num_memories: Memory slots: the conditioning slices share the last, the previous slices fill the others.
        max_object_pointers: Object pointers that are attended to, and the distance (in slices) that is scaled to one.
        stride: Image pixels per feature of the coarsest map that is used; mask logits have stride `stride / 4`.
        memory_attention_layers: Transformer layers that read the memories.
        memory_attention_feedforward: Hidden channels of their feed-forward parts.
        memory_attention_dropout: Dropout while training.
        decoder_feedforward: Hidden channels of the mask decoder's feed-forward parts.
        iou_hidden_dim: Hidden channels of the head that predicts the mask's IoU.
        num_multimask_outputs: Alternative masks for ambiguous prompts; 0 = one mask only, never an alternative.
        dense_prompts: Boxes, points and the previous slice's mask also enter as a mask prompt (see `dense_prompts.py`);
            callers that track with such a network pass the previous slice's logits as `DecoderPrompts.mask`.
        crop_margin: Side of the square the checkpoint expects / longer side of the object's box; None = whole slice.
        high_resolution: The mask decoder also reads the image's finer maps.
        pointer_positions: Object pointers carry their distance in slices (SAM 2.1).
        absent_memory: Memories of slices without the object carry an embedding of their own (SAM 2.1).
        input: How a slice becomes a frame.
    """

    name: str
    image_size: int
    trunk: HieraConfig | ConvTrunkConfig | ViTConfig
    hidden_dim: int = 256
    memory_dim: int = 64
    num_memories: int = 7
    max_object_pointers: int = 16
    stride: int = 16
    memory_attention_layers: int = 4
    memory_attention_feedforward: int = 2048
    memory_attention_dropout: float = 0.1
    decoder_feedforward: int = 2048
    iou_hidden_dim: int = 256
    num_multimask_outputs: int = 3
    dense_prompts: bool = False
    crop_margin: float | None = None
    high_resolution: bool = True
    pointer_positions: bool = True
    absent_memory: bool = True
    input: InputRule = InputRule()

    @property
    def prompts(self) -> tuple[str, ...]:
        """The kinds of prompts that the checkpoint was trained with: "box", "point", "mask"."""
        return "box", "point", "mask"

    def to_json(self) -> str:
        """One line of JSON that :meth:`from_json` reads back to an equal config."""
        return json.dumps({**asdict(self), "trunk": _described(self.trunk)}, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Config:
        """Read what :meth:`to_json` wrote.

        Raises:
            CheckpointError: If the text is not JSON, or a field is unknown, missing or of another type.
        """
        try:
            values = _loaded(text)
            config: Config = _build(cls, _with_parts(values, (HieraConfig, ConvTrunkConfig, ViTConfig)))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise CheckpointError(
                f"The description of the network in the checkpoint cannot be read: {error}."
            ) from error
        return config


_TRUNKS: dict[str, type] = {
    "hiera": HieraConfig,
    "convolutional": ConvTrunkConfig,
    "tinyvit": TinyViTConfig,
    "vit": ViTConfig,
}


def _described(trunk: HieraConfig | ConvTrunkConfig | TinyViTConfig | ViTConfig) -> dict[str, Any]:
    """A trunk as JSON values, with its kind."""
    kind = next(name for name, trunk_class in _TRUNKS.items() if type(trunk) is trunk_class)
    return {"kind": kind, **asdict(trunk)}


def _with_parts(values: dict[str, Any], trunks: tuple[type, ...]) -> dict[str, Any]:
    """JSON values of a config with its trunk, one of `trunks`, and its input rule as dataclasses."""
    trunk = dict(values["trunk"])
    trunk_class = _TRUNKS[trunk.pop("kind")]
    if trunk_class not in trunks:
        raise ValueError(f"its trunk {values['trunk']['kind']!r} belongs to another network")
    parts = {"trunk": _build(trunk_class, trunk)}
    if "input" in values:
        parts["input"] = _build(InputRule, values["input"])
    return {**values, **parts}


_LONGEST_TEXT = 65536
# The highest values of whole numbers, several times those of the largest network there is: a description in a file is
# checked before any network is built from it.
_HIGHEST = {
    "image_size": 4096,
    "stages": 128,
    "blocks": 128,
    "depths": 128,
    "depth": 128,
    "heads": 128,
    "grid": 256,
    "position_grid": 256,
    "window": 256,
    "memory_attention_layers": 128,
    "num_heads": 128,
    "window_sizes": 256,
    "windows": 256,
    "position_embedding_size": 256,
    "num_memories": 256,
    "max_object_pointers": 1024,
    "num_multimask_outputs": 64,
    "stem_kernel": 16,
    "stem_stride": 16,
    "stride": 64,
}
_HIGHEST_OF_ALL = 16384
_MOST_NUMBERS = 256


def _loaded(text: str) -> dict[str, Any]:
    """The JSON object in a description; ValueError when it is none."""
    if len(text) > _LONGEST_TEXT:
        raise ValueError(f"it has {len(text)} characters")
    try:
        values = json.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    if not isinstance(values, dict):
        raise TypeError("it is not an object")
    return values


def _build(dataclass_type: Any, values: dict[str, Any]) -> Any:
    """Make a dataclass from JSON values: lists become tuples, and every value must be of its type and within bounds."""
    types = get_type_hints(dataclass_type)
    unknown = sorted(set(values) - set(types))
    if unknown:
        raise ValueError(f"unknown field {unknown[0]!r}")
    return dataclass_type(**{name: _checked(name, types[name], value) for name, value in values.items()})


def _checked(name: str, wanted: Any, value: Any) -> Any:
    """The value of a field; TypeError or ValueError when it is of another type or out of bounds."""
    if is_dataclass(value):  # built before
        return value
    if get_origin(wanted) is tuple:
        length = None if ... in get_args(wanted) else len(get_args(wanted))
        fits = isinstance(value, list) and (
            len(value) <= _MOST_NUMBERS if length is None else len(value) == length
        )
        if not fits:
            raise TypeError(f"field {name!r} must be {length or 'some'} whole numbers, got {_shown(value)}")
        return tuple(_checked(name, get_args(wanted)[0], item) for item in value)
    if wanted is int:
        highest = _HIGHEST.get(name, _HIGHEST_OF_ALL)
        if type(value) is not int or not 0 <= value <= highest:
            raise ValueError(f"field {name!r} must be a whole number up to {highest}, got {_shown(value)}")
    elif wanted in (bool, str):
        if type(value) is not wanted or (wanted is str and len(value) > _MOST_NUMBERS):
            raise TypeError(
                f"field {name!r} must be {'text' if wanted is str else 'true or false'}, got {_shown(value)}"
            )
    elif value is None and type(None) in get_args(wanted):
        return None
    elif type(value) not in (int, float) or not 0 <= value <= _MOST_NUMBERS:
        raise ValueError(f"field {name!r} must be a number up to {_MOST_NUMBERS}, got {_shown(value)}")
    return value


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def any_config(text: str) -> Config | Sam1Config:
    """The config that a file describes as JSON, of either kind.

    Raises:
        CheckpointError: If it cannot be read.
    """
    return Sam1Config.from_json(text) if '"decoder": "sam1"' in text else Config.from_json(text)


TINY = Config(
    "sam2.1_hiera_tiny", 1024, HieraConfig(96, 1, (1, 2, 7, 2), (5, 7, 9), position_embedding_size=(7, 7))
)
SMALL = Config(
    "sam2.1_hiera_small", 1024, HieraConfig(96, 1, (1, 2, 11, 2), (7, 10, 13), position_embedding_size=(7, 7))
)
BASE_PLUS = Config("sam2.1_hiera_base_plus", 1024, HieraConfig(112, 2, (2, 3, 16, 3), (12, 16, 20)))
LARGE = Config(
    "sam2.1_hiera_large",
    1024,
    HieraConfig(144, 2, (2, 6, 36, 4), (23, 33, 43), (8, 4, 16, 8), position_embedding_size=(7, 7)),
)
MEDSAM2 = Config("medsam2", 512, TINY.trunk)
NANO = Config(
    "medsamslicer_nano",
    192,
    ConvTrunkConfig(channels=(32, 64, 96, 128), blocks=(1, 2, 3, 1)),
    hidden_dim=128,
    memory_dim=64,
    num_memories=4,
    max_object_pointers=8,
    stride=8,
    memory_attention_layers=2,
    memory_attention_feedforward=512,
    memory_attention_dropout=0.0,
    decoder_feedforward=512,
    iou_hidden_dim=128,
    num_multimask_outputs=0,
    dense_prompts=True,
    crop_margin=1.7,
)

# ------------------------------------------------------------------- EfficientTAM (Xiong et al. 2024), which is SAM 2.0
_EFFICIENT_TI = ViTConfig(
    192, 12, 3, (2, 5, 8, 11), position_grid=14, relative_positions=False, class_token=True
)
_EFFICIENT_S = replace(_EFFICIENT_TI, width=384, heads=6)
EFFICIENTTAM_TI = Config(
    "efficienttam_ti",
    1024,
    _EFFICIENT_TI,
    high_resolution=False,
    pointer_positions=False,
    absent_memory=False,
)
EFFICIENTTAM_S = replace(EFFICIENTTAM_TI, name="efficienttam_s", trunk=_EFFICIENT_S)
EFFICIENTTAM_TI_512 = replace(
    EFFICIENTTAM_TI, name="efficienttam_ti_512x512", image_size=512, trunk=replace(_EFFICIENT_TI, grid=32)
)
EFFICIENTTAM_S_512 = replace(
    EFFICIENTTAM_TI_512, name="efficienttam_s_512x512", trunk=replace(_EFFICIENT_S, grid=32)
)
EFF_MEDSAM2_TI = replace(EFFICIENTTAM_TI_512, name="eff_medsam2_tiny")
EFF_MEDSAM2_S = replace(EFFICIENTTAM_S_512, name="eff_medsam2_small")

# ----------------------------------------------------------------------------------------- SAM and what came from it
_VIT_B = ViTConfig(768, 12, 12, (2, 5, 8, 11))
SAM_B = Sam1Config("sam_vit_b", 1024, _VIT_B, input=SAM_INPUT)
SAM_L = Sam1Config("sam_vit_l", 1024, ViTConfig(1024, 24, 16, (5, 11, 17, 23)), input=SAM_INPUT)
SAM_H = Sam1Config("sam_vit_h", 1024, ViTConfig(1280, 32, 16, (7, 15, 23, 31)), input=SAM_INPUT)
MEDSAM = replace(SAM_B, name="medsam", only_boxes=True, input=MEDSAM_INPUT)
SAM_MED2D = Sam1Config(
    "sam_med2d",
    256,
    replace(_VIT_B, grid=16, adapters=True),
    best_of_alternatives=True,
    input=SAM_MED2D_INPUT,
)
FT_SAM = replace(SAM_MED2D, name="ft_sam", trunk=replace(_VIT_B, grid=16))
LITEMEDSAM = Sam1Config(
    "litemedsam", 256, TinyViTConfig(stem_kernel=1, stem_stride=1), only_boxes=True, input=LITEMEDSAM_INPUT
)
MOBILE_SAM = Sam1Config("mobile_sam", 1024, TinyViTConfig(), input=SAM_INPUT)

PUBLISHED: tuple[Config | Sam1Config, ...] = (
    *(TINY, SMALL, BASE_PLUS, LARGE, MEDSAM2, NANO),
    *(
        EFFICIENTTAM_TI,
        EFFICIENTTAM_S,
        EFFICIENTTAM_TI_512,
        EFFICIENTTAM_S_512,
        EFF_MEDSAM2_TI,
        EFF_MEDSAM2_S,
    ),
    *(SAM_B, SAM_L, SAM_H, MEDSAM, SAM_MED2D, FT_SAM, LITEMEDSAM, MOBILE_SAM),
)
