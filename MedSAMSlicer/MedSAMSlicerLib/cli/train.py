"""`medsamslicer train`: train the bundled network from scratch on generated volumes, in legs of any length."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from .exit_codes import UsageError


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    """Declare the command; torch is imported only when it runs."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "train",
        help="train the bundled network on generated volumes",
        description="Train the small network from scratch on procedurally generated volumes (no patient data). "
        "Training goes in legs: run it again with --resume to go on, also after it was killed.",
        epilog="examples:\n"
        "  medsamslicer train --contact-sheet scenes.png\n"
        "  medsamslicer train --out run --minutes 15 --stage 1\n"
        "  medsamslicer train --out run --minutes 60 --stage 2 --resume",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--out", type=Path, help="folder for state, log and best.safetensors")
    parser.add_argument("--minutes", type=float, default=15.0, help="length of this leg (default: 15)")
    parser.add_argument(
        "--plan", type=float, help="minutes of the whole stage, for the learning rate (default: this leg)"
    )
    parser.add_argument(
        "--stage", type=int, choices=(1, 2), default=1, help="1 single slices, 2 clips with memory"
    )
    parser.add_argument(
        "--size", type=int, default=128, help="side of the frames in pixels, a multiple of 16"
    )
    parser.add_argument("--frames", type=int, default=24, help="frames per step (default: 24)")
    parser.add_argument(
        "--longest", type=int, default=8, help="slices of the longest clips of stage 2 (default: 8)"
    )
    parser.add_argument("--lr", type=float, default=1e-3, help="highest learning rate (default: 0.001)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads of the trainer (default: 2)")
    parser.add_argument("--workers", type=int, default=1, help="processes that generate scenes (default: 1)")
    parser.add_argument("--resume", action="store_true", help="go on from the state in --out")
    parser.add_argument("--contact-sheet", type=Path, metavar="PNG", help="draw scenes to look at and stop")
    parser.add_argument(
        "--held-out", action="store_true", help="with --contact-sheet: the validation families"
    )
    return parser


def run(args: argparse.Namespace) -> int:
    """Run the command; returns the exit code."""
    if args.contact_sheet is None and args.out is None:
        raise UsageError("train needs --out FOLDER (or --contact-sheet PNG).")
    from ..training.sheet import contact_sheet
    from ..training.synthetic import SceneSettings

    if args.contact_sheet is not None:
        contact_sheet(args.contact_sheet, args.seed, settings=SceneSettings(size=128, held_out=args.held_out))
        return 0
    if args.size % 16 or args.size < 32:
        raise UsageError(f"--size must be a multiple of 16 and at least 32, got {args.size}.")
    if args.longest < 4 or args.minutes <= 0:
        raise UsageError(
            f"--longest must be at least 4 and --minutes positive, got {args.longest}, {args.minutes}."
        )
    from ..sam2.config import NANO
    from ..training.loop import train
    from ..training.settings import TrainSettings

    settings = TrainSettings(
        out=args.out,
        minutes=args.minutes,
        plan=args.plan,
        stage=args.stage,
        size=args.size,
        frames=args.frames,
        longest=args.longest,
        learning_rate=args.lr,
        seed=args.seed,
        device=args.device,
        threads=args.threads,
        workers=args.workers,
    )
    scores = train(settings, NANO, args.resume)
    sys.stdout.write(json.dumps({name: round(value, 4) for name, value in asdict(scores).items()}) + "\n")
    return 0
