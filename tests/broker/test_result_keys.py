"""The key of a result: any part of what decides it, changed alone, makes another key; nothing else does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from broker import scripts
from broker.broker import Broker
from broker.job import Item, Job, Preparation
from broker.result_keys import ANYWHERE, Keys, here_now, kind, latest
from tests.broker.jobs import request

HEADER = '# /// script\n# requires-python = ">={python}"\n# dependencies = ["one=={one}"]\n#\n# [tool.offload.extras]\n'
EXTRAS = '# more = ["two==1"]\n# ///\n'


def written(path: Path, python: str = "3.11", one: str = "1", text: str = "") -> Path:
    """A script with a header."""
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_text(HEADER.format(python=python, one=one) + EXTRAS + text)
    return path


@pytest.fixture
def job(broker: Broker, tmp_path: Path) -> Job:
    """A job in which every part of the key is there."""
    asked = replace(
        request(tmp_path / "media", b"one"),
        script=written(tmp_path / "scripts/work.py"),
        prepare=Preparation(written(tmp_path / "scripts/prepare.py"), {"fps": 1}),
    )
    made = broker.submit(asked)
    item = replace(made.items[0], options={"container": "mp4"})
    return replace(made, items=(item,), models={"model": "hf:a/b"}, digests={"model": "0" * 64})


def key(job: Job, kind: str = ANYWHERE) -> str:
    return Keys(job).of(job.items[0], kind)


def item(job: Job, **changes: Any) -> Job:
    return replace(job, items=(replace(job.items[0], **changes),))


def elsewhere(script: Path, **changes: str) -> Path:
    """The same script in another folder, but for the changes."""
    return written(script.parents[1] / "other" / script.name, **changes)


def prepared(job: Job, **changes: Any) -> Job:
    assert job.prepare
    return replace(job, prepare=replace(job.prepare, **changes))


def scripted(job: Job, **changes: str) -> Job:
    return replace(job, script=elsewhere(job.script, **changes))


def prepared_by(job: Job, **changes: str) -> Job:
    assert job.prepare
    return prepared(job, script=elsewhere(job.prepare.script, **changes))


def outputs(found: Item, *more: str) -> tuple[Any, ...]:
    return (*found.outputs, *(replace(found.outputs[0], name=name) for name in more))


CHANGES: dict[str, Callable[[Job], Job]] = {
    "the input": lambda job: item(job, sha256="1" * 64),
    "the input's suffix": lambda job: item(job, source=job.items[0].source.with_suffix(".mov")),
    "an option": lambda job: item(job, options={"container": "mkv"}),
    "one option more": lambda job: item(job, options={"container": "mp4", "a": 1}),
    "one output more": lambda job: item(job, outputs=outputs(job.items[0], "report.png")),
    "another output": lambda job: item(job, outputs=(replace(job.items[0].outputs[0], name="other.bin"),)),
    "the service": lambda job: replace(job, service="other"),
    "one parameter more": lambda job: replace(job, params={**job.params, "new": 1}),
    "one parameter less": lambda job: replace(job, params={}),
    "the limits": lambda job: replace(job, limits={**job.limits, "pixels": 1}),
    "the script's text": lambda job: scripted(job, text="# another"),
    "a pinned dependency": lambda job: scripted(job, one="2"),
    "the Python it needs": lambda job: scripted(job, python="3.12"),
    "the optional dependencies": lambda job: replace(job, extras=("more",)),
    "another script of the same text": lambda job: replace(job, script=_renamed(job.script)),
    "the preparation's text": lambda job: prepared_by(job, text="# another"),
    "the preparation's dependencies": lambda job: prepared_by(job, one="2"),
    "the preparation's parameters": lambda job: prepared(job, params={"fps": 2}),
    "no preparation": lambda job: replace(job, prepare=None),
    "a model's files": lambda job: replace(job, digests={"model": "1" * 64}),
    "a model's role": lambda job: replace(job, models={"other": "hf:a/b"}, digests={"other": "0" * 64}),
    "one model more": lambda job: replace(
        job, models={**job.models, "b": "hf:c/d"}, digests={**job.digests, "b": "0" * 64}
    ),
}


def _renamed(script: Path) -> Path:
    return written(script.parents[1] / "other" / "renamed.py")


SAME: dict[str, Callable[[Job], Job]] = {
    "nothing": lambda job: job,
    "where it goes": lambda job: item(job, outputs=(replace(job.items[0].outputs[0], dest=Path("/else/where.bin")),)),
    "the input's name": lambda job: item(job, source=Path("/some/other/name.dat")),
    "the same script elsewhere": lambda job: scripted(job),
    "where a model comes from": lambda job: replace(job, models={"model": "path:/the/same/files"}),
    "the targets": lambda job: replace(job, on="box", fallback=False),
    "the ways": lambda job: replace(job, overwrite=True, keep=True, offline=True, detached=True, cache=False),
    "what becomes of it": lambda job: replace(job, keeps_results=False),
    "the queue": lambda job: replace(job, priority=7, session="other", waits="remote", deadline=1.0, spread=True),
    "its command": lambda job: replace(job, id="other", command=("other",), folder=Path("/"), created=0.0),
    "its place in the batch": lambda job: item(job, index=7),
}


@pytest.mark.parametrize("what", CHANGES)
def test_what_decides_the_result_changes_the_key(what: str, job: Job) -> None:
    assert key(CHANGES[what](job)) != key(job)


@pytest.mark.parametrize("what", SAME)
def test_nothing_else_does(what: str, job: Job) -> None:
    assert key(SAME[what](job)) == key(job)


def test_every_single_parameter_counts(job: Job) -> None:
    changed = {name: {**job.params, name: "changed"} for name in job.params}
    keys = {key(replace(job, params=params)) for params in changed.values()} | {key(job)}
    assert len(keys) == len(job.params) + 1 > 5


def test_any_of_our_scripts_changes_it(job: Job, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    before = key(job)
    ours = tmp_path / "remote_scripts"
    ours.mkdir()
    for path in scripts.folder().rglob("*.py"):
        place = ours / path.relative_to(scripts.folder())
        place.parent.mkdir(exist_ok=True)
        place.write_bytes(path.read_bytes())
    monkeypatch.setattr(scripts, "folder", lambda: ours)
    scripts.bundle.cache_clear()
    try:
        assert key(job) == before
        scripts.bundle.cache_clear()
        (ours / "_job.py").write_bytes((ours / "_job.py").read_bytes() + b"\n")
        assert key(job) != before
    finally:
        scripts.bundle.cache_clear()


def test_the_kind_of_machine_is_part_of_it(job: Job) -> None:
    kinds = [kind("close", versions) for versions in ({"device": "cpu"}, {"device": "cuda"})]
    assert len({key(job, str(kind)) for kind in kinds} | {key(job)}) == 3


def test_a_model_that_is_not_known_is_no_part_of_any_key(job: Job) -> None:
    assert Keys(job).known
    assert not Keys(replace(job, digests={})).known


def test_an_ffmpeg_of_the_users_own_is_no_part_of_any_key(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", "/usr/bin/ffmpeg")
    assert not Keys(job).known


# Kinds of machines


def test_bytes_are_the_same_on_all_kinds() -> None:
    assert kind("bytes", {"device": "cuda", "torch": "2.13.0"}) == kind("bytes", {}) == ANYWHERE


def test_what_is_close_differs_by_device_and_by_what_computes_there() -> None:
    told = {"device": "cpu", "torch": "2.13.0", "platform": "Linux", "threads": "3"}
    others = [{**told, "device": "cuda"}, {**told, "torch": "2.14.0"}, {**told, "ctranslate2": "4.8"}]
    assert len({kind("close", versions) for versions in [told, *others]}) == 4
    assert kind("close", {**told, "threads": "7", "platform": "macOS"}) == kind("close", told)


def test_who_does_not_tell_its_device_is_of_no_kind() -> None:
    assert kind("close", {"torch": "2.13.0"}) is None


def test_this_machine_is_of_the_versions_that_are_installed_now(monkeypatch: pytest.MonkeyPatch) -> None:
    before = kind("close", {"device": "cpu", "torch": "1.0"})
    monkeypatch.setattr("importlib.metadata.version", lambda name: {"torch": "2.0"}[name])
    assert here_now(str(before)) == kind("close", {"device": "cpu", "torch": "2.0"})
    assert here_now(str(kind("close", {"device": "cpu"}))) == kind("close", {"device": "cpu"})


def test_a_machine_is_what_it_was_last_with_each_set_of_packages() -> None:
    kinds = [
        str(kind("close", versions))
        for versions in (
            {"device": "cuda", "torch": "2"},
            {"device": "cpu", "ctranslate2": "4"},
            {"device": "cpu", "torch": "2"},
            {"device": "cuda", "torch": "1"},
        )
    ]
    assert latest(kinds) == kinds[:2]
