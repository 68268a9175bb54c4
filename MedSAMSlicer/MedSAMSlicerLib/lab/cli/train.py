"""`medsamslicer train`: the bundled network from scratch, or any checkpoint fine-tuned on labeled volumes."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...cli.argument_types import not_negative, positive, threads
from ...cli.exit_codes import UsageError
from ...cli.models import loads
from ...cli.terminal import confirmation, show_message
from . import train_distil, train_head

if TYPE_CHECKING:
    from ...sam2.config import Config, Sam1Config
    from ...sam2.model import SAM2
    from ...sam2.networks import Network
    from ..training.settings import TrainSettings

_SCRATCH_SIZE = 128
_FRAMES, _LONGEST = 24, 8
_SET_BY_RECIPES = ["data", "checkpoint", "stage", "size", "frames", "longest", "lr", "steps", "plan"]


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    """Declare the command; torch is imported only when it runs."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "train",
        help="train the bundled network from scratch, or fine-tune a checkpoint",
        description="Train the small network from scratch on generated volumes (no patient data), or fine-tune a "
        "checkpoint on a folder of labeled volumes (docs/fine-tuning.md). Training goes in legs: run the command "
        "again with --resume to go on, also after it was killed. Under torchrun every GPU takes its share.",
        epilog="examples:\n"
        "  medsamslicer train --recipe bundled --out run\n"
        "  medsamslicer train --recipe bundled --out run --device cuda --minutes 9 --compact-state\n"
        "  medsamslicer train --data volumes --checkpoint medsamslicer-nano --tune decoder --out tuned\n"
        "  medsamslicer train --data volumes --checkpoint medsam2-latest --tune lora --device cuda --out tuned\n"
        "  medsamslicer train volume --data volumes --out stage --minutes 60\n"
        "  medsamslicer train volume --no-range --data volumes --out unranged --minutes 20\n"
        "  medsamslicer train choice --data volumes\n"
        "  medsamslicer train head --head volume --data volumes --out organs\n"
        "  medsamslicer train distil --teacher litemedsam --student tinyvit-half --data volumes --out student\n"
        "  medsamslicer train --curves curves.png --out run",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "what",
        nargs="?",
        choices=("network", "volume", "choice", "distil", "head"),
        default="network",
        help="the network of slices, the volume stage that looks at all of them together, what chooses between two "
        "networks' masks in a box, a small network from a large one, or a head on a frozen one (default: network)",
    )
    _add_run_options(parser)
    _add_tuning_options(parser)
    train_distil.add_options(parser)
    train_head.add_options(parser)
    _add_step_options(parser)
    pictures = parser.add_argument_group("pictures instead of training")
    pictures.add_argument("--contact-sheet", type=Path, metavar="PNG", help="draw example scenes and stop")
    pictures.add_argument(
        "--held-out", action="store_true", help="of the contact sheet: the validation families"
    )
    pictures.add_argument(
        "--curves", type=Path, metavar="PNG", help="draw the curves of the run in --out and stop"
    )
    return parser


def _add_run_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, help="folder for state, log and best.safetensors")
    parser.add_argument(
        "--recipe",
        metavar="NAME",
        help='all stages of a named run, "bundled": the checkpoint that comes with the program; continues by itself',
    )
    parser.add_argument(
        "--minutes",
        type=float,
        help="length of this leg (default: 15; all of a recipe or a distillation; no limit with --steps)",
    )
    parser.add_argument(
        "--plan", type=float, help="minutes of the whole stage, for the learning rate (default: this leg)"
    )
    parser.add_argument("--steps", type=int, help="steps of the whole stage, in place of minutes")
    parser.add_argument("--resume", action="store_true", help="continue from the state in --out")
    parser.add_argument("--seed", type=not_negative, default=0)
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: cpu)")
    parser.add_argument("--threads", type=threads, default=2, help="CPU threads of the trainer (default: 2)")
    parser.add_argument(
        "--workers",
        type=not_negative,
        default=1,
        help="processes that make clips; 0 = none beside the trainer (default: 1)",
    )
    parser.add_argument(
        "--precision",
        choices=("bfloat16", "float32"),
        default="bfloat16",
        help="of products (default: bfloat16)",
    )
    parser.add_argument(
        "--compact-state",
        action="store_true",
        help="write the state in files of at most 15 MB instead of one",
    )
    parser.add_argument(
        "--tensorboard", action="store_true", help="log for TensorBoard, too, in OUT/tensorboard"
    )


