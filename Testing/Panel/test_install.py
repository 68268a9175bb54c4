"""What is missing and how it is shown; nothing is installed here."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
import types

import numpy as np
import pytest


@pytest.fixture
def install(host):
    from MedSAMSlicerLib.panel import install

    return install


def test_versions_are_compared_as_numbers(install, monkeypatch):
    versions = {"torch": "2.13.0+cpu", "safetensors": "0.4.2"}
    monkeypatch.setattr(importlib.metadata, "version", lambda name: versions[name])
    assert install.is_installed("torch>=2.6")
    assert not install.is_installed("safetensors>=0.4.3")
    assert not install.is_installed("torch>=2.14")
    missing = install.missing()
    assert (missing.torch, missing.packages) == (False, ("safetensors>=0.4.3",))


def test_the_sentence_says_what_how_big_and_where(install):
    sentence = install.needed_sentence(install.Missing(torch=True, packages=()))
    assert "PyTorch" in sentence
    assert "GB" in sentence
    assert "site-packages" in sentence or "dist-packages" in sentence
    assert "safetensors" in install.needed_sentence(
        install.Missing(torch=False, packages=("safetensors>=0.4.3",))
    )


@pytest.mark.parametrize(
    ("error", "word"),
    [
        (subprocess.CalledProcessError(1, "pip", output="Could not connect to proxy"), "HTTPS_PROXY"),
        (OSError(28, "No space left on device"), "disk is full"),
        (PermissionError(13, "Permission denied"), "cannot write"),
        (RuntimeError("User declined package installation"), "Nothing was installed"),
    ],
)
def test_a_failed_installation_is_reported_in_one_sentence_that_says_what_to_try(install, error, word):
    sentence = install.failure_sentence("PyTorch", error)
    assert word in sentence
    assert "Traceback" not in sentence


def test_without_the_extension_pytorch_the_user_is_sent_to_the_extensions_manager(install, monkeypatch):
    monkeypatch.setitem(sys.modules, "PyTorchUtils", None)
    with pytest.raises(install.InstallError, match="Extensions Manager"):
        install.install(install.Missing(torch=True, packages=()))


def test_the_extension_pytorch_asks_the_user_itself_and_a_no_installs_nothing(install, monkeypatch):
    asked = []

    class Logic:
        def installTorch(self, askConfirmation=False, torchVersionRequirement=None):  # noqa: N802
            asked.append((askConfirmation, torchVersionRequirement))

    monkeypatch.setitem(sys.modules, "PyTorchUtils", types.SimpleNamespace(PyTorchUtilsLogic=Logic))
    with pytest.raises(install.InstallError, match="Nothing was installed"):
        install.install(install.Missing(torch=True, packages=()))
    assert asked == [(True, ">=2.6")]


@pytest.mark.parametrize(
    ("device", "words"), [("cuda", "GPU RTX 4000"), ("mps", "Apple GPU"), ("cpu", "found no GPU")]
)
def test_the_gpu_is_named_and_its_lack_is_reported(install, device, words):
    cuda = types.SimpleNamespace(get_device_name=lambda index: "RTX 4000")
    assert words in install.device_sentence(types.SimpleNamespace(__version__="2.13.0", cuda=cuda), device)


@pytest.mark.parametrize(
    ("pydicom", "asked"),
    [
        ("2.4.4", ("highdicom>=0.25", "pydicom>=3.0.1")),  # Slicer 5.10
        ("3.0.2", ("highdicom>=0.25",)),  # Slicer 5.12, which brings highdicom, too
    ],
)
def test_dicom_seg_asks_for_what_fits_the_pydicom_of_slicer(install, monkeypatch, pydicom, asked):
    versions = {"pydicom": pydicom, "highdicom": "0.27.0"}
    monkeypatch.setattr(importlib.metadata, "version", lambda name: versions[name])
    assert install.dicom_packages() == asked
    assert install.is_installed("highdicom>=0.25")
    assert not install.is_installed("highdicom>=0.22,<0.23")


@pytest.mark.parametrize(("answer", "restarts"), [(True, 1), (False, 0)])
def test_package_that_stays_loaded_in_another_version_asks_for_a_restart(
    install, host, monkeypatch, answer, restarts
):
    import slicer

    monkeypatch.setitem(sys.modules, "pydicom", types.SimpleNamespace(__version__="2.4.4"))
    versions = {"pydicom": "3.0.2", "highdicom": "0.27.0", "numpy": sys.modules["numpy"].__version__}
    monkeypatch.setattr(importlib.metadata, "version", lambda name: versions[name])
    host.dialogs.answer(answer)
    with pytest.raises(install.InstallError, match="pydicom was installed, but another version stays in use"):
        install.ensure_dicom_packages()
    assert slicer.app._restarts == restarts


@pytest.mark.parametrize(
    ("installed", "loaded", "usable"),
    [
        ("2.13.0", None, True),
        ("2.5.1", None, False),
        ("2.13.0", "2.5.1", False),
        ("2.13.0+cpu", "2.13.0+cpu", True),
    ],
)
def test_panel_and_controller_agree_whether_pytorch_can_be_used(
    install, host, monkeypatch, installed, loaded, usable
):
    version = importlib.metadata.version
    monkeypatch.setattr(
        importlib.metadata, "version", lambda name: installed if name == "torch" else version(name)
    )
    if loaded is not None:
        monkeypatch.setattr("torch.__version__", loaded)
    elif (
        not usable
    ):  # where it is, the panel imports it: a second copy in one process would have types of its own
        monkeypatch.delitem(sys.modules, "torch", raising=False)
    widget = host.open_module()
    host.add_volume(np.arange(256, dtype=np.int16).reshape(4, 8, 8))
    host.process_events(0.1)
    missing = install.missing()
    assert (widget.controller.network.state.name == "NOT_INSTALLED") is not usable
    assert bool(missing) is not usable
    assert widget.ui.installButton.visible is not usable
    if loaded == "2.5.1":
        assert missing.restart == ("torch",)
        assert widget.ui.messageLabel.text.startswith("Restart Slicer: torch was installed")
    if not usable and loaded is None:
        assert missing.torch
