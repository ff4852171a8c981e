"""Whole commands with a Jupyter server as their target: the same bytes, and one result whatever becomes of it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker import settings, targets
from broker.errors import ConfigError, UsageError
from tests.executors.jupyter_server import Server, jupyter
from tests.ssh.jobs import Work, made_by, tried

CLIP_BYTES = 20_000_000


@pytest.fixture(scope="module")
def module_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with jupyter(tmp_path_factory.mktemp("jupyter")) as server:
        yield server


@pytest.fixture
def server(module_server: Server, offload_dirs: Path) -> Iterator[Server]:
    """The target `jup`, which a test may kill."""
    lines = [f"{key} = {json.dumps(value)}" for key, value in module_server.options(silence=60).items()]
    (offload_dirs / "config/targets.toml").write_text("\n".join(["[jup]", *lines]))
    yield module_server
    if module_server.process.poll() is not None:
        module_server.start()


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    path = tmp_path / "media/clip.dat"
    path.parent.mkdir()
    path.write_bytes(os.urandom(CLIP_BYTES))
    return path


def test_same_bytes_here_and_there_and_nothing_stays_there_but_the_input(server: Server, clip: Path) -> None:
    for target in ("local", "jup"):
        said = Work(clip, words=("--on", target, "--overwrite")).type()
        assert said.code == 0, said.err
        assert tried(said) == [(target, "done")]
        Work(clip).assert_published()
    server.rest()
    for folder, sizes in (("jobs", []), ("parts", []), ("drafts", []), ("blobs", [CLIP_BYTES])):
        assert [path.stat().st_size for path in (server.root / folder).iterdir()] == sizes


def test_a_server_killed_in_the_middle_of_the_run_costs_no_result(server: Server, clip: Path) -> None:
    work = Work(clip)
    with work.typed() as command:
        command.comes_to(lambda: list(server.root.glob("jobs/*/out/0/worked.bin")))
        server.kill()
        said = work.end(command)
    assert said.code == 0, said.err
    assert tried(said) == [("jup", "lost"), ("local", "done")]
    assert made_by(said) == [2]
    work.assert_published()


@pytest.mark.soak  # the server's second start may take longer than a busy machine's patience
def test_a_job_outlives_the_server_that_started_it(server: Server, clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OFFLOAD_GRACE_SECONDS", "100")
    work = Work(clip)
    with work.typed() as command:
        command.comes_to(lambda: list(server.root.glob("jobs/*/out/0/worked.bin")))
        server.kill()
        command.comes_to(lambda: "waiting for it" in command.said)
        work.go_on()
        server.start()
        said = command.end()
    assert said.code == 0, said.err
    assert tried(said) == [("jup", "done")]
    assert made_by(said) == [1]
    work.assert_published()


def test_a_wrong_token_ends_with_7_and_nothing_is_tried_again(server: Server, clip: Path) -> None:
    token = server.token_file.read_text()
    server.token_file.write_text("expired")
    try:
        said = Work(clip, words=("--on", "jup", "--no-fallback")).type()
    finally:
        server.token_file.write_text(token)
    assert said.code == 7, said.err
    assert "the server does not take our token" in said.err
    assert "token_file" in said.err


def test_a_target_is_added_by_its_url_and_the_file_of_its_token(offload_dirs: Path) -> None:
    config = settings.load()
    with pytest.raises(UsageError, match="needs token_file"):
        targets.add(config, "jup", {"url": "jupyter+https://box/"})
    with pytest.raises(UsageError, match="must hold no token"):
        targets.add(config, "jup", {"url": "jupyter+https://box/?token=secret", "token_file": "t"})
    added = targets.add(config, "jup", {"url": "jupyter+https://box/", "token_file": "t"})
    assert (added.kind, targets.load(config)["jup"].kind) == ("jupyter", "jupyter")
    (config.config_dir / "targets.toml").write_text('[jup]\nurl = "jupyter+http://box/"\n')
    with pytest.raises(ConfigError, match="needs token_file"):
        targets.load(config)
