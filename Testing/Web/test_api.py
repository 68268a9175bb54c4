"""The API of the running server, used by Gradio's own client as a script would."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from MedSAMSlicerLib.core.input_files import read_prompts
from MedSAMSlicerLib.io.labels import read_label

from .conftest import BOX, GEOMETRY, SHAPE, body, dice
from .running_server import RunningServer, running_server

gradio_client = pytest.importorskip("gradio_client", reason="Gradio is not installed: pip install '.[web]'")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with running_server(tmp_path_factory.mktemp("server"), "--port", "0", "--upload-mb", "1") as running:
        yield running


@pytest.fixture(scope="module")
def client(server: RunningServer, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return new_client(server, tmp_path_factory.mktemp("downloads"))


def new_client(server: RunningServer, downloads: Path) -> Any:
    return gradio_client.Client(
        server.address, verbose=False, download_files=str(downloads), analytics_enabled=False
    )


def mask_of(client: Any, session: str) -> np.ndarray:
    """The mask of the selected object, (K, J, I), slice by slice."""
    volume = np.zeros(SHAPE, np.bool_)
    for index in range(SHAPE[0]):
        found = client.predict(session=session, slice=index, api_name="/mask")
        runs = np.repeat(np.arange(len(found["runs"])) % 2 == 1, found["runs"])
        volume[index] = runs.reshape(found["rows"], found["columns"])
    return volume


def test_every_action_is_a_typed_and_documented_endpoint(client: Any) -> None:
    endpoints = client.view_api(return_format="dict", print_info=False)["named_endpoints"]
    assert {
        "/open", "/open_sample", "/state", "/window", "/end", "/add_object", "/select_object", "/change_object",
        "/remove_object", "/prompt", "/prompt_mask", "/remove_prompt", "/set_range", "/import_prompts", "/propagate",
        "/begin_propagation", "/cancel", "/accept", "/next_doubtful", "/undo", "/redo", "/take_offer", "/mask",
        "/export",
    } <= set(endpoints)  # fmt: skip
    for name, endpoint in endpoints.items():
        assert endpoint.get("description"), name
        for parameter in endpoint["parameters"]:
            assert parameter["python_type"]["type"] != "Any", (name, parameter["parameter_name"])
            assert f"{parameter['parameter_name']}: " in endpoint["description"], name


def test_a_script_goes_from_a_file_to_a_mask_and_back(client: Any, ct_file: Path) -> None:
    state = client.predict(file=gradio_client.handle_file(str(ct_file)), api_name="/open")
    session = state["session"]
    assert state["volume"]["shape_kji"] == list(SHAPE)
    client.predict(session=session, name="body", color="#ff0000", api_name="/add_object")
    state = client.predict(session=session, kind="box", slice=7, places=BOX, api_name="/prompt")
    assert [obj["name"] for obj in state["objects"]] == ["body"]
    preview = mask_of(client, session)
    assert np.flatnonzero(preview.any(axis=(1, 2))).tolist() == [7]
    progress = [each["run"]["busy"] for each in client.submit(session=session, api_name="/propagate")]
    assert progress[-1] is False
    mask = mask_of(client, session)
    assert dice(mask, body()) > 0.85
    for ending in ("seg.nrrd", "nii.gz"):
        file = client.predict(session=session, format=ending, api_name="/export")
        np.testing.assert_array_equal(read_label(file, GEOMETRY) != 0, mask)
    prompts = client.predict(session=session, format="json", api_name="/export")
    assert read_prompts(Path(prompts), GEOMETRY).objects[0].name == "body"
    state = client.predict(
        session=session, file=gradio_client.handle_file(str(prompts)), api_name="/import_prompts"
    )
    assert [obj["name"] for obj in state["objects"]] == ["body", "body (2)"]
    client.predict(session=session, api_name="/undo")
    client.predict(session=session, api_name="/undo")
    np.testing.assert_array_equal(mask_of(client, session), preview)
    assert client.predict(session=session, api_name="/end") is True
    with pytest.raises(gradio_client.exceptions.AppError, match="This session has ended"):
        client.predict(session=session, api_name="/state")


def test_what_cannot_be_done_is_one_sentence_without_paths(
    client: Any, ct_file: Path, tmp_path: Path, server: RunningServer
) -> None:
    text = tmp_path / "letter.txt"
    text.write_text("no image")
    with pytest.raises(gradio_client.exceptions.AppError) as refused:
        client.predict(file=gradio_client.handle_file(str(text)), api_name="/open")
    assert str(refused.value).startswith("letter.txt ")
    assert str(server.folder) not in str(refused.value)
    state = client.predict(file=gradio_client.handle_file(str(ct_file)), api_name="/open")
    for arguments, sentence in (
        ({"kind": "box", "slice": 99, "places": BOX}, "Slice 99 does not exist: axis k has slices 0 to 13."),
        ({"kind": "point", "slice": 3, "places": [[1]]}, "A point needs one place"),
        ({"kind": "box", "slice": 3, "places": BOX, "object": "liver"}, "There is no object 'liver'"),
    ):
        with pytest.raises(gradio_client.exceptions.AppError, match=sentence):
            client.predict(session=state["session"], **arguments, api_name="/prompt")


def posted(server: RunningServer, name: str, *arguments: Any) -> dict[str, Any]:
    """The answer of an endpoint to a request that no client of Gradio's would make."""
    request = urllib.request.Request(
        f"{server.address}/gradio_api/run/{name}",
        json.dumps({"data": arguments}).encode(),
        {"Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request) as answer:
            return {"status": answer.status, **json.load(answer)}
    except urllib.error.HTTPError as refused:
        with refused:
            return {"status": refused.code, **json.load(refused)}


@pytest.mark.parametrize("place", ["outside", "in a session", "a link", "a folder"])
def test_only_what_was_uploaded_is_opened(
    client: Any, ct_file: Path, tmp_path: Path, server: RunningServer, place: str
) -> None:
    opened = client.predict(file=gradio_client.handle_file(str(ct_file)), api_name="/open")["session"]
    [root] = server.private_folders()
    foreign = {
        "outside": ct_file,
        "in a session": next(p for p in root.rglob("*.nii.gz") if not _is_hash(p.parent.name)),
        "a link": root / ("a" * 64) / "link.nii.gz",
        "a folder": root / ("b" * 64) / "folder",
    }[place]
    if place == "a link":
        foreign.parent.mkdir()
        foreign.symlink_to(ct_file)
    elif place == "a folder":
        foreign.mkdir(parents=True)
    plain = {"path": str(foreign)}
    marked = {**plain, "meta": {"_type": "gradio.FileData"}}  # which Gradio looks at, too
    for file in (plain,) if place == "a link" else (plain, marked):
        for name, arguments in (
            ("open", (file, "", "")),
            ("import_prompts", (opened, file)),
            ("prompt_mask", (opened, file, 3, "k", "", "", 0)),
        ):
            answer = posted(server, name, *arguments)
            assert answer["status"] == 500, (name, answer)
            if file is plain:
                assert "upload it again" in answer["error"]
                assert str(foreign.parent) not in answer["error"]
    assert client.predict(session=opened, api_name="/state")["objects"] == []


def _is_hash(name: str) -> bool:
    return len(name) == 64 and set(name) <= set("0123456789abcdef")


@pytest.mark.parametrize("origin", ["http://elsewhere.example", "null", "http://127.0.0.1:1"])
def test_a_page_from_elsewhere_cannot_send_anything(server: RunningServer, origin: str) -> None:
    def uploaded(**headers: str) -> int:
        body = b'--x\r\nContent-Disposition: form-data; name="files"; filename="foreign.nii"\r\n\r\nx\r\n--x--\r\n'
        kind = {"Content-Type": "multipart/form-data; boundary=x"}
        request = urllib.request.Request(f"{server.address}/gradio_api/upload", body, {**kind, **headers})
        try:
            with urllib.request.urlopen(request) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as refused:
            with refused:
                return refused.code

    before = {path for folder in server.private_folders() for path in folder.rglob("foreign*")}
    assert uploaded(Origin=origin) == 403
    assert {path for folder in server.private_folders() for path in folder.rglob("foreign*")} == before
    assert uploaded(Origin=server.address) == 200
    proxied = {"Origin": "https://lab.example", "X-Forwarded-Host": "lab.example"}
    assert uploaded(**proxied) == 200


def test_an_upload_that_is_broken_off_stays_within_the_private_folder_and_is_nothing_to_log(
    server: RunningServer,
) -> None:
    begun = (
        b"POST /gradio_api/upload HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 900000\r\n"
        b"Content-Type: multipart/form-data; boundary=x\r\n\r\n"
        b'--x\r\nContent-Disposition: form-data; name="files"; filename="half.nii"\r\n\r\n'
    )
    before = {*server.folder.iterdir()}
    with socket.create_connection(("127.0.0.1", int(server.port))) as connection:
        connection.sendall(begun + bytes(200_000))
        [private] = server.private_folders()
        end = time.monotonic() + 30
        while not [*(private / "incoming").iterdir()]:
            assert time.monotonic() < end
            time.sleep(0.02)
    time.sleep(0.2)
    assert {*server.folder.iterdir()} == before
    assert "Traceback" not in server.log()


def test_an_argument_of_the_wrong_kind_is_one_sentence(
    client: Any, ct_file: Path, server: RunningServer
) -> None:
    session = client.predict(file=gradio_client.handle_file(str(ct_file)), api_name="/open")["session"]
    answer = posted(server, "prompt", session, "box", "x", BOX, "k", "", True, 0)
    assert answer["status"] != 200
    assert "Slice x does not exist" in str(answer)
    answer = posted(server, "prompt", session, "box", 3, {"no": "places"}, "k", "", True, 0)
    assert answer["status"] != 200
    assert "Traceback" not in server.log()


def test_a_file_that_is_too_large_is_refused_while_it_is_sent(server: RunningServer) -> None:
    head = b'--x\r\nContent-Disposition: form-data; name="files"; filename="large.nii"\r\n\r\n'
    request = urllib.request.Request(
        f"{server.address}/gradio_api/upload",
        head + bytes(2 << 20) + b"\r\n--x--\r\n",
        {"Content-Type": "multipart/form-data; boundary=x"},
    )
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request)
    assert refused.value.code == 413
    refused.value.close()
    assert not [path for folder in server.private_folders() for path in folder.rglob("large*")]


def test_nothing_of_the_data_is_logged(client: Any, ct_file: Path, server: RunningServer) -> None:
    state = client.predict(file=gradio_client.handle_file(str(ct_file)), api_name="/open")
    client.predict(session=state["session"], name="secret", api_name="/add_object")
    log = server.log() + server.line
    for word in ("secret", "ct.nii", state["session"]):
        assert word not in log


def test_a_server_that_is_ended_leaves_no_files(tmp_path: Path, ct_file: Path) -> None:
    with running_server(tmp_path, "--port", "0", "--auth", "lab:wonder") as server:
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"{server.address}/page/viewer.js")
        assert refused.value.code == 401
        refused.value.close()
        client = gradio_client.Client(
            server.address,
            verbose=False,
            download_files=False,
            headers={"Authorization": "Basic bGFiOndvbmRlcg=="},
            analytics_enabled=False,
        )
        client.predict(file=gradio_client.handle_file(str(ct_file)), api_name="/open")
        [private] = server.private_folders()
        assert private.stat().st_mode & 0o777 == 0o700
        assert [path.name for path in private.rglob("*.nii.gz") if path.parent.parent.parent == private]
        assert server.end(signal.SIGTERM if os.name != "nt" else signal.SIGINT) in (0, 130, 143)
        assert server.private_folders() == []
