"""What is replaced keeps its mode; what a killed process left is deleted by the next; one writer for each output."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from MedSAMSlicerLib.core.errors import OutputError
from MedSAMSlicerLib.io import atomic
from MedSAMSlicerLib.io.atomic import MARK, replacing, reserved, sweep, write_bytes

LIBRARY = Path(__file__).resolve().parents[2] / "MedSAMSlicer"
posix = pytest.mark.skipif(os.name != "posix", reason="modes, signals and locks of POSIX systems")

# Replaces `out` and its companion `names`, and kills itself right before the file operation of that number.
KILLED = """
import os, pathlib, signal, sys
sys.path.insert(0, sys.argv[1])
from MedSAMSlicerLib.io.atomic import replacing
folder, at = pathlib.Path(sys.argv[2]), int(sys.argv[3])
count = 0
def counted(operation):
    def call(*arguments, **named):
        global count
        if count == at:
            os.kill(os.getpid(), signal.SIGKILL)
        count += 1
        return operation(*arguments, **named)
    return call
os.replace, pathlib.Path.unlink = counted(os.replace), counted(pathlib.Path.unlink)
with replacing(folder / "out", {folder / "names": b"new"}) as file:
    file.write(b"new")
"""

# Holds the output `out` until it is killed, and says so.
HOLDING = """
import sys, time
sys.path.insert(0, sys.argv[1])
from MedSAMSlicerLib.io import atomic
with atomic.{how}(sys.argv[2]):
    print("held", flush=True)
    time.sleep(60)
"""


def run(program: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", program, str(LIBRARY), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def holder(how: str, path: Path) -> subprocess.Popen[str]:
    """A process that reserves or writes `path` until it is killed."""
    command = [sys.executable, "-c", HOLDING.format(how=how), str(LIBRARY), str(path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


@pytest.fixture(autouse=True)
def nothing_swept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test is a process of its own as far as sweeping goes."""
    monkeypatch.setattr(atomic, "_swept", set())


@posix
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o664])
def test_the_mode_of_a_replaced_file_is_kept(tmp_path: Path, mode: int) -> None:
    out = tmp_path / "out.nrrd"
    out.write_bytes(b"old")
    out.chmod(mode)
    write_bytes(out, b"new")
    assert out.read_bytes() == b"new"
    assert stat.S_IMODE(out.stat().st_mode) == mode


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can give files away")
def test_the_owner_of_a_replaced_file_is_kept(tmp_path: Path) -> None:
    out = tmp_path / "out.nrrd"
    out.write_bytes(b"old")
    os.chown(out, 65534, 65534)
    write_bytes(out, b"new")
    assert (out.stat().st_uid, out.stat().st_gid) == (65534, 65534)


@posix
def test_a_read_only_file_is_not_replaced_not_even_by_root(tmp_path: Path) -> None:
    out = tmp_path / "out.nrrd"
    out.write_bytes(b"protected")
    out.chmod(0o444)
    with pytest.raises(OutputError, match=r"out\.nrrd: the file is read-only"):
        write_bytes(out, b"new")
    assert out.read_bytes() == b"protected"
    assert [path.name for path in tmp_path.iterdir()] == ["out.nrrd"]


@posix
def test_a_read_only_companion_is_not_replaced_and_neither_is_the_file(tmp_path: Path) -> None:
    out, names = tmp_path / "out.nii", tmp_path / "out.labels.json"
    out.write_bytes(b"old")
    names.write_bytes(b"old")
    names.chmod(0o444)
    with (
        pytest.raises(OutputError, match=r"labels\.json: the file is read-only"),
        replacing(out, {names: b"new"}) as file,
    ):
        file.write(b"new")
    assert (out.read_bytes(), names.read_bytes()) == (b"old", b"old")
    assert len(list(tmp_path.iterdir())) == 2


@posix
def test_a_loop_of_links_is_named(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    with pytest.raises(OutputError, match="symbolic link that leads to itself"):
        write_bytes(tmp_path / "a", b"x")


@posix
@pytest.mark.parametrize("at", range(4))
def test_a_kill_at_no_moment_leaves_names_beside_an_image_of_another_run(tmp_path: Path, at: int) -> None:
    for name in ("out", "names"):
        (tmp_path / name).write_bytes(b"old")
    done = run(KILLED, tmp_path, at)
    assert done.returncode == (-signal.SIGKILL if at < 3 else 0), done.stderr
    image = (tmp_path / "out").read_bytes()
    names = (tmp_path / "names").read_bytes() if (tmp_path / "names").exists() else image
    assert names == image
    write_bytes(tmp_path / "another", b"x")  # the next run
    assert not list(tmp_path.glob(".*"))


@posix
def test_a_signal_between_the_two_moves_waits_until_both_are_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace = os.replace

    def interrupted(*paths: Path) -> None:
        replace(*paths)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt), replacing(tmp_path / "out", {tmp_path / "names": b"new"}) as file:
        file.write(b"new")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["names", "out"]


@posix
def test_what_a_killed_writer_left_is_deleted_by_the_next_one_in_that_folder(tmp_path: Path) -> None:
    end(holder("replacing", tmp_path / "first.nrrd"))
    assert len(list(tmp_path.glob(f".first.nrrd{MARK}*.part"))) == 1
    write_bytes(tmp_path / "second.nrrd", b"x")
    assert [path.name for path in tmp_path.iterdir()] == ["second.nrrd"]


@posix
def test_the_temporary_file_of_a_running_writer_is_not_deleted(tmp_path: Path) -> None:
    writer = holder("replacing", tmp_path / "first.nrrd")
    write_bytes(tmp_path / "second.nrrd", b"x")
    assert len(list(tmp_path.glob(f".first.nrrd{MARK}*.part"))) == 1
    end(writer)


def test_hidden_files_of_others_are_not_swept(tmp_path: Path) -> None:
    others = [".mine.part", ".git", "a.part", f"x{MARK}12345678.part"]
    for name in others:
        (tmp_path / name).write_bytes(b"x")
    sweep(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(others)


@posix
def test_the_second_run_with_one_output_gets_one_sentence(tmp_path: Path) -> None:
    first = holder("reserved", tmp_path / "out.nrrd")
    with (
        pytest.raises(OutputError, match=r"out\.nrrd: another run is writing there"),
        reserved(tmp_path / "out.nrrd"),
    ):
        pass
    with reserved(tmp_path / "other.nrrd"):
        pass
    end(first)
    with reserved(tmp_path / "out.nrrd"):  # a killed run holds nothing
        pass
    assert list(tmp_path.iterdir()) == []


FORKED = """
import os, pathlib, sys
sys.path.insert(0, sys.argv[1])
from MedSAMSlicerLib.io.atomic import MARK, write_bytes
folder = pathlib.Path(sys.argv[2])
write_bytes(folder / "of the parent", b"x")
(folder / f".killed{MARK}00000000.part").write_bytes(b"left by another process since")
child = os.fork()
if child == 0:
    write_bytes(folder / "of the child", b"x")
    os._exit(0)
os.waitpid(child, 0)
"""


@posix
def test_a_forked_process_sweeps_although_its_parent_has(tmp_path: Path) -> None:
    done = run(FORKED, tmp_path)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["of the child", "of the parent"]
