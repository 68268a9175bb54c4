"""`medsamslicer models`: list, show, download, verify, delete, add and prepare checkpoints."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

from ..core.errors import MedSAMError
from ..core.tiers import TIERS
from ..models import Checkpoint, DownloadSettings, Registry, State
from .exit_codes import FAILED, OK
from .terminal import ProgressBar, confirmation, show_message, size

_EPILOG = """examples:
  medsamslicer models list
  medsamslicer models download sam2.1-tiny
  medsamslicer models download medsam2-latest --yes          # its hash is not published: --yes accepts the first one
  medsamslicer models download sam2.1-tiny --mirror https://intranet/models --proxy http://proxy:3128
  medsamslicer models add my_fine_tuned.safetensors --name my-model
  medsamslicer models verify
  medsamslicer models prepare                                # the bundled networks, for this processor
  medsamslicer models delete sam2.1-tiny

environment:
  MEDSAMSLICER_MODELS   folder of downloaded checkpoints
  MEDSAMSLICER_OFFLINE  folders with checkpoint files that are only read, for computers without a network
  MEDSAMSLICER_MIRROR   address of a folder that has the same files; HTTPS_PROXY and MEDSAMSLICER_PROXY name a proxy"""


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    """Declare the command and what it can do."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "models",
        help="list, download, check and delete checkpoints",
        description="List checkpoints, download them to this computer, verify and delete them.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    listing = actions.add_parser("list", help="every checkpoint with size, license and state")
    listing.add_argument("--json", action="store_true", help="as JSON")
    listing.set_defaults(action=_list)
    show = actions.add_parser("show", help="everything known about one checkpoint, as JSON")
    show.add_argument("model", help="name or file")
    show.set_defaults(action=_show)
    download = actions.add_parser("download", help="download checkpoints to this computer")
    download.add_argument("model", nargs="+", help="name")
    download.add_argument(
        "--yes", action="store_true", help="accept a checkpoint whose hash is not published"
    )
    download.add_argument("--mirror", metavar="URL", help="folder that has the same files")
    download.add_argument("--proxy", metavar="URL", help="HTTP proxy")
    download.set_defaults(action=_download)
    verify = actions.add_parser("verify", help="compare the files on disk with their SHA-256")
    verify.add_argument("model", nargs="*", help="name or file (default: all that are on disk)")
    verify.set_defaults(action=_verify)
    delete = actions.add_parser(
        "delete", help="delete downloaded files; a file of your own is only removed from the list"
    )
    delete.add_argument("model", nargs="+", help="name")
    delete.add_argument("--forget", action="store_true", help="also forget the hash that was accepted")
    delete.set_defaults(action=_delete)
    add = actions.add_parser("add", help="add a file of your own to the list and accept it as it is")
    add.add_argument("file", type=Path)
    add.add_argument("--name", help="name for --model (default: that of the file)")
    add.set_defaults(action=_add)
    prepare = actions.add_parser(
        "prepare",
        help="compile image encoders for this processor with OpenVINO, and use whichever is faster from then on",
    )
    prepare.add_argument("model", nargs="*", help="name or file (default: the bundled networks)")
    prepare.add_argument("--tier", choices=("auto", *TIERS), default="auto", help="precision (default: auto)")
    prepare.add_argument(
        "--yes", action="store_true", help="use a checkpoint file whose hash is not known yet"
    )
    prepare.set_defaults(action=_prepare)
    return parser


def run(arguments: argparse.Namespace) -> int:
    """Run the action; returns the exit code."""
    return int(arguments.action(arguments, Registry.from_environment()))


def whole_name(model: str) -> str:
    """The id of a checkpoint as it is; a file by its whole path, which holds in other folders and processes."""
    path = Path(model)
    return str(path.resolve()) if path.is_file() else model


def loads(checkpoint: Checkpoint, path: Path) -> None:
    """Read the weights of a file into the network of a checkpoint. Raises CheckpointError when they do not fit."""
    from ..sam2.checkpoint import load_named

    load_named(path, checkpoint.config)


