"""Downloads from a real server on this computer: cut, wrong, slow, moved, forbidden, full."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path

import pytest
from file_server import FileServer

from MedSAMSlicerLib.core.errors import Canceled, CheckpointError, DownloadError
from MedSAMSlicerLib.models import DownloadSettings, Expected, download

EXPECTED = {field.name for field in fields(Expected)}


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def fetch(server: FileServer, folder: Path, settings: DownloadSettings, **options: object) -> Path:
    """Download the server's file with its true size and hash, unless others are given."""
    known = {"size": len(server.content), "sha256": sha256(server.content)}
    known |= {name: options.pop(name) for name in tuple(options) if name in EXPECTED}
    target = folder / "weights.pt"
    download(server.url(), target, Expected(**known), settings=settings, **options)  # type: ignore[arg-type]
    return target


def run_python(program: str, *arguments: str) -> str:
    """What a Python program says that runs as a process of its own."""
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "NO_PROXY": "127.0.0.1"}
    command = [sys.executable, "-c", program, *arguments]
    return subprocess.run(command, env=environ, capture_output=True, text=True, check=True).stdout


def visible(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir() if not p.name.startswith("."))


def test_a_file_arrives_whole_and_leaves_nothing_beside_it(
    server: FileServer, tmp_path: Path, quick: DownloadSettings
) -> None:
    target = fetch(server, tmp_path, quick)
    assert target.read_bytes() == server.content
    assert visible(tmp_path) == ["weights.pt"]