def _add_tuning_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("fine-tuning")
    group.add_argument(
        "--checkpoint", metavar="ID_OR_FILE", help="weights to start from, see `medsamslicer models`"
    )
    group.add_argument("--data", type=Path, metavar="DIR", help="labeled volumes (default: generated ones)")
    group.add_argument(
        "--tune",
        choices=("all", "decoder", "encoder-decoder", "memory-decoder", "lora", "adapters"),
        default="all",
        help="which weights learn: all, those of the named parts, low-rank matrices beside all, or bottleneck "
        "adapters, which are saved alone (default: all)",
    )
    group.add_argument(
        "--preset",
        metavar="NAME",
        help="what learns, prompts, loss and rate as in a study: flare22, medsam, biosam2, biosam2-article, surgical "
        "or sam-med2d",
    )
    group.add_argument(
        "--adapter",
        default="bottleneck",
        metavar="NAME",
        help="of --tune adapters: bottleneck, hyper, click-feature, or for a transformer channel-spatial, depth, "
        "depthwise-3d, parallel-conv or temporal (depth, depthwise-3d and temporal for networks with memory); several "
        "joined by + (default: bottleneck)",
    )
    group.add_argument("--rank", type=positive, default=8, help="of the matrices of lora (default: 8)")
    group.add_argument(
        "--only",
        metavar="NAME",
        action="append",
        default=[],
        help="a volume to use, * for any letters; may be repeated (default: all)",
    )
    group.add_argument(
        "--leave-out",
        metavar="NAME",
        action="append",
        default=[],
        help="a volume to leave out; * for any letters",
    )
    group.add_argument(
        "--validation",
        type=float,
        default=0.2,
        help="share of the volumes that choose the best, 0 = none (default: 0.2)",
    )
    group.add_argument(
        "--window", default="auto", help="gray values, as for `medsamslicer segment` (default: auto)"
    )
    group.add_argument(
        "--unions",
        type=float,
        default=0.0,
        metavar="SHARE",
        help="of the clips whose object is learned with all that touches it, so that a click means the whole "
        "(default: 0)",
    )
    group.add_argument(
        "--mix",
        action="store_true",
        help="of volumes in --data no more than a part: also generated scenes, images drawn on label maps that the "
        "folder's manifest names without an image, and what LiteMedSAM draws on the volumes where it is sure, which "
        "is kept in OUT/lessons; for long runs",
    )
    group.add_argument(
        "--yes", action="store_true", help="use a checkpoint file of unknown hash without asking"
    )


def _add_step_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("steps")
    group.add_argument(
        "--stage",
        type=int,
        choices=(1, 2),
        help="1 single slices, 2 clips with memory (default: 1; 2 for fine-tuning)",
    )
    group.add_argument(
        "--size",
        type=int,
        help=f"side of the frames in pixels (default: the checkpoint's, else {_SCRATCH_SIZE})",
    )
    group.add_argument("--frames", type=positive, help=f"frames per step and process (default: {_FRAMES})")
    group.add_argument("--longest", type=int, help=f"slices of the longest clips (default: {_LONGEST})")
    group.add_argument(
        "--lr", type=float, help="highest learning rate (default: 0.001; fine-tuning: by what is tuned)"
    )
    group.add_argument(
        "--no-range",
        action="store_true",
        help="of the volume stage: learn from objects without a slice range, to see where they end",
    )


def run(args: argparse.Namespace) -> int:
    """Run the command; returns the exit code."""
    if args.contact_sheet is not None:
        from ..training.sheet import contact_sheet
        from ..training.synthetic import SceneSettings

        contact_sheet(args.contact_sheet, args.seed, settings=SceneSettings(size=128, held_out=args.held_out))
        return 0
    if args.what == "choice":
        return _choice(args)
    if args.out is None:
        raise UsageError("train needs --out FOLDER (or --contact-sheet PNG).")
    if args.curves is not None:
        from ..training.curves import draw_curves

        draw_curves(args.curves, args.out)
        return 0
    _check(args)
    if args.what in ("distil", "head"):
        return (train_distil if args.what == "distil" else train_head).run(args)
    if args.what == "volume":
        return _volume(args)
    return _recipe(args) if args.recipe is not None else _train(args)


