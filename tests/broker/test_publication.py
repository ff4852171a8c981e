"""A result appears whole under its name, once, whatever interrupts its way there."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from broker import publication
from broker.broker import Broker
from broker.errors import LimitError, Overtaken
from broker.job import Input, Item, Output, State
from broker.ledger import Ledger
from broker.staging import NO_LINK
from broker.stop import Stop
from tests import fakework
from tests.broker.jobs import ledger, only_job, request

DATA = b"one"
OLD = b"what was there before"
CONTENTS = {"worked.bin": fakework.expected(DATA), "digest.txt": fakework.digest(DATA)}
Situation = str
SITUATIONS = ["new", "taken", "overwrite", "no links", "no links, taken"]


class Crash(BaseException):
    """The process died here."""


class Stage:
    """A job whose result is about to be published, in one of the situations."""

    def __init__(self, broker: Broker, folder: Path, situation: Situation) -> None:
        self.media = folder / "media"
        asked = request(self.media, DATA, digest=True, overwrite=situation == "overwrite")
        job = broker.submit(asked)
        self.ledger, self.job = ledger(broker.journal, job.id), job
        self.ledger.advance(State.RUNNING)
        self.attempt = self.ledger.begin_attempt("local", "why")
        self.dests = asked.inputs[0].outputs
        self.old = OLD if "taken" in situation or situation == "overwrite" else None
        if self.old:
            for dest in self.dests.values():
                dest.write_bytes(self.old)
        self.beside = "taken" in situation

    @property
    def item(self) -> Item:
        item = self.ledger.job.items[0]
        return replace(item, outputs=tuple(_announced(output) for output in item.outputs))

    def publish(self) -> tuple[Path, ...]:
        return publication.publish(self.ledger, self.attempt, self.job, self.item, _fetch, {})

    def recover(self) -> None:
        """What the next command does: replay, and do again what is still open."""
        publication.replay(self.ledger)
        if self.item.open:
            self.publish()

    def check_never_between(self) -> None:
        for name, dest in self.dests.items():
            allowed = {self.old, CONTENTS[name]} if not self.beside else {self.old}
            assert (dest.read_bytes() if dest.exists() else None) in allowed

    def check_after(self) -> None:
        expected = {"0.dat": DATA}
        for name, dest in self.dests.items():
            ours = dest.with_name(f"{dest.stem}.{self.job.id}{dest.suffix}") if self.beside else dest
            expected |= {dest.name: self.old or b""} if self.beside else {}
            expected[ours.name] = CONTENTS[name]
        assert {path.name: path.read_bytes() for path in self.media.iterdir()} == expected
        item = self.ledger.job.items[0]
        assert item.done
        assert {output.dest.name for output in item.outputs} <= set(expected)


def _announced(output: Output) -> Output:
    from hashlib import sha256

    content = CONTENTS[output.name]
    return replace(output, size=len(content), sha256=sha256(content).hexdigest())


def _fetch(output: Output, part: Path) -> None:
    part.write_bytes(CONTENTS[output.name])


def seams(monkeypatch: pytest.MonkeyPatch, strike: Callable[[], None]) -> None:
    """Call `strike` before and after every step that leaves a trace."""

    def between(owner: Any, name: str) -> None:
        step = getattr(owner, name)

        def stepped(*args: Any, **kwargs: Any) -> Any:
            strike()
            result = step(*args, **kwargs)
            strike()
            return result

        monkeypatch.setattr(owner, name, stepped)

    for name in ("link", "replace", "rename", "unlink", "fsync"):
        between(os, name)
    for name in ("intend", "published"):
        between(Ledger, name)
    between(publication, "sync")


def no_links(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)


@pytest.mark.parametrize("situation", SITUATIONS)
def test_a_crash_between_any_two_steps_can_be_replayed(
    situation: Situation, broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in count():
        (tmp_path / str(number)).mkdir()
        stage = Stage(broker, tmp_path / str(number), situation)
        crashed = _publish_and_crash(stage, number, situation, monkeypatch)
        stage.check_never_between()
        stage.recover()
        stage.check_after()
        if not crashed:
            break
    assert number >= 20


def _publish_and_crash(stage: Stage, number: int, situation: str, monkeypatch: pytest.MonkeyPatch) -> bool:
    left = iter(range(number))

    def strike() -> None:
        if next(left, None) is None:
            raise Crash

    with monkeypatch.context() as patched:
        if "no links" in situation:
            no_links(patched)
        seams(patched, strike)
        try:
            stage.publish()
        except Crash:
            return True
    return False


@pytest.mark.parametrize("situation", SITUATIONS)
def test_undisturbed_it_is_there_at_once(
    situation: Situation, broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "no links" in situation:
        no_links(monkeypatch)
    stage = Stage(broker, tmp_path, situation)
    paths = stage.publish()
    stage.check_after()
    assert paths == tuple(output.dest for output in stage.item.outputs)


def test_the_order_is_fetch_sync_intent_link_commit(
    broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage, order = Stage(broker, tmp_path, "new"), list[str]()

    def noted(owner: Any, name: str) -> None:
        step = getattr(owner, name)

        def stepped(*args: Any) -> Any:
            order.append(name)
            return step(*args)

        monkeypatch.setattr(owner, name, stepped)

    for name in ("intend", "published"):
        noted(Ledger, name)
    noted(os, "link")
    noted(publication, "sync")
    stage.publish()
    assert order == ["intend", *["link", "sync", "published"] * 2]


ERRORS = [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EACCES, errno.EROFS]


@pytest.mark.parametrize("number", ERRORS)
@pytest.mark.parametrize("step", ["link", "fsync"])
def test_a_disk_that_refuses_is_a_clean_limit_and_the_same_command_takes_up(
    step: str, number: int, broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = Stage(broker, tmp_path, "new")

    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patched:
        patched.setattr(os, step, refuse)
        if number in NO_LINK and step == "link":
            pytest.skip("means that there are no links")
        with pytest.raises(LimitError, match=os.strerror(number)) as caught:
            stage.publish()
    assert caught.value.exit_code == 8
    assert caught.value.hint
    assert not list(stage.media.glob(".*"))
    assert (stage.media / "0.dat").read_bytes() == DATA
    stage.check_never_between()
    stage.recover()
    stage.check_after()


def test_a_disk_full_in_the_middle_of_the_fetch_leaves_no_part(broker: Broker, tmp_path: Path) -> None:
    stage = Stage(broker, tmp_path, "new")

    def fetch(output: Output, part: Path) -> None:
        part.write_bytes(CONTENTS[output.name][:10])
        if output.name == "digest.txt":
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(LimitError, match="cannot be stored in"):
        publication.publish(stage.ledger, stage.attempt, stage.job, stage.item, fetch, {})
    assert [path.name for path in stage.media.iterdir()] == ["0.dat"]
    stage.recover()
    stage.check_after()


def test_an_attempt_that_was_overtaken_publishes_nothing(broker: Broker, tmp_path: Path) -> None:
    stage = Stage(broker, tmp_path, "new")
    now = ledger(broker.journal, stage.job.id)
    with pytest.raises(Overtaken):
        stage.publish()
    assert [path.name for path in stage.media.iterdir()] == ["0.dat"]
    stage.ledger, stage.attempt = now, now.begin_attempt("elsewhere", "moved")
    stage.publish()
    stage.check_after()
    assert {output.attempt for output in stage.item.outputs} == {2}


def test_a_wrong_part_left_by_a_crash_is_not_taken_for_the_result(broker: Broker, tmp_path: Path) -> None:
    stage = Stage(broker, tmp_path, "new")
    files = {output.name: (output.size or 0, output.sha256 or "") for output in stage.item.outputs}
    stage.ledger.intend(stage.attempt, 0, files, {})
    item = stage.item
    publication.part_path(stage.job, item, item.outputs[0]).write_bytes(b"x" * len(CONTENTS["worked.bin"]))
    publication.replay(stage.ledger)
    assert not stage.dests["worked.bin"].exists()
    stage.recover()
    stage.check_after()


@pytest.mark.parametrize("intended", [False, True])
def test_a_job_that_is_over_has_no_part_left(intended: bool, broker: Broker, tmp_path: Path) -> None:
    stage = Stage(broker, tmp_path, "new")
    item = stage.item
    if intended:
        files = {output.name: (output.size or 0, output.sha256 or "") for output in item.outputs}
        stage.ledger.intend(stage.attempt, 0, files, {})
    item = stage.item
    for output in item.outputs:
        _fetch(output, publication.part_path(stage.job, item, output))
    stage.ledger.end_attempt(stage.attempt, "lost", "", {})
    broker.cancel(only_job(broker))
    if intended:
        stage.check_after()
    else:
        assert [path.name for path in stage.media.iterdir()] == ["0.dat"]


def test_parts_are_hidden_beside_the_destination_and_apart(broker: Broker, tmp_path: Path) -> None:
    stage = Stage(broker, tmp_path, "new")
    item = stage.item
    parts = [publication.part_path(stage.job, item, output) for output in item.outputs]
    assert len(set(parts)) == 2
    assert all(part.parent == stage.media and part.name.startswith(".") and part.suffix == ".part" for part in parts)


def test_a_replay_that_cannot_be_stored_stays_an_intent(
    broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    job = broker.submit(request(tmp_path / "media", DATA))
    page = ledger(broker.journal, job.id)
    sha256 = hashlib.sha256(b"made").hexdigest()
    page.intend(page.begin_attempt("local", "a test"), 0, {"worked.bin": (4, sha256)}, {})
    item = page.job.items[0]
    publication.part_path(job, item, item.outputs[0]).write_bytes(b"made")
    with monkeypatch.context() as patched:
        patched.setattr(os, "link", refuses)
        publication.replay(page)
    assert broker.journal.job(job.id).items[0].outputs[0].state == "intent"
    publication.replay(page)
    assert item.outputs[0].dest.read_bytes() == b"made"


def test_two_results_whose_long_names_were_taken_lie_beside_each_other(broker: Broker, tmp_path: Path) -> None:
    media, contents = tmp_path / "media", (b"one", b"two")
    media.mkdir()
    inputs = []
    for letter, content in zip("ab", contents, strict=True):
        source, dest = media / f"{letter}.dat", media / f"{letter * 250}.bin"
        source.write_bytes(content)
        dest.write_bytes(OLD)
        inputs.append(Input(source, {"worked.bin": dest}))
    asked = replace(request(tmp_path / "script", b"x"), inputs=tuple(inputs))
    list(broker.drive(broker.submit(asked), Stop()))
    paths = [item.outputs[0].dest for item in only_job(broker).items]
    assert [path.read_bytes() for path in paths] == [fakework.expected(content) for content in contents]
    assert all(dest.read_bytes() == OLD for entry in inputs for dest in entry.outputs.values())


def test_a_folder_that_went_is_named_with_what_makes_it(broker: Broker, tmp_path: Path) -> None:
    stage = Stage(broker, tmp_path, "new")
    shutil.rmtree(stage.media)
    with pytest.raises(LimitError) as caught:
        stage.publish()
    assert caught.value.hint.startswith(f"mkdir -p {stage.media}")