def test_the_folder_is_made_and_progress_ends_at_the_size(
    server: FileServer, tmp_path: Path, quick: DownloadSettings
) -> None:
    seen: list[tuple[int, int | None]] = []
    fetch(server, tmp_path / "a" / "b", quick, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (len(server.content), len(server.content))
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_a_file_that_is_there_and_right_is_not_fetched_again(
    server: FileServer, tmp_path: Path, quick: DownloadSettings
) -> None:
    fetch(server, tmp_path, quick)
    fetch(server, tmp_path, quick)
    assert len(server.requests) == 1


def test_a_file_that_is_there_and_wrong_is_replaced(
    server: FileServer, tmp_path: Path, quick: DownloadSettings
) -> None:
    (tmp_path / "weights.pt").write_bytes(b"x" * len(server.content))
    assert fetch(server, tmp_path, quick).read_bytes() == server.content


def test_cut_connections_are_resumed_from_where_they_stopped(
    server: FileServer, tmp_path: Path, quick: DownloadSettings
) -> None:
    server.cuts = [10_000, 20_000, 30_000]
    assert fetch(server, tmp_path, quick).read_bytes() == server.content
    assert server.ranges_asked() == [None, "bytes=10000-", "bytes=30000-", "bytes=60000-"]
    assert server.requests[1][1]["If-Range"] == '"first"'


def test_the_next_run_goes_on_after_a_download_that_was_given_up(
    server: FileServer, tmp_path: Path, quick: DownloadSettings
) -> None:
    server.cuts = [10_000, 0, 0]
    with pytest.raises(DownloadError, match=r"failed 3 times in a row.*10000 bytes are kept"):
        fetch(server, tmp_path, quick)
    assert visible(tmp_path) == ["weights.pt.part", "weights.pt.part.json"]
    assert fetch(server, tmp_path, quick).read_bytes() == server.content
    assert server.ranges_asked()[-1] == "bytes=10000-"
    assert visible(tmp_path) == ["weights.pt"]


def test_a_connection_that_brings_something_each_time_is_not_given_up(
    server: FileServer, tmp_path: Path, quick: DownloadSettings
) -> None:
    server.cuts = [10_000] * 9
    assert fetch(server, tmp_path, quick).read_bytes() == server.content


def test_a_server_without_ranges_starts_again_from_the_first_byte(
    server: FileServer, tmp_path: Path, quick: DownloadSettings
) -> None:
    server.ranges, server.cuts = False, [50_000]
    assert fetch(server, tmp_path, quick).read_bytes() == server.content


def test_a_server_without_ranges_that_always_cuts_is_given_up(
    server: FileServer, tmp_path: Path, quick: DownloadSettings
) -> None:
    server.ranges, server.cuts = False, [50_000] * 20
    with pytest.raises(DownloadError, match="in a row"):
        fetch(server, tmp_path, quick)
    assert len(server.requests) == 3


def test_a_file_that_changed_on_the_server_comes_whole(
    server: FileServer, tmp_path: Path, quick: DownloadSettings
) -> None:
    server.cuts = [10_000, 0, 0]
    with pytest.raises(DownloadError):
        fetch(server, tmp_path, quick)
    server.content, server.etag = server.content[::-1], '"second"'
    assert fetch(server, tmp_path, quick).read_bytes() == server.content


def test_a_part_from_another_address_is_not_used(
    server: FileServer, tmp_path: Path, quick: DownloadSettings
) -> None:
    server.cuts = [10_000, 0, 0]
    with pytest.raises(DownloadError):
        fetch(server, tmp_path, quick)
    fetch(server, tmp_path, replace(quick, mirror=f"{server.address}/elsewhere"))
    assert server.requests[-1][0] == "/elsewhere/weights.pt"
    assert server.ranges_asked()[-1] is None


@pytest.mark.parametrize("etag", [None, 'W/"weak"'])
def test_without_a_strong_tag_the_date_guards_the_rest(
    server: FileServer, tmp_path: Path, quick: DownloadSettings, etag: str | None
) -> None:
    server.etag, server.last_modified, server.cuts = etag, "Wed, 01 Jan 2025 00:00:00 GMT", [10_000]
    fetch(server, tmp_path, quick, sha256=None, size=None)
    assert server.requests[1][1]["If-Range"] == server.last_modified


def test_without_tag_date_and_hash_a_cut_file_starts_again(
    server: FileServer, tmp_path: Path, quick: DownloadSettings
) -> None:
    server.etag, server.cuts = None, [10_000]
    assert fetch(server, tmp_path, quick, sha256=None).read_bytes() == server.content
    assert server.ranges_asked() == [None, None]


def test_a_cut_is_noticed_although_the_server_gave_no_length(
    server: FileServer, tmp_path: Path, quick: DownloadSettings
) -> None:
    server.sends_length, server.cuts = False, [10_000]
    assert fetch(server, tmp_path, quick).read_bytes() == server.content


def test_wrong_bytes_are_deleted_and_the_error_says_so(
    server: FileServer, tmp_path: Path, quick: DownloadSettings
) -> None:
    wanted = sha256(server.content)
    server.content = b"evil" + server.content[4:]
    with pytest.raises(DownloadError, match=rf"wrong SHA-256.*{wanted}.*deleted"):
        fetch(server, tmp_path, quick, sha256=wanted)
    assert visible(tmp_path) == []


def test_a_file_of_another_size_is_refused_before_it_is_fetched(
    server: FileServer, tmp_path: Path, quick: DownloadSettings
) -> None:
    with pytest.raises(DownloadError, match="offers 102400 bytes, but this checkpoint has 7"):
        fetch(server, tmp_path, quick, size=7)
    assert visible(tmp_path) == []


def test_an_endless_answer_is_cut_off_at_the_known_size(
    server: FileServer, tmp_path: Path, quick: DownloadSettings
) -> None:
    server.sends_length = False
    with pytest.raises(DownloadError, match="bytes, but this checkpoint has 7; the file was deleted"):
        fetch(server, tmp_path, quick, size=7)
    assert visible(tmp_path) == []


def test_a_web_page_is_not_taken_for_a_checkpoint(
    server: FileServer, tmp_path: Path, quick: DownloadSettings
) -> None:
    server.content_type = "text/html; charset=utf-8"
    with pytest.raises(DownloadError, match="web page"):
        fetch(server, tmp_path, quick)
    assert visible(tmp_path) == []


@pytest.mark.parametrize("status", [403, 404])
def test_a_refusal_is_reported_at_once_with_the_address(
    server: FileServer, tmp_path: Path, quick: DownloadSettings, status: int
) -> None:
    server.statuses = [status]
    with pytest.raises(DownloadError, match=rf"{server.url()}: the server answered {status}"):
        fetch(server, tmp_path, quick)
    assert len(server.requests) == 1


def test_a_server_that_is_busy_is_asked_again(
    server: FileServer, tmp_path: Path, quick: DownloadSettings
) -> None:
    server.statuses = [503, 429]
    assert fetch(server, tmp_path, quick).read_bytes() == server.content


def test_redirects_are_followed_and_keep_the_range(
    server: FileServer, tmp_path: Path, quick: DownloadSettings
) -> None:
    server.redirects = {"/weights.pt": "/elsewhere/blob"}
    server.cuts = [10_000]
    assert fetch(server, tmp_path, quick).read_bytes() == server.content
    assert server.requests[-1][0] == "/elsewhere/blob"
    assert server.ranges_asked()[-1] == "bytes=10000-"


def test_a_silent_server_counts_as_cut_after_the_timeout(
    server: FileServer, tmp_path: Path, quick: DownloadSettings
) -> None:
    server.stalls = [1.0]
    assert fetch(server, tmp_path, replace(quick, timeout_s=0.2)).read_bytes() == server.content
    assert server.ranges_asked() == [None, "bytes=4096-"]


def test_a_server_that_is_not_there_is_named(tmp_path: Path, quick: DownloadSettings) -> None:
    with pytest.raises(DownloadError, match=r"http://127\.0\.0\.1:9/weights\.pt failed 3 times"):
        download("http://127.0.0.1:9/weights.pt", tmp_path / "weights.pt", settings=quick)


def test_a_server_name_that_does_not_exist_is_reported_at_once(
    tmp_path: Path, quick: DownloadSettings
) -> None:
    with pytest.raises(DownloadError, match=r"'no-such-host\.invalid'.*offline folder"):
        download("http://no-such-host.invalid/weights.pt", tmp_path / "weights.pt", settings=quick)


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://127.0.0.1/weights.pt", "weights.pt"])
def test_other_kinds_of_address_are_refused(url: str, tmp_path: Path, quick: DownloadSettings) -> None:
    with pytest.raises(DownloadError, match="not an http or https address"):
        download(url, tmp_path / "weights.pt", settings=quick)


def test_cancel_stops_in_mid_file_and_keeps_the_part(
    server: FileServer, tmp_path: Path, quick: DownloadSettings
) -> None:
    server.chunk_pause_s = 0.01
    seen: list[int] = []
    with pytest.raises(Canceled):
        fetch(
            server,
            tmp_path,
            quick,
            progress=lambda done, total: seen.append(done),
            canceled=lambda: bool(seen) and seen[-1] > 8192,
        )
    part = tmp_path / "weights.pt.part"
    assert 8192 < part.stat().st_size < len(server.content)
    assert fetch(server, tmp_path, quick).read_bytes() == server.content


def test_cancel_ends_the_pause_between_two_attempts(
    server: FileServer, tmp_path: Path, quick: DownloadSettings
) -> None:
    server.statuses = [503]
    with pytest.raises(Canceled):
        fetch(server, tmp_path, replace(quick, pause_s=30.0), canceled=lambda: bool(server.requests))


def test_a_mirror_takes_the_place_of_the_address_before_the_file_name(
    server: FileServer, tmp_path: Path, quick: DownloadSettings
) -> None:
    settings = replace(quick, mirror=f"{server.address}/hospital/models/")
    download("https://example.org/a/b/weights.pt?x=1", tmp_path / "weights.pt", settings=settings)
    assert server.requests[0][0] == "/hospital/models/weights.pt"


def test_an_explicit_proxy_is_asked_instead_of_the_server(
    server: FileServer, tmp_path: Path, quick: DownloadSettings
) -> None:
    settings = replace(quick, proxy=server.address)
    download("http://far-away.invalid/weights.pt", tmp_path / "weights.pt", settings=settings)
    assert server.requests[0][0] == "http://far-away.invalid/weights.pt"


def test_the_proxy_of_the_environment_is_used(
    server: FileServer, tmp_path: Path, quick: DownloadSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", server.address)
    download("http://far-away.invalid/weights.pt", tmp_path / "weights.pt", settings=quick)
    assert server.requests[0][0] == "http://far-away.invalid/weights.pt"


def test_mirror_and_proxy_come_from_the_environment() -> None:
    environ = {"MEDSAMSLICER_MIRROR": "https://mirror", "MEDSAMSLICER_PROXY": "http://proxy:3128"}
    settings = DownloadSettings.from_environment(environ)
    assert (settings.mirror, settings.proxy) == ("https://mirror", "http://proxy:3128")


def test_too_little_free_space_is_reported_before_anything_is_written(
    server: FileServer, tmp_path: Path, quick: DownloadSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=50_000))
    with pytest.raises(DownloadError, match=rf"{tmp_path} has only 0\.1 MB free, but 0\.1 MB more"):
        fetch(server, tmp_path, quick)
    assert not (tmp_path / "weights.pt.part").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="file size limits are of Unix")