def _check(args: argparse.Namespace) -> None:
    for name in ("minutes", "steps", "plan", "lr"):
        value = getattr(args, name)
        if value is not None and not value > 0:
            raise UsageError(f"--{name} must be above 0, got {value}.")
    if args.longest is not None and args.longest < 4:
        raise UsageError(f"--longest must be at least 4, got {args.longest}.")
    if not 0 <= args.validation < 1:
        raise UsageError(f"--validation is a share from 0 to below 1, got {args.validation}.")
    if not 0 <= args.unions <= 1:
        raise UsageError(f"--unions is a share from 0 to 1, got {args.unions}.")
    given = [f"--{name}" for name in _SET_BY_RECIPES if getattr(args, name) is not None]
    if args.recipe is not None and given:
        raise UsageError(f"A recipe sets these itself: leave out {', '.join(given)}.")
    if args.data is None and (args.leave_out or args.only or args.unions):
        raise UsageError("--only, --leave-out and --unions go with --data.")
    if args.no_range and args.what != "volume":
        raise UsageError("--no-range goes with train volume.")
    if args.mix and (args.data is None or args.checkpoint is None or args.preset is not None):
        raise UsageError("--mix goes with --data and --checkpoint, and sets by itself what a --preset would.")
    if args.preset is not None:
        taken = [f"--{name}" for name in ("stage", "longest", "recipe") if getattr(args, name) is not None]
        taken += ["--tune"] if args.tune != "all" else []
        if taken:
            raise UsageError(f"A preset sets these itself: leave out {', '.join(taken)}.")
        if args.checkpoint is None or args.data is None:
            raise UsageError("--preset needs a --checkpoint to start from and --data to learn from.")
    if args.checkpoint is None and args.tune != "all":
        raise UsageError(f"--tune {args.tune} needs a --checkpoint to start from.")


def _volume(args: argparse.Namespace) -> int:
    """Train the volume stage on what the checkpoint tracks; the same command goes on with a run."""
    import torch

    from ...models.registry import BUNDLED_ID
    from ..training.volume_stage import VolumeTraining, train_volume_stage

    if args.recipe is not None or args.steps is not None:
        raise UsageError("train volume is limited by --minutes: leave out --recipe and --steps.")
    torch.set_num_threads(args.threads)
    args.checkpoint = args.checkpoint or BUNDLED_ID
    model = _with_memory(_opened(args)[0])
    settings = VolumeTraining(
        args.out,
        args.data,
        args.minutes or 60.0,
        validation=args.validation,
        learning_rate=args.lr or (6e-4 if args.no_range else 2e-3),
        seed=args.seed,
        ranged=not args.no_range,
    )
    _print(asdict(train_volume_stage(settings, model)))
    return 0


def _choice(args: argparse.Namespace) -> int:
    """Learn and print what chooses between two networks' masks in a box."""
    import torch

    from ...models.registry import BUNDLED_ID
    from ..training.box_choice import learn_box_choice

    if args.data is None:
        raise UsageError("train choice learns from labeled volumes: name their folder with --data.")
    torch.set_num_threads(args.threads)
    args.checkpoint = args.checkpoint or BUNDLED_ID
    model = _with_memory(_opened(args)[0])
    _print(asdict(learn_box_choice(args.data, model, args.seed)))
    return 0


def _recipe(args: argparse.Namespace) -> int:
    from ...engine.devices import chosen_device
    from ...sam2.config import NANO
    from ..training.loop import train_recipe
    from ..training.settings import TrainSettings, recipe

    device = chosen_device(args.device)
    chosen = recipe(args.recipe, device)
    base = TrainSettings(
        out=args.out,
        minutes=args.minutes or 10 * chosen.minutes,
        seed=args.seed,
        device=device,
        threads=args.threads,
        workers=args.workers,
        bfloat16=args.precision == "bfloat16",
        part_mb=15 if args.compact_state else 0,
        tensorboard=args.tensorboard,
    )
    scores, left = train_recipe(base, chosen, NANO)
    if scores is not None or not left:
        _print({"minutes_left": round(left, 1), **({} if scores is None else asdict(scores))})
    if scores is not None and left:
        show_message(f"{left:.0f} minutes of the recipe are left: the same command continues.")
    return 0


def _train(args: argparse.Namespace) -> int:
    from ...sam2.config import NANO
    from ..training.loop import train

    train_distil.check_folder(args)
    config: Config | Sam1Config = NANO
    start: Network | None = None
    provenance: dict[str, str] | None = None
    if args.checkpoint is not None:
        start, provenance = _opened(args)
        config = start.config
    elif args.data is not None:
        provenance = {"training_data": "labeled volumes of the user's"}
    settings = _settings(args, config)
    if args.mix and start is not None:
        settings = _mixed(args, settings, _with_memory(start))
    if args.preset is not None:
        provenance = {**(provenance or {}), "preset": args.preset}
    scores = train(settings, config, args.resume, start, provenance)
    if scores is not None:  # else another process has them
        _print(asdict(scores))
    return 0


def _mixed(args: argparse.Namespace, settings: TrainSettings, start: SAM2) -> TrainSettings:
    """The settings of a long run on a mixture; what the teacher draws for it is made first, once."""
    import torch

    from ..training import distributed
    from ..training.mixture import Mixture, parts
    from ..training.settings import MIXED_LEARNING_RATE
    from ..training.teacher import make_lessons

    mixed = replace(
        settings,
        mixture=Mixture(),
        lessons=args.out / "lessons",
        learning_rate=args.lr or MIXED_LEARNING_RATE,
        encoder_share=1.0,
        ema_decay=0.998,
        warmup_steps=100,
    )
    torch.set_num_threads(args.threads)
    if distributed.is_first():
        training, _, _ = parts(mixed)
        make_lessons(training, args.out / "lessons", start, args.seed)
    return mixed


