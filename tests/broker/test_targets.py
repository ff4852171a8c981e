"""Targets: the user's order, the forms of --on, and mistakes that are named; and the plan made of them."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from broker import settings, targets
from broker.errors import ConfigError, UsageError
from broker.plan import plan
from broker.targets import LOCAL, Target
from executors.base import ExecutorError, NotInstalled, Probe, Refused, Unreachable
from tests.broker.faulty import Fault, FaultyExecutor


@pytest.fixture
def file(offload_dirs: Path) -> Path:
    return offload_dirs / "config" / "targets.toml"


def load() -> dict[str, targets.Target]:
    return targets.load(settings.load())


def test_with_nothing_configured_there_is_this_machine(offload_dirs: Path) -> None:
    (here,) = load().values()
    assert (here.name, here.kind) == ("local", "local")
    assert here.options["root"] == str(offload_dirs / "cache" / "local")


def test_targets_come_in_the_files_order_and_this_machine_last(file: Path) -> None:
    file.write_text('[zoe]\nurl = "local:///z%20z"\n[my-box]\nurl = "local:///b"\nshare = "no"\n')
    loaded = load()
    assert list(loaded) == ["zoe", "my-box", "local"]
    assert loaded["zoe"].options["root"] == "/z z"
    assert loaded["zoe"].executor().local_path("jobs") == Path("/z z/jobs")
    assert loaded["my-box"].executor().local_path("jobs") is None


@pytest.mark.parametrize(
    ("on", "chosen"),
    [
        ("auto", ["zoe", "box", "local"]),
        ("remote", ["zoe", "box"]),
        ("local", ["local"]),
        ("box", ["box"]),
        ("box,zoe", ["box", "zoe"]),
        ("local,zoe", ["local", "zoe"]),
        ("box, zoe", ["box", "zoe"]),
        ("box,box", ["box"]),
    ],
)
def test_forms_of_on(on: str, chosen: list[str], file: Path) -> None:
    file.write_text('[zoe]\nurl = "local:///z"\n[box]\nurl = "local:///b"\n')
    assert [target.name for target in targets.choose(load(), on)] == chosen


@pytest.mark.parametrize("on", ["nobody", "box,nobody", "", "box,"])
def test_an_unknown_name_lists_those_there_are(on: str, file: Path) -> None:
    file.write_text('[box]\nurl = "local:///b"\n')
    with pytest.raises(UsageError, match="there are: box, local"):
        targets.choose(load(), on)


@pytest.mark.parametrize(
    "text",
    [
        "[box",
        '[box]\nuri = "local:///b"',
        "[box]\nurl = 3",
        "box = 3",
        '[auto]\nurl = "local:///b"',
        '[local]\nurl = "local:///b"',
        '["a b"]\nurl = "local:///b"',
        '["a,b"]\nurl = "local:///b"',
        '["-b"]\nurl = "local:///b"',
        '[box]\nurl = "local://b"',
        '[box]\nurl = "local:"',
        '[box]\nurl = "http://[::1"',
        '[box]\nurl = "ssh://"',
        '[box]\nurl = "ssh://host:x"',
        '[box]\nurl = "ssh://host"\nsilence = "long"',
        '[box]\nurl = "ssh://host"\nsilence = 0',
        '[box]\nurl = "ssh://host"\nsilence = nan',
        '[box]\nurl = "ssh://host"\nconnect_timeout = -1',
    ],
)
def test_a_broken_file_is_named(text: str, file: Path) -> None:
    file.write_text(text)
    with pytest.raises(ConfigError, match=r"targets\.toml") as caught:
        load()
    assert str(file) in caught.value.hint


def test_share_may_be_a_truth_value(file: Path) -> None:
    file.write_text('[box]\nurl = "local:///b"\nshare = false\n')
    assert load()["box"].executor().local_path("jobs") is None


def test_an_unknown_kind_is_named_with_those_there_are(file: Path) -> None:
    file.write_text('[box]\nurl = "gopher://b"\n')
    with pytest.raises(ConfigError, match=r"target box: no executor of kind 'gopher'; known kinds: .*local"):
        load()["box"].executor()


def test_a_file_that_cannot_be_written_stays_as_it_was(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text('[box]\nurl = "local:///b"\n')

    def full(path: Path, text: str, encoding: str) -> int:
        path.write_bytes(text[:10].encode())
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(ConfigError, match="cannot be written: No space"):
        targets.add(settings.load(), "zoe", {"url": "local:///z"})
    assert list(load()) == ["box", "local"]
    assert [path.name for path in file.parent.iterdir()] == [file.name]


# The plan


def ask(target: Target) -> Probe:
    return target.executor().probe(2.0)


def test_a_plan_has_a_reason_and_the_bytes_to_send_for_each(box: type[FaultyExecutor]) -> None:
    first, last = plan(load().values(), 1000, ask)
    assert (first.target.name, first.send_bytes, first.seconds) == ("box", 1000, None)
    assert "first reachable target" in first.reason
    assert (last.target.name, last.send_bytes) == ("local", 0)
    assert last.reason


def test_a_target_that_is_away_stays_in_the_plan_with_why(box: type[FaultyExecutor]) -> None:
    box.faults.append(Fault("probe", error=OSError("no route to host")))
    first, _ = plan(load().values(), 1000, ask)
    assert not first.probe.reachable
    assert first.reason == "cannot be reached: no route to host"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (Unreachable("box: no route", hint="ssh -v box"), "cannot be reached: no route; type: ssh -v box"),
        (Refused("box: the key is not known"), "the key is not known"),
        (
            NotInstalled("box: x is not installed here", hint="pip install x"),
            "x is not installed here; type: pip install x",
        ),
    ],
)
def test_the_reason_says_what_to_type(
    error: ExecutorError, said: str, box: type[FaultyExecutor], tmp_path: Path
) -> None:
    first, last = plan(
        load().values(), 1000, lambda each: Probe.failed("box", error) if each.kind != LOCAL else ask(each)
    )
    assert (first.reason, last.reason) == (said, "no other target can be reached")


def test_a_probe_that_failed_makes_the_error_again() -> None:
    for error in (Unreachable("box: a", step="b", hint="c"), Refused("box: a"), NotInstalled("box: a", hint="c")):
        again = Probe.failed("box", error).error("box")
        assert (type(again), str(again)) == (type(error), "box: a")
        assert (again.step, again.hint, again.exit_code) == (error.step, error.hint, error.exit_code)


def test_a_plan_enters_no_target(box: type[FaultyExecutor], tmp_path: Path) -> None:
    plan(load().values(), 1000, ask)
    assert box.asked == []
    assert not (tmp_path / "box").exists()