def test_a_disk_that_fills_up_is_named_and_not_left_full(
    server: FileServer, tmp_path: Path, quick: DownloadSettings
) -> None:
    program = """
import resource, sys
from pathlib import Path
from MedSAMSlicerLib.core.errors import DownloadError
from MedSAMSlicerLib.models import Expected, download
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
try:
    download(sys.argv[1], Path(sys.argv[2]), Expected(size=102_400))
except DownloadError as error:
    print(error)
"""
    message = run_python(program, server.url(), str(tmp_path / "weights.pt"))
    assert f"The folder {tmp_path} is full; 0.1 MB are needed" in message
    assert visible(tmp_path) == []


@pytest.mark.skipif(sys.platform == "win32", reason="folder permissions of Unix")
def test_a_folder_that_may_not_be_written_is_named(tmp_path: Path) -> None:
    program = """
import os, sys
from pathlib import Path
from MedSAMSlicerLib.core.errors import DownloadError
from MedSAMSlicerLib.models import download
if os.geteuid() == 0:  # who may write everywhere
    os.setgroups([])
    os.setresuid(65534, 65534, 65534)
try:
    download("http://127.0.0.1:9/weights.pt", Path(sys.argv[1]))
except DownloadError as error:
    print(error)
"""
    folder = tmp_path / "models"
    folder.mkdir()
    folder.chmod(0o555)
    temporary = Path(tempfile.gettempdir())
    for readable in (tmp_path, *(parent for parent in tmp_path.parents if temporary in parent.parents)):
        readable.chmod(0o755)
    assert f"The folder {folder} cannot be written" in run_python(program, str(folder / "weights.pt"))