def _with_memory(network: Network) -> SAM2:
    """The network, if it is one of SAM 2."""
    from ...sam2.model import SAM2

    if not isinstance(network, SAM2):
        raise UsageError(f"{network.config.name} has no memory, and this needs a network of SAM 2.")
    return network


def _opened(args: argparse.Namespace) -> tuple[Network, dict[str, str]]:
    """The network to start from, and what its successors say of their origin."""
    from ...models import Registry
    from ...sam2.checkpoint import load_named

    file = Registry.from_environment().open(args.checkpoint, confirmation(args.yes), loads)
    network = load_named(file.path, file.checkpoint.config)
    data = "generated volumes" if args.data is None else "labeled volumes of the user's"
    return network, {
        "license": file.checkpoint.license,
        "base": file.checkpoint.id,
        "base_sha256": file.sha256,
        "training_data": f"that of {file.checkpoint.id}, then {data}",
    }


def _settings(args: argparse.Namespace, config: Config | Sam1Config) -> TrainSettings:
    from ...engine.devices import chosen_device
    from ...sam2.config import HieraConfig, Sam1Config
    from ..training.labeled import DataSettings
    from ..training.presets import preset
    from ..training.settings import ENCODER_SHARE, LEARNING_RATES, TrainSettings

    tuned = args.checkpoint is not None
    size = args.size or (config.image_size if tuned else _SCRATCH_SIZE)
    multiple = 32 if isinstance(config.trunk, HieraConfig) else 16
    if size % multiple or size < 32:
        raise UsageError(f"--size must be a multiple of {multiple} and at least 32, got {size}.")
    data = None
    if args.data is not None:
        data = DataSettings(args.data, tuple(args.only), tuple(args.leave_out), args.validation, args.window)
    settings = TrainSettings(
        out=args.out,
        minutes=args.minutes or (float("inf") if args.steps else 15.0),
        plan=args.plan,
        steps=args.steps,
        stage=args.stage or (2 if tuned or data else 1),
        size=size,
        frames=args.frames or _FRAMES,
        longest=args.longest or _LONGEST,
        learning_rate=args.lr or (LEARNING_RATES[args.tune] if tuned else 1e-3),
        warmup_steps=20 if tuned else 200,
        ema_decay=0.99 if tuned else 0.998,
        tune=args.tune,
        rank=args.rank,
        adapter=args.adapter,
        encoder_share=ENCODER_SHARE if tuned and args.tune == "all" else 1.0,
        data=data,
        unions=args.unions,
        bfloat16=args.precision == "bfloat16",
        seed=args.seed,
        device=chosen_device(args.device),
        threads=args.threads,
        workers=args.workers,
        part_mb=15 if args.compact_state else 0,
        tensorboard=args.tensorboard,
    )
    if isinstance(config, Sam1Config):
        settings = _slice_by_slice(args, settings, config)
    if args.preset is None:
        return settings
    chosen = preset(args.preset)
    rate = args.lr or chosen.learning_rate
    if settings.data is not None and chosen.smallest is not None:
        settings = replace(settings, data=replace(settings.data, smallest=chosen.smallest))
    return replace(settings, tune=chosen.tune, learning_rate=rate, encoder_share=1.0, **chosen.settings)


def _slice_by_slice(args: argparse.Namespace, settings: TrainSettings, config: Sam1Config) -> TrainSettings:
    """The settings for a network without memory, which learns single slices as it is shown them."""
    from ..training.presets import preset

    if settings.data is None:
        raise UsageError(f"{config.name} is shown whole slices: name labeled volumes with --data.")
    if settings.size != config.image_size:
        raise UsageError(f"{config.name} is shown {config.image_size} pixels: leave out --size.")
    clips = args.stage == 2 or args.longest is not None
    if args.preset is not None:
        clips = preset(args.preset).settings.get("stage", 2) == 2
    if clips:
        cause = f"the preset {args.preset} learns clips" if args.preset else "clips are out of its reach"
        raise UsageError(f"{config.name} has no memory and learns single slices: {cause}.")
    return replace(settings, stage=1, pair_share=0.0, shortest=1, longest=1, fit=config.input.fit)


def _print(values: dict[str, float]) -> None:
    sys.stdout.write(json.dumps({name: round(value, 4) for name, value in values.items()}) + "\n")
