"""Stabilise on a machine that has a bare Python and nothing else: its environment is built there, once."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

import pytest

import executors
from broker import scripts
from broker.broker import Broker
from broker.errors import MissingHere
from broker.events import Event, Note
from broker.job import Input, Request
from broker.stop import Stop
from executors.local import LocalExecutor
from services.stabilize import SERVICE
from tests import media


class BareExecutor(LocalExecutor):
    """This machine by another Python, which has no packages; it shares no files."""

    def __init__(self, name: str, options: Mapping[str, str]) -> None:
        super().__init__(name, {**options, "root": urlsplit(options["url"]).path, "share": "no"})

    @property
    def python(self) -> str:
        return str(self.root / "bare" / "bin" / "python")


@pytest.fixture
def bare(offload_dirs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The root of the target `bare`. No Python on this machine's path comes to its help."""
    root = tmp_path / "bare-root"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", root / "bare"], check=True)
    monkeypatch.setitem(executors.KINDS, "bare", f"{__name__}:BareExecutor")
    monkeypatch.setenv("PATH", str(root))
    (offload_dirs / "config" / "targets.toml").write_text(f'[bare]\nurl = "bare://{root}"\n')
    return root


def asked(source: Path, on: str) -> Request:
    dest = source.with_name(f"{on}.mp4")
    params = SERVICE.params(preset="ultrafast", smoothing=5)
    inputs = (Input(source, SERVICE.outputs(dest, params), SERVICE.options(dest)),)
    script = scripts.folder() / SERVICE.script
    return Request("stabilize", script, params.for_script(), inputs, on=on, fallback=False)


def driven(broker: Broker, request: Request) -> list[Event]:
    return list(broker.drive(broker.submit(request), Stop()))


def notes(events: list[Event]) -> list[str]:
    return [event.message for event in events if isinstance(event, Note)]


def test_it_is_built_once_and_makes_the_same_bytes_as_here(bare: Path, broker: Broker, tmp_path: Path) -> None:
    source = media.clip(tmp_path / "clip.mp4")
    try:
        first = driven(broker, asked(source, "bare"))
    except MissingHere as error:
        if "download" in str(error):
            pytest.skip("no packages can be had here")
        raise
    assert "installing the environment" in notes(first)
    (attempt,) = broker.receipt(broker.journal.jobs()[0].id)["attempts"]
    assert attempt["versions"]["environment_seconds"] > 0
    assert attempt["versions"]["interpreter"].startswith(str(bare / "envs"))
    assert attempt["versions"]["ffmpeg"], "what the script told is beside it"
    assert attempt["target"] == "bare"
    driven(broker, asked(source, "local"))
    made = [source.with_name(f"{on}.mp4").read_bytes() for on in ("bare", "local")]
    assert hashlib.sha256(made[0]).digest() == hashlib.sha256(made[1]).digest()
    source.with_name("bare.mp4").unlink()
    assert "installing the environment" not in notes(driven(broker, asked(source, "bare")))