def test_a_folder_that_cannot_be_made_is_named(
    server: FileServer, tmp_path: Path, quick: DownloadSettings
) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DownloadError, match="file/models cannot be created"):
        fetch(server, tmp_path / "file" / "models", quick)


def _run_together(work: Callable[[], object], count: int) -> list[Exception]:
    errors: list[Exception] = []

    def one() -> None:
        try:
            work()
        except Exception as error:  # noqa: BLE001 - given to the test
            errors.append(error)

    threads = [threading.Thread(target=one) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return errors


def test_threads_that_want_one_file_fetch_it_once(
    server: FileServer, tmp_path: Path, quick: DownloadSettings
) -> None:
    server.chunk_pause_s = 0.002
    assert _run_together(lambda: fetch(server, tmp_path, quick), 4) == []
    assert len(server.requests) == 1
    assert (tmp_path / "weights.pt").read_bytes() == server.content


def test_programs_that_want_one_file_do_not_spoil_it(
    server: FileServer, tmp_path: Path, quick: DownloadSettings
) -> None:
    server.chunk_pause_s = 0.01
    program = (
        "import sys; from pathlib import Path; from MedSAMSlicerLib.models import download; "
        "print(download(sys.argv[1], Path(sys.argv[2])))"
    )
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "NO_PROXY": "127.0.0.1"}
    command = [sys.executable, "-c", program, server.url(), str(tmp_path / "weights.pt")]
    running = [subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    message = [process.communicate()[0].strip() for process in running]
    assert message == [sha256(server.content)] * 3
    assert visible(tmp_path) == ["weights.pt"]


# --- servers that send something else ---


def without_hash(server: FileServer, folder: Path, settings: DownloadSettings, **options: object) -> Path:
    return fetch(server, folder, settings, **{"size": None, "sha256": None, **options})


def test_an_answer_without_content_is_refused(
    server: FileServer, tmp_path: Path, quick: DownloadSettings
) -> None:
    server.statuses = [204]
    with pytest.raises(DownloadError, match="answered 204 instead of sending a file"):
        without_hash(server, tmp_path, quick)
    assert visible(tmp_path) == []


def test_a_packed_answer_is_refused(server: FileServer, tmp_path: Path, quick: DownloadSettings) -> None:
    server.content_encoding = "gzip"
    with pytest.raises(DownloadError, match=r"sends the file compressed \(gzip\)"):
        without_hash(server, tmp_path, quick)
    assert visible(tmp_path) == []


def test_the_check_sees_the_whole_file_before_it_takes_its_place(
    server: FileServer, tmp_path: Path, quick: DownloadSettings
) -> None:
    def check(path: Path) -> None:
        assert path.read_bytes() == server.content
        assert not (tmp_path / "weights.pt").exists()
        raise CheckpointError("It is a login page.")

    with pytest.raises(DownloadError, match=r"no usable checkpoint: It is a login page\. It was deleted"):
        without_hash(server, tmp_path, quick, check=check)
    assert visible(tmp_path) == []


@pytest.mark.parametrize("sends_length", [True, False])
def test_more_bytes_than_any_checkpoint_has_are_not_received(
    server: FileServer, tmp_path: Path, quick: DownloadSettings, sends_length: bool
) -> None:
    server.sends_length = sends_length
    with pytest.raises(DownloadError, match="but this checkpoint has 10 to 5000"):
        without_hash(server, tmp_path, quick, between=(10, 5000))
    assert visible(tmp_path) == []


def test_fewer_bytes_than_the_checkpoint_can_have_are_refused(
    server: FileServer, tmp_path: Path, quick: DownloadSettings
) -> None:
    with pytest.raises(DownloadError, match="offers 102400 bytes, but this checkpoint has 200000 to 300000"):
        without_hash(server, tmp_path, quick, between=(200_000, 300_000))


@pytest.mark.parametrize("length", ["²", "9" * 5000, "-1", "many"])
def test_a_length_that_is_no_number_counts_as_none(
    server: FileServer, tmp_path: Path, quick: DownloadSettings, length: str
) -> None:
    server.content_length = length
    assert without_hash(server, tmp_path, quick).read_bytes() == server.content


# --- servers that are slow ---


def test_a_server_that_drips_its_headers_is_given_up(
    server: FileServer, tmp_path: Path, quick: DownloadSettings
) -> None:
    server.header_pause_s = 0.02
    with pytest.raises(DownloadError, match=r"failed 2 times.*no complete answer within 0\.2 s"):
        fetch(server, tmp_path, replace(quick, timeout_s=0.2, attempts=2))


def test_a_server_that_drips_the_file_is_given_up_although_each_byte_is_new(
    server: FileServer, tmp_path: Path, quick: DownloadSettings
) -> None:
    server.chunk_bytes, server.chunk_pause_s = 1, 0.02
    with pytest.raises(DownloadError, match=r"failed 2 times.*the server sent only \d+ bytes in 0\.2 s"):
        fetch(server, tmp_path, replace(quick, timeout_s=0.2, attempts=2))
    assert (tmp_path / "weights.pt.part").stat().st_size > 0


@pytest.mark.parametrize("where", ["headers", "body"])
def test_a_download_that_waits_for_a_server_can_be_canceled(
    server: FileServer, tmp_path: Path, quick: DownloadSettings, where: str
) -> None:
    server.stalls, server.header_pause_s = [60.0], 1.0 if where == "headers" else 0.0
    canceled = threading.Event()
    ended = threading.Event()

    def run() -> None:
        with pytest.raises(Canceled):
            fetch(server, tmp_path, replace(quick, timeout_s=60.0), canceled=canceled.is_set)
        ended.set()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    while not server.requests:
        ended.wait(0.01)
    canceled.set()
    assert ended.wait(30.0), "the server's silence of 60 s was waited for"


# --- servers that lead elsewhere, and addresses that are none ---


@pytest.mark.parametrize(
    "elsewhere", ["ftp://127.0.0.1/weights.pt", "https://127.0.0.1:9/weights.pt", "file:///etc/passwd"]
)
def test_a_redirect_to_another_scheme_is_not_followed(
    server: FileServer, tmp_path: Path, quick: DownloadSettings, elsewhere: str
) -> None:
    server.redirects = {"/weights.pt": elsewhere}
    with pytest.raises(DownloadError, match=r"not followed|not http or https"):
        fetch(server, tmp_path, quick)
    assert len(server.requests) == 1


def test_a_redirect_to_what_is_no_address_is_one_sentence(
    server: FileServer, tmp_path: Path, quick: DownloadSettings
) -> None:
    server.redirects = {"/weights.pt": "http://["}
    with pytest.raises(DownloadError, match="cannot be read"):
        fetch(server, tmp_path, quick)


def test_a_redirect_without_end_is_one_sentence(
    server: FileServer, tmp_path: Path, quick: DownloadSettings
) -> None:
    server.redirects = {"/weights.pt": "/weights.pt"}
    with pytest.raises(DownloadError, match="redirects without end"):
        fetch(server, tmp_path, quick)


@pytest.mark.parametrize("mirror", ["http://[", "http://", "http://host:port", "http://a b", "http://a\nb"])
def test_a_mirror_that_is_no_address_is_named(tmp_path: Path, quick: DownloadSettings, mirror: str) -> None:
    with pytest.raises(DownloadError, match="is not a valid address"):
        download(
            "https://example.org/weights.pt",
            tmp_path / "weights.pt",
            settings=replace(quick, mirror=mirror),
        )


def test_a_proxy_that_is_no_address_is_one_sentence(tmp_path: Path, quick: DownloadSettings) -> None:
    settings = replace(quick, proxy="http://[")
    with pytest.raises(DownloadError):
        download("http://far-away.invalid/weights.pt", tmp_path / "weights.pt", settings=settings)


# --- servers that send the rest of another file ---


@pytest.mark.parametrize("tagged", [True, False])
def test_a_server_that_ignores_if_range_costs_the_part_and_not_the_file(
    server: FileServer, tmp_path: Path, quick: DownloadSettings, tagged: bool
) -> None:
    server.cuts, server.heeds_if_range = [10_000, 0, 0], False
    with pytest.raises(DownloadError, match="10000 bytes are kept"):
        without_hash(server, tmp_path, quick)
    server.content, server.etag = server.content[::-1], '"second"' if tagged else None
    assert without_hash(server, tmp_path, quick).read_bytes() == server.content


def test_a_rest_of_a_file_of_another_length_costs_the_part(
    server: FileServer, tmp_path: Path, quick: DownloadSettings
) -> None:
    server.cuts, server.heeds_if_range = [10_000, 0, 0], False
    with pytest.raises(DownloadError, match="10000 bytes are kept"):
        without_hash(server, tmp_path, quick)
    server.content = b"new" + server.content  # under the same tag
    assert without_hash(server, tmp_path, quick).read_bytes() == server.content
