"""A rule that forbids holds whatever is typed, and wherever a job comes from."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from broker import background, followers, settings
from broker.broker import DEPTH, Broker
from broker.errors import ConfigError, Interrupted, NoTarget, UsageError
from broker.job import State
from broker.places import Places
from broker.queue import Head
from broker.rules import Forbidden, Rule
from broker.scheduler import Scheduler
from broker.slots import Slots
from broker.stop import Stop
from broker.turns import Turn
from tests.broker.faulty import FaultyExecutor
from tests.broker.jobs import drive, ledger, only_job, request, right

Box = type[FaultyExecutor]
Write = Callable[[str], Broker]


@pytest.fixture
def ruled(offload_dirs: Path, box: Box) -> Write:
    """Write `config.toml`, and open a broker that has read it."""

    def write(text: str) -> Broker:
        (offload_dirs / "config/config.toml").write_text(text)
        return Broker(settings.load())

    return write


def private(folder: Path) -> str:
    return f'[[rules]]\nfolder = "{folder}"\non = "local"\n'


def attempts(broker: Broker) -> list[str]:
    return [attempt.target for attempt in broker.journal.attempts(only_job(broker).id)]


def test_what_lies_in_a_private_folder_never_leaves_this_machine(ruled: Write, box: Box, tmp_path: Path) -> None:
    with ruled(private(tmp_path / "media")) as broker:
        wanted = request(tmp_path / "media", b"one")
        drive(broker, wanted)
        assert right(wanted)
        assert attempts(broker) == ["local"]
    assert not [one for one in box.asked if one[0] in ("put", "enter")]


def test_what_lies_elsewhere_goes_where_it_went(ruled: Write, tmp_path: Path) -> None:
    with ruled(private(tmp_path / "private")) as broker:
        drive(broker, request(tmp_path / "media", b"one"))
        assert attempts(broker) == ["box"]


@pytest.mark.parametrize("on", ["box", "box,local", "remote"])
def test_a_rule_beats_what_is_typed_and_says_which_it_is(on: str, ruled: Write, box: Box, tmp_path: Path) -> None:
    with ruled("[[rules]]\nservice='other'\nonly=['box']\n" + private(tmp_path / "media")) as broker:
        with pytest.raises(UsageError) as caught:
            broker.submit(request(tmp_path / "media", b"one", on=on))
        assert caught.value.exit_code == 2
        assert str(caught.value).startswith(f"rule 2 in {settings.load().config_dir / 'config.toml'} (folder = ")
        assert str(caught.value).endswith("never leaves this machine: it may not go to box")
        assert broker.journal.jobs() == []
    assert box.asked == []


@pytest.mark.parametrize("way", ["a file", "a folder", "links to files"])
@pytest.mark.parametrize("on", ["auto", "box"])
def test_a_file_among_the_models_is_as_private_as_an_input(
    way: str, on: str, ruled: Write, box: Box, tmp_path: Path
) -> None:
    inner = tmp_path / "private"
    inner.mkdir()
    (inner / "model.bin").write_bytes(b"weights")
    path = {"a file": inner / "model.bin", "a folder": inner, "links to files": tmp_path / "linked"}[way]
    if way == "links to files":
        path.mkdir()
        (path / "model.bin").symlink_to(inner / "model.bin")
    wanted = replace(request(tmp_path / "media", b"one", on=on), models={"vocabulary": f"path:{path}"})
    with ruled(private(inner)) as broker:
        if on == "box":
            with pytest.raises(Forbidden, match="never leaves this machine"):
                broker.submit(wanted)
            with pytest.raises(Forbidden, match="never leaves this machine"):
                broker.preview(wanted, [None])
            return
        planned = {candidate.target.name: candidate.probe.reachable for candidate in broker.preview(wanted, [None])}
        assert planned == {"local": True, "box": False}
        job = broker.submit(wanted)
        assert [target.name for target in broker.allowed(job)] == ["local"]
        drive(broker, job)
        assert attempts(broker) == ["local"]
    assert not [one for one in box.asked if one[0] in ("put", "enter")]


def test_one_input_in_the_folder_keeps_a_whole_batch_here(ruled: Write, tmp_path: Path) -> None:
    wanted = request(tmp_path / "media", b"one", b"two", b"three")
    inner = tmp_path / "private"
    inner.mkdir()
    (inner / "secret.dat").write_bytes(b"two")
    (tmp_path / "media/1.dat").unlink()
    (tmp_path / "media/1.dat").symlink_to(inner / "secret.dat")
    with ruled(private(inner)) as broker:
        drive(broker, wanted)
        assert attempts(broker) == ["local"]


@pytest.mark.parametrize("way", ["a link to the folder", "a link in the folder", "dots", "a folder under it"])
def test_a_folder_is_known_by_all_its_names(way: str, ruled: Write, tmp_path: Path) -> None:
    inner, media = tmp_path / "private", tmp_path / "media"
    inner.mkdir()
    if way == "a link to the folder":
        media.symlink_to(inner)
    elif way == "a link in the folder":
        media.mkdir()
        (media / "real.dat").write_bytes(b"one")
        (inner / "0.dat").symlink_to(media / "real.dat")
        media = inner
    elif way == "dots":
        media = inner / ".." / "private"
    else:
        media = inner / "deeper"
    with ruled(private(inner)) as broker:
        drive(broker, request(media, b"one"))
        assert attempts(broker) == ["local"]


def test_a_rule_of_a_linked_folder_is_about_where_it_leads(ruled: Write, tmp_path: Path) -> None:
    (tmp_path / "media").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "media")
    with ruled(private(tmp_path / "link")) as broker:
        drive(broker, request(tmp_path / "media", b"one"))
        assert attempts(broker) == ["local"]


def test_only_these_targets(ruled: Write, box: Box, tmp_path: Path) -> None:
    with ruled('[[rules]]\nservice = "fake"\nonly = ["box"]\n') as broker:
        drive(broker, request(tmp_path / "media", b"one"))
        assert attempts(broker) == ["box"]
        with pytest.raises(Forbidden, match="goes to box only: it may not go to local"):
            broker.submit(request(tmp_path / "more", b"one", on="local"))


def test_a_fallback_goes_nowhere_that_a_rule_forbids(ruled: Write, box: Box, tmp_path: Path) -> None:
    from executors.base import NoQuota
    from tests.broker.faulty import Fault

    with ruled('[[rules]]\nservice = "fake"\nonly = ["box"]\n') as broker:
        box.faults.append(Fault("run", "start", NoQuota("box: no capacity")))
        with pytest.raises((NoTarget, NoQuota)):
            drive(broker, request(tmp_path / "media", b"one"))
        assert attempts(broker) == ["box"]


def test_a_job_that_was_recorded_before_a_rule_obeys_it(ruled: Write, broker: Broker, box: Box, tmp_path: Path) -> None:
    job = broker.submit(request(tmp_path / "media", b"one"))
    with ruled(private(tmp_path / "media")) as later:
        drive(later, job)
        assert attempts(later) == ["local"]
    assert not [one for one in box.asked if one[0] in ("put", "enter")]


def test_a_recorded_job_that_may_go_nowhere_any_more_ends_with_the_rule(
    ruled: Write, broker: Broker, box: Box, tmp_path: Path
) -> None:
    job = broker.submit(request(tmp_path / "media", b"one", on="box"))
    with ruled(private(tmp_path / "media")) as later:
        with pytest.raises(Forbidden):
            drive(later, job)
        assert later.journal.job(job.id).state is State.FAILED
        assert later.journal.ending(job.id).exit_code == 2
        later.reopen(later.journal.job(job.id))  # as `jobs retry` does
        with pytest.raises(Forbidden):
            drive(later, later.journal.job(job.id))
    assert box.asked == []


def test_a_target_that_a_rule_prefers_comes_first(ruled: Write, tmp_path: Path) -> None:
    with ruled('[[rules]]\nservice = "fake"\nprefer = ["local"]\n') as broker:
        drive(broker, request(tmp_path / "media", b"one"))
        (attempt,) = broker.journal.attempts(only_job(broker).id)
        assert (attempt.target, attempt.reason.startswith("rule 1 in ")) == ("local", True)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('on = "local"', "it needs a folder, a service, or both"),
        ('service = "fake"', "it says one of"),
        ('service = "fake"\non = "local"\nonly = ["box"]', "it says one of"),
        ('service = "fake"\non = "box"', "on: Input should be 'local'"),
        ('service = "fake"\nonly = []', "only: name one target or more"),
        ('service = "fake"\nprefer = []', "prefer: name one target or more"),
        ('service = "fake"\nonly = "box"', "only: name one target or more"),
        ('service = "fake"\nonly = [1]', "only: name one target or more"),
        ('folder = "~nobody.here/private"\non = "local"', "write the folder in full"),
        ('folder = "private"\non = "local"', "write the folder in full"),
        ('folder = "/a"\nnever = true', "never: "),
    ],
)
def test_a_rule_that_is_none_is_named(text: str, said: str, ruled: Write) -> None:
    with pytest.raises(ConfigError) as caught:
        ruled(f'[[rules]]\nservice = "a"\nprefer = ["box"]\n[[rules]]\n{text}\n')
    assert str(caught.value).startswith("rule 2 in ")
    assert said in str(caught.value)
    assert caught.value.exit_code == 7


def test_a_rule_about_a_target_there_is_not_is_named(ruled: Write, tmp_path: Path) -> None:
    with (
        ruled('[[rules]]\nservice = "other"\nprefer = ["bax"]\n') as broker,
        pytest.raises(ConfigError, match=r"rule 1 in .* names 'bax', which is no target; there are: box, local"),
    ):
        broker.submit(request(tmp_path / "media", b"one"))


def test_home_is_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    rule = Rule(folder=Path("~/private"), on="local")
    assert rule.concerns("any", [tmp_path / "private" / "a"])
    assert not rule.concerns("any", [tmp_path / "private2" / "a"])
    assert os.fspath(tmp_path) in str(rule)


def test_who_waits_is_not_started_for_a_target_that_a_rule_forbids(ruled: Write, tmp_path: Path) -> None:
    with ruled(f'[[rules]]\nfolder = "{tmp_path / "media"}"\nonly = ["box"]\n') as broker:
        job = broker.submit(replace(request(tmp_path / "media", b"one"), detached=True))
        assert [target.name for target in Places(broker).allowed(Head.of(job))] == ["box"]
        other = broker.submit(replace(request(tmp_path / "other", b"two"), detached=True))
        assert [target.name for target in Places(broker).allowed(Head.of(other))] == ["box", "local"]


@pytest.fixture
def spawned(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """For whom a process was to be started; none is."""
    names: list[str] = []
    monkeypatch.setattr(background, "spawn", lambda module, log, name, lock: names.append(name))
    return names


def detached(broker: Broker, folder: Path, number: int, **about: Any) -> str:
    return broker.submit(replace(request(folder, b"%d" % number), detached=True, session="a", **about)).id


def test_one_that_has_no_place_keeps_none_behind_it_waiting(
    ruled: Write, spawned: list[str], tmp_path: Path, broker: Broker
) -> None:
    private_job = detached(broker, tmp_path / "private", 0, waits="remote")  # there was no rule yet
    with ruled(f'[[rules]]\nfolder = "{tmp_path / "private"}"\nonly = ["local"]\n') as later:
        public = detached(later, tmp_path / "public", 1, waits="remote")
        later.journal.health.probe(later.targets["box"])
        followers.fill(later)
        assert spawned == [public, "scheduler"]
        assert [(head.id, head.count) for head in later.journal.queue.heads(())] == [(private_job, 1), (public, 1)]


def test_nor_do_very_many_of_them(ruled: Write, spawned: list[str], tmp_path: Path, broker: Broker) -> None:
    (tmp_path / "private").mkdir()
    for number in range(DEPTH + 4):  # there was no rule yet
        detached(broker, tmp_path / "private" / f"{number}", number, waits="remote")
    with ruled(f'[[rules]]\nfolder = "{tmp_path / "private"}"\nonly = ["local"]\n') as later:
        public = detached(later, tmp_path / "public", 99, waits="remote")
        later.journal.health.probe(later.targets["box"])
        followers.fill(later)
        assert spawned == [public, "scheduler"]


def test_nobody_gives_way_to_one_that_has_no_place(
    ruled: Write, tmp_path: Path, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("broker.turns.YIELD_SECONDS", -1.0)
    higher = detached(broker, tmp_path / "private", 0, waits="remote", priority=1)  # there was no rule yet
    with ruled(f'[[rules]]\nfolder = "{tmp_path / "private"}"\nonly = ["local"]\n') as later:
        job = detached(later, tmp_path / "public", 1, waits="remote")
        box, stop = later.targets["box"], Stop()
        later.journal.health.probe(box)
        assert later.journal.queue.ahead(job, ()) == [higher]
        with (
            Slots(later.settings.state_dir / "slots", 60.0).take("box", 1, "another") as _,  # type: ignore[union-attr]
            Turn(ledger(later.journal, job), later.settings, stop, partial(followers._may_start, later)) as turn,
        ):
            coming = turn.come(box)
            assert "waiting for box" in str(next(coming))
            stop.request()
            with pytest.raises(Interrupted):
                next(coming)


def test_a_job_that_runs_is_given_to_nobody_while_a_rule_is_wrong(
    ruled: Write, spawned: list[str], broker: Broker, tmp_path: Path
) -> None:
    job = detached(broker, tmp_path / "media", 0)
    page = ledger(broker.journal, job)
    page.advance(State.RUNNING)
    page.begin_attempt("local", "for a test")
    with ruled('[[rules]]\nservice = "fake"\nonly = ["gone"]\n') as later:
        followers.fill(later)
        assert spawned == []
    with ruled("") as mended:
        followers.fill(mended)
        assert spawned == [job]


def test_how_many_are_looked_past_is_bounded_and_all_are_counted(ruled: Write, tmp_path: Path) -> None:
    with ruled(private(tmp_path / "private")) as broker:
        jobs = [detached(broker, tmp_path / f"{number}", number) for number in range(DEPTH + 3)]
        heads = broker.journal.queue.heads(())
        assert [head.id for head in heads] == jobs[:DEPTH]
        assert [head.count for head in heads] == [*[1] * (DEPTH - 1), 4]


def test_a_rule_that_names_a_target_since_removed_is_what_a_job_waits_for(
    ruled: Write, spawned: list[str], broker: Broker, tmp_path: Path
) -> None:
    job = detached(broker, tmp_path / "media", 0)
    late = detached(broker, tmp_path / "late", 1, waits="remote", deadline=1.0)
    with ruled('[[rules]]\nservice = "fake"\nonly = ["gone"]\n') as later:
        for one in (job, late):
            why = Places(later).why(Head.of(later.journal.job(one)))
            assert why.startswith("waiting for a change: rule 1 in ")
            assert "names 'gone', which is no target" in why
        assert list(Scheduler().round(later)) == []
        assert spawned == ["scheduler"]
