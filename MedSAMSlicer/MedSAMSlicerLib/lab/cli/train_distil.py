"""`medsamslicer train distil`: a small image encoder learns from a large network's embeddings."""

from __future__ import annotations

import argparse
import json
import sys

from ...cli.argument_types import not_negative, positive
from ...cli.exit_codes import UsageError
from ...cli.models import loads
from ...cli.terminal import ProgressBar, confirmation, show_message


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare what belongs to `train distil` alone."""
    group = parser.add_argument_group("distillation (train distil)")
    group.add_argument("--teacher", metavar="ID_OR_FILE", help="network without memory to learn from")
    group.add_argument(
        "--student",
        default="tinyvit",
        metavar="NAME",
        help="image encoder that learns: tinyvit, tinyvit-half or convolutional (default: tinyvit)",
    )
    group.add_argument(
        "--loss",
        default="mse",
        metavar="NAME",
        help="mse or mse+perceptual, which also compares maps inside the teacher's decoder (default: mse)",
    )
    group.add_argument(
        "--perceptual-weight", type=float, default=0.1, metavar="X", help="of the second part (default: 0.1)"
    )
    group.add_argument(
        "--encoder-steps", type=not_negative, default=1000, metavar="N", help="(default: 1000)"
    )
    group.add_argument(
        "--decoder-steps",
        type=not_negative,
        default=0,
        metavar="N",
        help="then the mask decoder learns from boxes, the encoder stays (default: 0)",
    )
    group.add_argument(
        "--modality-steps",
        type=not_negative,
        default=0,
        metavar="N",
        help="then adapters for each modality learn what is left (default: 0)",
    )
    group.add_argument(
        "--lessons",
        type=positive,
        metavar="N",
        help="make N batches of --data in all, which the teacher reads once, and learn them again and again; "
        "what it says is kept in OUT/lessons (default: new ones at every step)",
    )
    group.add_argument("--batch", type=positive, default=4, metavar="N", help="slices a step (default: 4)")


def check_folder(args: argparse.Namespace) -> None:
    """Raise UsageError when the folder holds a run that is not to be resumed."""
    from ..training.state import has_state

    if not args.resume and has_state(args.out):
        raise UsageError(f"{args.out} already holds a run: continue with --resume, or use another folder.")


def run(args: argparse.Namespace) -> int:
    """Distil, write the student and print how it does; returns the exit code."""
    import torch

    from ...io.atomic import reserved
    from ...models import Registry
    from ...sam2.checkpoint import load_named
    from ..training.distillation import DistillationSettings, described, distil
    from ..training.labeled import DataSettings

    if args.teacher is None:
        raise UsageError("train distil needs a --teacher, such as litemedsam.")
    check_folder(args)
    torch.set_num_threads(args.threads)
    data = None
    if args.data is not None:
        data = DataSettings(args.data, tuple(args.only), tuple(args.leave_out), args.validation, args.window)
    settings = DistillationSettings(
        out=args.out,
        student=args.student,
        loss=args.loss,
        perceptual_weight=args.perceptual_weight,
        encoder_steps=args.encoder_steps,
        modality_steps=args.modality_steps,
        decoder_steps=args.decoder_steps,
        batch=args.batch,
        learning_rate=args.lr or 5e-4,
        data=data,
        lessons=args.lessons,
        minutes=args.minutes,
        seed=args.seed,
    )
    file = Registry.from_environment().open(args.teacher, confirmation(args.yes), loads)
    teacher = load_named(file.path, file.checkpoint.config)
    provenance = {
        "license": file.checkpoint.license,
        "base": file.checkpoint.id,
        "base_sha256": file.sha256,
        "training_data": "generated volumes" if data is None else "labeled volumes of the user's",
    }
    with reserved(args.out), ProgressBar("distilling") as bar:
        found = distil(settings, teacher, provenance, bar.update)
    sys.stdout.write(json.dumps(described(found)) + "\n")
    if "now" in found:
        show_message("There are steps left: the same command with --resume continues.")
    return 0
