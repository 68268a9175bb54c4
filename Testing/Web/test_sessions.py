"""Sessions of the web page without its server: from a volume to files, apart from each other, within limits."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from Testing.small_networks import SMALL

from MedSAMSlicerLib.core.errors import MedSAMError, SessionError, VolumeError
from MedSAMSlicerLib.core.geometry import SliceAxis, VolumeGeometry
from MedSAMSlicerLib.core.input_files import read_prompts
from MedSAMSlicerLib.io.labels import read_label
from MedSAMSlicerLib.io.picture_files import picture_size
from MedSAMSlicerLib.io.segmentations import write_labelmap
from MedSAMSlicerLib.io.volumes import Volume
from MedSAMSlicerLib.models.registry import Registry
from MedSAMSlicerLib.sam2.checkpoint import save, seeded
from MedSAMSlicerLib.web.exports import export
from MedSAMSlicerLib.web.limits import LimitError, Limits, SessionEndedError
from MedSAMSlicerLib.web.memory_scene import orientation_of
from MedSAMSlicerLib.web.run_queue import RunQueue
from MedSAMSlicerLib.web.session import WebSession
from MedSAMSlicerLib.web.store import SessionStore, private_root
from MedSAMSlicerLib.web.view import mask_volume, slice_masks, slice_values, state_of, without_folder

from .conftest import BOX, GEOMETRY, SHAPE, MakeStore, body, dice

K = SliceAxis.K


@pytest.fixture(scope="module")
def walked(tmp_path_factory: pytest.TempPathFactory, ct_file: Path) -> WalkedSession:
    return WalkedSession(tmp_path_factory.mktemp("walk"), ct_file)


class WalkedSession:
    """One session from a box to files; what is found on the way is looked at by the tests."""

    def __init__(self, folder: Path, ct_file: Path) -> None:
        from .conftest import SETTINGS

        store = SessionStore(private_root(folder), SETTINGS)
        session = store.new()
        session.open(copy_of(ct_file, session))
        assert session.wait(60)
        session.prompt("", "box", K, 7, BOX)
        assert session.wait(60, previews_only=True)
        self.preview = mask_volume(session, "")
        self.state_with_preview = state_of(session)
        session.propagate()
        assert session.wait(120)
        self.propagated = mask_volume(session, "")
        self.state = state_of(session)
        session.prompt("", "point", K, 11, [[3, 3]], positive=False)
        assert session.wait(60, previews_only=True)
        self.pending = [index for index, _, mark in state_of(session)["strip"] if mark == "pending"]
        session.propagate()
        assert session.wait(120)
        self.corrected = mask_volume(session, "")
        session.undo()
        session.undo()
        self.undone = mask_volume(session, "")
        session.redo()
        session.redo()
        self.redone = mask_volume(session, "")
        self.files = {ending: export(session, ending) for ending in ("seg.nrrd", "nii.gz", "json", "png")}
        self.labels = {e: read_label(self.files[e], GEOMETRY) for e in ("seg.nrrd", "nii.gz")}
        self.prompts = read_prompts(self.files["json"], GEOMETRY)
        self.picture = picture_size(self.files["png"])
        with pytest.raises(SessionError) as refused:
            export(session, "dcm")
        self.no_dicom = str(refused.value)
        self.mask_bytes = slice_masks(session, K, 7)
        self.value_bytes = slice_values(session.volume, session.value_range, K, 7)
        self.folder, self.root = session.folder, store.root
        self.mode = store.root.stat().st_mode & 0o777
        store.close()


def copy_of(file: Path, session: WebSession) -> Path:
    """A file as if it had been uploaded into a session."""
    path = session.new_path(file.name)
    path.write_bytes(file.read_bytes())
    return path


def test_a_box_gives_a_preview_of_its_slice_alone(walked: WalkedSession) -> None:
    assert np.flatnonzero(walked.preview.any(axis=(1, 2))).tolist() == [7]
    assert dice(walked.preview[7], body()[7]) > 0.9
    [obj] = walked.state_with_preview["objects"]
    assert obj["prompts"][0] == {
        "kind": "box",
        "axis": "k",
        "slice": 7,
        "xy": [[7.5, 13.5], [26.5, 34.5]],
        "positive": True,
    }


def test_propagation_finds_the_body_and_shows_how_certain_each_slice_is(walked: WalkedSession) -> None:
    assert dice(walked.propagated, body()) > 0.85
    strip = {index: (confidence, mark) for index, confidence, mark in walked.state["strip"]}
    assert len(strip) == SHAPE[0]
    assert strip[7][1] == "prompted"
    assert strip[9][1] == "predicted"
    assert 0.0 < strip[9][0] <= 1.0
    [obj] = walked.state["objects"]
    assert obj["milliliters"] == pytest.approx(walked.propagated.sum() * 0.8 * 0.8 * 3 / 1000, abs=1e-3)


def test_an_object_of_tiny_voxels_is_not_taken_for_an_empty_one(make_store: MakeStore) -> None:
    session = make_store().new()
    array = np.random.default_rng(0).normal(0, 12, SHAPE).astype(np.float32)
    spacing = (0.002, 0.002, 0.006)  # 2 micrometers
    geometry = VolumeGeometry.from_spacing(SHAPE, spacing)
    session.show(Volume(array, geometry, "specimen", session.folder / "specimen.nrrd"))
    path = session.new_path("mask.nii.gz")
    write_labelmap(path, {"cell": body()}, geometry)
    session.prompt_mask("", K, 7, path)
    assert session.wait(60, previews_only=True)
    [obj] = state_of(session)["objects"]
    assert obj["milliliters"] == pytest.approx(body()[7].sum() * np.prod(spacing) / 1000, rel=1e-5)


@pytest.mark.parametrize("seed", range(20))
def test_each_view_of_an_oblique_volume_has_a_name_of_its_own(seed: int) -> None:
    turned, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    geometry = VolumeGeometry.from_spacing(SHAPE, (0.7, 0.7, 3.0), direction=turned)
    assert {orientation_of(geometry, axis) for axis in SliceAxis} == {"axial", "coronal", "sagittal"}


def test_a_correction_computes_only_the_gap_beside_it_again(walked: WalkedSession) -> None:
    assert walked.pending == [8, 9, 10, 12, 13]
    np.testing.assert_array_equal(walked.corrected[:8], walked.propagated[:8])


def test_undo_and_redo_give_each_mask_again(walked: WalkedSession) -> None:
    np.testing.assert_array_equal(walked.undone, walked.propagated)
    np.testing.assert_array_equal(walked.redone, walked.corrected)


def test_exported_files_hold_the_mask_voxel_by_voxel(walked: WalkedSession) -> None:
    for label in walked.labels.values():
        np.testing.assert_array_equal(label != 0, walked.corrected)
    [obj] = walked.prompts.objects
    assert [prompt.kind for prompt in obj.prompts] == ["box", "point"]
    assert min(walked.picture[:2]) > 500
    assert walked.files["nii.gz"].name == "ct-segmentation.nii.gz"
    assert "needs a DICOM series" in walked.no_dicom


def test_slices_are_handed_out_as_they_are_shown(walked: WalkedSession) -> None:
    [mask] = walked.mask_bytes.values()
    shown = np.unpackbits(np.frombuffer(mask, np.uint8), count=SHAPE[1] * SHAPE[2]).reshape(SHAPE[1:])
    # i and j run to the right and to the front here: patients are shown from below, lying on their backs.
    np.testing.assert_array_equal(shown, walked.corrected[7])
    values = np.frombuffer(walked.value_bytes, "<u2").reshape(SHAPE[1:])
    assert values[body()[7]].mean() > values[~body()[7]].mean() + 20_000


def test_files_are_private_and_are_removed(walked: WalkedSession) -> None:
    assert walked.mode == 0o700
    assert walked.folder.parent == walked.root
    assert not walked.root.exists()


def test_two_sessions_never_see_each_others_data(make_store: MakeStore, ct_file: Path) -> None:
    store = make_store()
    mine, other = store.new(), store.new()
    assert mine.id != other.id
    assert len(mine.id) >= 32
    mine.open(copy_of(ct_file, mine))
    mine.add_object("secret lesion")
    assert state_of(other)["volume"] is None
    assert state_of(other)["objects"] == []
    with pytest.raises(SessionError, match="Open a volume first"):
        other.add_object("mine")
    assert not [path for path in other.folder.rglob("*") if path.is_file()]
    assert other.folder not in mine.folder.parents
    with pytest.raises(SessionEndedError):
        store.get(mine.id[:-1])


def test_objects_are_renamed_recolored_and_come_back_after_removal(
    make_store: MakeStore, ct_file: Path
) -> None:
    session = make_store().new()
    session.open(copy_of(ct_file, session))
    first = session.add_object("liver", (1.0, 0.0, 0.0))
    session.add_object("spleen")
    session.prompt("liver", "point", K, 7, [[17, 24]])
    session.change_object(first, "left lobe", (0.0, 0.0, 1.0))
    objects = {obj["name"]: obj for obj in state_of(session)["objects"]}
    assert objects["left lobe"]["color"] == "#0000ff"
    assert objects["left lobe"]["prompts"][0]["kind"] == "point"
    session.remove_object("left lobe")
    assert [obj["name"] for obj in state_of(session)["objects"]] == ["spleen"]
    session.undo()
    assert sorted(obj["name"] for obj in state_of(session)["objects"]) == ["left lobe", "spleen"]
    with pytest.raises(SessionError, match="no object 'kidney'"):
        session.select_object("kidney")


def test_lasso_line_mask_and_range_are_taken(make_store: MakeStore, ct_file: Path, tmp_path: Path) -> None:
    session = make_store().new()
    session.open(copy_of(ct_file, session))
    outline = [[8, 14], [26, 14], [26, 34], [8, 34]]
    session.prompt("", "lasso", K, 7, outline)
    session.prompt("", "line", K, 6, [[9, 24], [25, 24]])
    label = tmp_path / "slice.nii.gz"
    from MedSAMSlicerLib.io.nifti import write_nifti

    write_nifti(label, body().astype(np.uint8), GEOMETRY)
    session.prompt_mask("", K, 5, label)
    session.set_range("", 4, 9)
    [obj] = state_of(session)["objects"]
    assert [(prompt["kind"], prompt["slice"]) for prompt in obj["prompts"]] == [
        ("lasso", 7),
        ("line", 6),
        ("mask", 5),
    ]
    assert obj["range"] == [4, 9]
    session.remove_prompt("", 1)
    [obj] = state_of(session)["objects"]
    assert [prompt["kind"] for prompt in obj["prompts"]] == ["lasso", "mask"]
    json.dumps(state_of(session), allow_nan=False)


@pytest.mark.parametrize(
    ("kind", "index", "places", "sentence"),
    [
        ("point", 99, [[1, 1]], "Slice 99 does not exist: axis k has slices 0 to 13."),
        ("point", 3, [[1, 1], [2, 2]], "A point needs one place"),
        (
            "point",
            3,
            [[1e300, 1]],
            r"lies outside the volume: at column 1e\+300, row 1\.00, but the slice has",
        ),
        ("box", 3, [["a", 1], [2, 2]], "A box needs two places"),
        ("box", 3, [[4, 4], [4, 9]], "has no size"),
        ("star", 3, [[4, 4], [4, 9]], "A prompt is a box, point, lasso or line, not 'star'."),
    ],
)
def test_a_prompt_that_makes_no_sense_is_refused_in_one_sentence(
    make_store: MakeStore, ct_file: Path, kind: str, index: int, places: list[list[float]], sentence: str
) -> None:
    session = make_store().new()
    session.open(copy_of(ct_file, session))
    with pytest.raises(MedSAMError, match=sentence):
        session.prompt("", kind, K, index, places)  # type: ignore[arg-type]


def test_each_limit_is_one_sentence(make_store: MakeStore, ct_file: Path) -> None:
    store = make_store(Limits(upload_bytes=10_000, voxels=1000, objects=1, sessions=3, files=2))
    session = store.new()
    with pytest.raises(LimitError, match=r"^ct\.nii\.gz has .* MB, but this server takes files of at most"):
        session.open(copy_of(ct_file, session))
    roomy = make_store(Limits(voxels=1000, objects=1, files=2)).new()
    with pytest.raises(
        LimitError, match=r"has 37,632 voxels, but this server takes volumes of at most 1,000"
    ):
        roomy.open(copy_of(ct_file, roomy))
    able = make_store(Limits(objects=1)).new()
    able.open(copy_of(ct_file, able))
    able.add_object()
    with pytest.raises(LimitError, match="at most 1 objects"):
        able.add_object()
    store.new()
    store.new()
    with pytest.raises(LimitError, match="3 open sessions"):
        store.new()
    archive = roomy.new_path("many.zip")
    with zipfile.ZipFile(archive, "w") as file:
        for number in range(3):
            file.writestr(f"{number}.dcm", b"x")
    with pytest.raises(LimitError, match=r"many\.zip holds 3 files"):
        roomy.open(archive)


def test_what_cannot_be_opened_leaves_nothing_and_is_named_as_the_user_knows_it(
    make_store: MakeStore,
) -> None:
    session = make_store().new()
    archive = session.new_path("letters.zip")
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("one.txt", "Dear colleague,")
        file.writestr("two.txt", "here is the CT.")
    with pytest.raises(VolumeError, match=r"^letters is a folder without DICOM files|letters is a folder"):
        session.open(archive)
    assert [path for path in session.folder.rglob("*") if path.is_file()] == []


def test_a_name_that_nobody_would_read_is_refused(make_store: MakeStore, ct_file: Path) -> None:
    session = make_store().new()
    session.open(copy_of(ct_file, session))
    with pytest.raises(LimitError, match=r"^A name has at most 200 characters, not 100,000\.$"):
        session.add_object("x" * 100_000)
    added = session.add_object("liver")
    with pytest.raises(LimitError, match="at most 200"):
        session.change_object(added, "y" * 201)


def test_a_prompt_right_after_opening_is_waited_for(make_store: MakeStore, ct_file: Path) -> None:
    session = make_store().new()
    session.open(copy_of(ct_file, session))
    session.prompt("", "box", K, 7, BOX)
    assert session.wait(60, previews_only=True)
    assert mask_volume(session, "")[7].any()


def test_an_archive_that_unpacks_to_too_much_is_refused(make_store: MakeStore) -> None:
    session = make_store(Limits(upload_bytes=100_000)).new()
    archive = session.new_path("bomb.zip")
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("zeros.nii", bytes(5_000_000))
    with pytest.raises(LimitError, match=r"bomb\.zip unpacks to more than"):
        session.open(archive)


def test_no_name_in_an_archive_leads_out_of_the_session(make_store: MakeStore, ct_file: Path) -> None:
    store = make_store()
    session = store.new()
    archive = session.new_path("sly.zip")
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("../../../../escaped.nii.gz", ct_file.read_bytes())
    session.open(archive)
    assert session.volume.name == "escaped"
    assert [session.folder in path.parents for path in store.root.rglob("escaped*")] == [True]
    assert not [*store.root.parent.glob("escaped*")]


@pytest.mark.parametrize(
    ("name", "content"),
    [("photo.txt", b"no image"), ("empty.nii", b""), ("broken.zip", b"PK\x05\x06" + bytes(18))],
)
def test_what_is_no_volume_is_refused_by_its_name(make_store: MakeStore, name: str, content: bytes) -> None:
    session = make_store().new()
    path = session.new_path(name)
    path.write_bytes(content)
    with pytest.raises(VolumeError) as refused:
        session.open(path)
    assert without_folder(str(refused.value), session.folder).startswith(name)
    assert state_of(session)["volume"] is None


def test_an_idle_session_ends_and_a_used_one_does_not(make_store: MakeStore, ct_file: Path) -> None:
    now = [0.0]
    store = make_store(Limits(idle_seconds=100), clock=lambda: now[0])
    idle, used = store.new(), store.new()
    idle.open(copy_of(ct_file, idle))
    now[0] = 60
    used.touch()
    now[0] = 120
    store.end_idle()
    assert not idle.folder.exists()
    assert used.folder.exists()
    assert store.get(used.id) is used
    with pytest.raises(SessionEndedError, match="This session has ended"):
        store.get(idle.id)
    with pytest.raises(SessionEndedError):
        idle.add_object()


def test_old_uploads_and_exports_are_removed_while_the_session_goes_on(
    make_store: MakeStore, ct_file: Path
) -> None:
    store = make_store()
    session = store.new()
    session.open(copy_of(ct_file, session))
    assert session.wait(60)
    session.prompt("", "box", K, 7, BOX)
    assert session.wait(60, previews_only=True)
    exported, upload = export(session, "nii.gz"), store.root / ("a" * 64) / "ct.nii.gz"
    broken_off = store.incoming / "tmp1234"
    broken_off.write_bytes(b"half a volume")
    upload.parent.mkdir()
    upload.write_bytes(b"x")
    store.remove_old_files()
    assert exported.is_file()
    assert upload.is_file()
    store.remove_old_files(older_than=0)
    assert not exported.exists()
    assert not upload.exists()
    assert not broken_off.exists()
    assert export(session, "nii.gz").is_file()
    session.wait(60)
    assert mask_volume(session, "").any()


def test_what_a_killed_server_left_behind_is_removed_by_the_next_one(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path\n"
        "from MedSAMSlicerLib.web.store import private_root\n"
        "root = private_root(Path(sys.argv[1])); (root / 'ct.nii').write_bytes(b'1')\n"
        "print(root, flush=True); os.kill(os.getpid(), 9)"
    )
    package = Path(__file__).parents[2] / "MedSAMSlicer"
    ran = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(package)},
    )
    left = Path(ran.stdout.strip())
    assert (left / "ct.nii").is_file()
    mine = private_root(tmp_path)
    assert mine.is_dir()
    assert not left.exists()


def test_runs_wait_for_their_turn_in_the_order_in_which_they_were_asked_for() -> None:
    queue = RunQueue(1)
    for name in ("a", "b", "c"):
        queue.ask(name)
    assert not queue.take("b")
    assert queue.take("a")
    assert [queue.position(name) for name in "abc"] == [None, 0, 1]
    queue.leave("b")
    assert not queue.take("c")
    queue.leave("a")
    assert queue.take("c")


def test_a_second_propagation_waits_for_the_first_and_is_canceled_while_it_waits(
    make_store: MakeStore, ct_file: Path
) -> None:
    store = make_store(Limits(runs=1))
    first, second = store.new(), store.new()
    for session in (first, second):
        session.open(copy_of(ct_file, session))
        session.prompt("", "box", K, 7, BOX)
    for session in (first, second):
        assert session.wait(60)
    first.propagate()
    with pytest.raises(SessionError, match="Others are propagating now"):
        second.take_offer()
    second.propagate()
    waiting = state_of(second)["run"]
    assert (waiting["waiting"], waiting["busy"]) == (0, False)
    second.cancel()
    assert state_of(second)["run"]["waiting"] is None
    second.propagate()
    assert first.wait(120)
    assert second.wait(120)
    np.testing.assert_array_equal(mask_volume(first, ""), mask_volume(second, ""))
    assert dice(mask_volume(second, ""), body()) > 0.85


def test_cancel_gives_the_masks_before_again(make_store: MakeStore, ct_file: Path) -> None:
    session = make_store().new()
    session.open(copy_of(ct_file, session))
    session.prompt("", "box", K, 7, BOX)
    assert session.wait(60)
    before = mask_volume(session, "")
    session.propagate()
    session.cancel()
    assert session.wait(60)
    np.testing.assert_array_equal(mask_volume(session, ""), before)
    assert not state_of(session)["run"]["busy"]


def test_a_slice_that_is_shown_is_prepared_before_it_is_clicked(
    make_store: MakeStore, ct_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDSAMSLICER_MODELS", str(tmp_path / "models"))
    weights = tmp_path / "whole_slices.safetensors"
    save(seeded(replace(SMALL, crop_margin=None), 3), weights)
    Registry.from_environment().open(weights, lambda question: True)
    session = make_store(checkpoint=str(weights)).new()
    session.open(copy_of(ct_file, session))
    assert session.wait(60)
    session.look_at(K, 3)
    worker = session._controller._work.worker
    deadline = time.monotonic() + 60
    store = worker._tools.segmenter.network(K).store  # type: ignore[union-attr]
    while (worker.busy or store.filling) and time.monotonic() < deadline:
        time.sleep(0.02)
    session.prompt("", "box", K, 3, BOX)
    assert session.wait(60, previews_only=True)
    assert (store.misses, store.hits > 0) == (0, True)


def test_a_session_ends_while_it_computes(make_store: MakeStore, ct_file: Path) -> None:
    store = make_store()
    session = store.new()
    session.open(copy_of(ct_file, session))
    session.prompt("", "box", K, 7, BOX)
    assert session.wait(60)
    session.propagate()
    store.end(session.id)
    assert session.is_closed
    assert not session.folder.exists()
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and any(
        thread.name.startswith("MedSAMSlicer session") and thread.is_alive() and "sessions" not in thread.name
        for thread in threading.enumerate()
    ):
        time.sleep(0.05)
    assert "MedSAMSlicer session" not in [thread.name for thread in threading.enumerate()]
