"""`medsamslicer train head`: a small head on a frozen network, see :mod:`..training.heads`."""

from __future__ import annotations

import argparse
import json
import sys

from ...cli.exit_codes import UsageError
from ...cli.models import loads
from ...cli.terminal import ProgressBar, confirmation


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare what belongs to `train head` alone."""
    group = parser.add_argument_group("heads (train head)")
    group.add_argument(
        "--head",
        metavar="KIND",
        help="patch: first prompts on a slice; volume: the labeled organs of a whole volume; implicit: finer masks",
    )


def run(args: argparse.Namespace) -> int:
    """Train a head, write it and print how it does; returns the exit code."""
    import torch

    from ...io.atomic import reserved
    from ...models import Registry
    from ...models.registry import BUNDLED_ID
    from ...sam2.checkpoint import load_named
    from ..training.heads import HeadTraining, check_kind, train_head
    from ..training.labeled import DataSettings

    if args.data is None:
        raise UsageError("train head learns from labeled volumes: name their folder with --data.")
    torch.set_num_threads(args.threads)
    settings = HeadTraining(
        args.out,
        check_kind(args.head),
        DataSettings(args.data, tuple(args.only), tuple(args.leave_out), args.validation, args.window),
        steps=args.steps or 500,
        learning_rate=args.lr or 2e-3,
        seed=args.seed,
        threads=args.threads,
    )
    file = Registry.from_environment().open(args.checkpoint or BUNDLED_ID, confirmation(args.yes), loads)
    model = load_named(file.path, file.checkpoint.config)
    with reserved(args.out), ProgressBar("training") as bar:
        scores = train_head(settings, model, lambda done, total: bar.update(done, total, f"step {done}"))
    sys.stdout.write(json.dumps({name: round(value, 4) for name, value in scores.items()}) + "\n")
    return 0
