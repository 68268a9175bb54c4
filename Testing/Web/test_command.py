"""`medsamslicer web` refuses what it cannot do, in one sentence, before it listens anywhere."""

from __future__ import annotations

import pytest

from MedSAMSlicerLib.cli import main
from MedSAMSlicerLib.core.errors import MedSAMError


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (["--host", "0.0.0.0"], 1, "give --auth USER:PASSWORD"),
        (["--host", "0.0.0.0", "--auth", "nobody"], 2, "--auth needs USER:PASSWORD"),
        (["--port", "99999"], 2, "a port is a number from 0 to 65535"),
        (["--model", "no-such-network"], 1, "no-such-network"),
        (["--sessions", "0"], 2, "a whole number of 1 or more is needed"),
    ],
)
def test_bad_options_are_refused(
    capsys: pytest.CaptureFixture[str], words: list[str], code: int, sentence: str
) -> None:
    pytest.importorskip("gradio", reason="Gradio is not installed: pip install '.[web]'")
    assert main(["web", *words]) == code
    assert sentence in capsys.readouterr().err


def test_only_loopback_hosts_need_no_password() -> None:
    pytest.importorskip("gradio", reason="Gradio is not installed: pip install '.[web]'")
    from MedSAMSlicerLib.web.server import ServerSettings, is_loopback

    assert [is_loopback(host) for host in ("127.0.0.1", "localhost", "::1", "0.0.0.0", "lab.example")] == [
        True,
        True,
        True,
        False,
        False,
    ]
    with pytest.raises(MedSAMError, match=r"On the host 0\.0\.0\.0 others can reach this server"):
        ServerSettings(host="0.0.0.0")
    assert ServerSettings(host="0.0.0.0", auth=("a", "b")).auth == ("a", "b")
