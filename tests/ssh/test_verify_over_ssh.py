"""`offload verify` with another machine: the same bytes there as here, and another ffmpeg there is found."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker import settings
from services.base.compare import media as compared
from tests import media
from tests.executors.sshd import Server, needs_sshd, sshd
from tests.offload.test_verify import VERIFYING
from tests.services.everywhere import USES, Use, footage, model
from tests.services.typed import offload
from tests.ssh.conftest import PATH
from tests.ssh.jobs import configure, there, typed

pytestmark = needs_sshd

OTHER_FFMPEG = """#!{python}
import os, sys
words = ["23" if before == "-crf" else word for before, word in zip(["", *sys.argv], sys.argv)]
os.execv({ffmpeg!r}, words)
"""


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """Two seconds of video, in a folder of its own."""
    folder = tmp_path / "media"
    folder.mkdir()
    return media.clip(folder / "clip.mp4", 2)


@pytest.fixture
def odd_box(tmp_path: Path, offload_dirs: Path) -> Iterator[Server]:
    """A machine whose ffmpeg encodes with another quality than it is told, as the target `box`."""
    ffmpeg = tmp_path / "ffmpeg"
    ffmpeg.write_text(OTHER_FFMPEG.format(python=sys.executable, ffmpeg=compared.executable()))
    ffmpeg.chmod(0o755)
    with sshd(tmp_path, PATH=PATH, IMAGEIO_FFMPEG_EXE=str(ffmpeg)) as server:
        configure(offload_dirs, server)
        yield server


def assert_nothing_is_left(server: Server, clip: Path) -> None:
    assert [path.name for path in clip.parent.iterdir() if path.suffix != ".html"] == [clip.name]
    assert not there(server, "jobs/*")
    assert not list((settings.load().cache_dir / "local/jobs").glob("*"))
    assert offload(clip.parent, "jobs", "ls", "--json").document == []


def test_stabilising_makes_the_same_bytes_there_as_here(box: Server, clip: Path) -> None:
    said = offload(clip.parent, "verify", "stabilize", "clip.mp4", "--on", "local,box", "--json")
    assert said.code == 0, said.err
    document = said.document
    assert (document["level"], document["exit_code"]) == ("bytes", 0)
    ran = [[(attempt["target"], attempt["state"]) for attempt in one["attempts"]] for one in document["receipts"]]
    assert ran == [[("local", "done")], [("box", "done")]]
    assert "ffmpeg" not in document["versions"]
    assert_nothing_is_left(box, clip)


def test_another_ffmpeg_there_is_found(odd_box: Server, clip: Path) -> None:
    said = offload(clip.parent, "verify", "stabilize", "clip.mp4", "--on", "local,box", "--json", "--html", "r.html")
    assert said.code == 9, said.err
    (output,) = said.document["outputs"]
    assert output["level"] in ("close", "different")
    assert 30 < output["figures"]["worst_db"] < 60
    assert output["figures"]["frames"] == 50
    here, box = said.document["versions"]["ffmpeg_sha256"]
    assert here != box
    assert (clip.parent / "r.html").read_text().count("data:image/png") >= 4
    assert_nothing_is_left(odd_box, clip)


def test_a_machine_that_is_gone_is_named(box: Server, clip: Path) -> None:
    box.kill()
    said = offload(clip.parent, "verify", "stabilize", "clip.mp4", "--on", "local,box")
    assert (said.code, said.out) == (5, b"")
    assert "box" in said.err
    assert "running on" not in said.err
    assert_nothing_is_left(box, clip)


def test_a_machine_that_goes_away_at_work_is_named_and_leaves_nothing(box: Server, clip: Path) -> None:
    (box.folder / "root/moods").mkdir(parents=True)
    (box.folder / "root/moods/wait").touch()
    command = (*VERIFYING, "bytes", clip, "--on", "local,box", "--keep-outputs", clip.parent / "kept")
    with typed(command, clip.parent) as going:
        going.comes_to(lambda: there(box, "jobs/*/out/*/made.bin"))
        box.kill()
        said = going.end()
    assert (said.code, said.out) == (5, b""), said.err
    assert "box" in said.err
    assert "offload targets test box" in said.err
    assert "jobs attach" not in said.err
    assert [path.name for path in clip.parent.iterdir()] == [clip.name]
    box.start()  # what was running there is ended as soon as it is met again
    assert offload(clip.parent, "targets", "clean", "box").code == 0
    assert not there(box, "jobs/*")


@pytest.mark.soak
@pytest.mark.parametrize("use", USES, ids=lambda use: use.service)
@pytest.mark.usefixtures("patience")
def test_services_with_models_keep_their_contract(
    use: Use, server: Server, offload_dirs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(offload_dirs, server, silence=60)  # what loads torch may keep a busy machine from answering
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    clip = footage(tmp_path / "media")
    words = (*use.words, "--model", model(use), "--on", "local,box", "--json")
    said = offload(clip.parent, "verify", use.service, "clip.mp4", *words)
    assert said.code == 0, said.err
    assert said.document["level"] == "bytes"
    assert len(said.document["outputs"]) == len(use.outputs)
    assert_nothing_is_left(server, clip)