def _list(arguments: argparse.Namespace, registry: Registry) -> int:
    checkpoints = list(registry)
    if arguments.json:
        _print_json([_description(checkpoint, registry) for checkpoint in checkpoints])
        return OK
    rows = [("NAME", "STATE", "SIZE", "LICENSE", "PROMPTS", "")]
    for checkpoint in checkpoints:
        path = registry.path_of(checkpoint)
        known = checkpoint.bytes if path is None else path.stat().st_size
        rows.append(
            (
                checkpoint.id,
                registry.state(checkpoint).value,
                size(known),
                checkpoint.license,
                ", ".join(checkpoint.prompts) or "not known",
                checkpoint.title,
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(6)]
    for row in rows:
        sys.stdout.write(
            "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() + "\n"
        )
    return OK


def _show(arguments: argparse.Namespace, registry: Registry) -> int:
    _print_json(_description(registry.find(arguments.model), registry))
    return OK


def _download(arguments: argparse.Namespace, registry: Registry) -> int:
    settings = DownloadSettings.from_environment()
    settings = dataclasses.replace(
        settings, mirror=arguments.mirror or settings.mirror, proxy=arguments.proxy or settings.proxy
    )
    for name in arguments.model:
        checkpoint = registry.find(name)
        if registry.state(checkpoint) is State.NOT_ON_DISK:
            show_message(f"{checkpoint.title}: {size(checkpoint.bytes)}, license {checkpoint.license}")
        with ProgressBar(checkpoint.file) as bar:
            file = registry.download(
                checkpoint,
                confirm=confirmation(arguments.yes),
                loads=loads,
                settings=settings,
                progress=lambda done, total, bar=bar: bar.update(done, total, size(done)),  # type: ignore[misc]
            )
        sys.stdout.write(f"{file.path}\n")
    return OK


def _verify(arguments: argparse.Namespace, registry: Registry) -> int:
    chosen = [registry.find(name) for name in arguments.model]
    code = OK
    for checkpoint in chosen or [
        checkpoint for checkpoint in registry if registry.path_of(checkpoint) is not None
    ]:
        try:
            if checkpoint.bundled and checkpoint.sha256 is None:
                registry.open(checkpoint)
            else:
                registry.verify(checkpoint)
            sys.stdout.write(f"{checkpoint.id}: right\n")
        except MedSAMError as error:
            sys.stdout.write(f"{checkpoint.id}: {error}\n")
            code = FAILED
    return code


def _delete(arguments: argparse.Namespace, registry: Registry) -> int:
    for name in arguments.model:
        checkpoint = registry.find(name)
        path = registry.delete(checkpoint, forget=arguments.forget)
        if checkpoint.path is not None:
            done = f"no longer listed; {checkpoint.path} is still there"
        else:
            done = "was not on this computer" if path is None else f"deleted {path}"
        sys.stdout.write(f"{checkpoint.id}: {done}\n")
    return OK


def _add(arguments: argparse.Namespace, registry: Registry) -> int:
    file = registry.add(arguments.file, arguments.name)
    sys.stdout.write(f"{file.checkpoint.id}: {file.path}, SHA-256 {file.sha256}\n")
    return OK


def _description(checkpoint: Checkpoint, registry: Registry) -> dict[str, object]:
    path = registry.path_of(checkpoint)
    content = dataclasses.asdict(checkpoint)
    return {**content, "path": path and str(path), "state": registry.state(checkpoint).value}


def _prepare(arguments: argparse.Namespace, registry: Registry) -> int:
    """Prepare networks one after the other, and say of each whether it is used from now on."""
    from ..engine.encoder import prepare
    from ..engine.precision import choose, torch_settings
    from ..sam2.checkpoint import load_named

    tier = None if arguments.tier == "auto" else arguments.tier
    precision = choose("cpu", tier, runtime="openvino")
    names = arguments.model or [checkpoint.id for checkpoint in registry if checkpoint.bundled]
    for name in names:
        file = registry.open(name, confirmation(arguments.yes), loads)
        show_message(f"{file.checkpoint.id} is compiled and timed; this takes some seconds.")
        with torch_settings(precision):
            found = prepare(load_named(file.path, file.checkpoint.config), precision)
        sys.stdout.write(
            f"{file.checkpoint.id}: {'OpenVINO' if found.used else 'torch'} is used; a frame took "
            f"{found.openvino_ms:.0f} ms instead of {found.torch_ms:.0f} ms, largest difference {found.error:.1e}\n"
        )
    return OK


def _print_json(content: object) -> None:
    sys.stdout.write(json.dumps(content, indent=1) + "\n")
