"""From a wish to a job, once: a wish that is sent again with the same key is answered with the job that it has.

A job of the server's has a folder of its own, which the key names: its inputs, by links, its outputs, and the wish. The
journal is what decides whether there is a job: a folder without one is what a crash left, and is made anew.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import services
from broker.broker import Broker
from broker.errors import UsageError
from broker.job import FileId, Job, Request
from broker.settings import Settings
from broker.shelf import Known
from broker.staging import sync
from server import folders, parameters, schemas, wishes
from server.desk import Desk
from server.inputs import OUT, Source, command, destinations, found, laid, places
from server.problems import Refusal
from services.base.planned import check_services, row, why
from services.base.request import Terms, request
from services.base.service import Params, Service
from services.base.weighing import estimated, weigh

SESSION = "server"
"""Whose turn it is in the queue: the server's clients have one together, as the commands of a terminal do."""


def submit(desk: Desk, broker: Broker, wish: wishes.Wish, key: str | None = None) -> tuple[Job, bool]:
    """The job of a wish, and whether it is new: not where the same was wished with this key before.

    Raises Refusal for another wish with the same key, for a file that was not uploaded or may not be named;
    UsageError and InputError for what makes no sense; and what `Broker.submit` does.
    """
    service, params, terms = _checked(broker.settings, wish)
    folder = folders.place(desk.settings) / (_name(key) if key is not None else secrets.token_hex(16))
    with folders.alone(folder):
        if key is not None and (known := broker.journal.in_folder(folder)):
            _check_same(folder, wish)
            return known, False
        with folders.whole(broker, folder), _in_fields(service):
            asked = _made(desk, wish, service, params, terms, folder)
            _remember(broker, asked, wish)
            job = broker.submit(asked)
    desk.look_after(lambda broker: weigh(broker, job, service, params, detach=True))
    return broker.journal.job(job.id), True


def _name(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()[:32]


def _checked(settings: Settings, asked: wishes.Asked) -> tuple[Service, Params, Terms]:
    try:
        service = services.find(asked.service)
    except LookupError as error:
        raise UsageError(f"no service {asked.service!r}; there are: {', '.join(services.names())}") from error
    params = parameters.check(service, asked.params)
    check_services(settings, service.name)
    with _in_fields(service):
        return service, params, _terms(asked)


def _terms(asked: wishes.Asked) -> Terms:
    deadline = None if asked.deadline is None else time.time() + asked.deadline
    return Terms(
        on=asked.on,
        fallback=asked.fallback,
        cache=asked.cache,
        spread=asked.spread,
        when=asked.when,
        deadline=deadline,
        priority=asked.priority,
        detached=True,
    )


@contextmanager
def _in_fields(service: Service) -> Iterator[None]:
    """What the command line would say of its options, said of the fields here."""
    try:
        yield
    except UsageError as error:
        said = (parameters.as_fields(text, service) for text in (str(error), error.hint))
        raise type(error)(*said) from error


def _check_same(folder: Path, wish: wishes.Wish) -> None:
    try:
        before = (folder / "wish.json").read_text("utf-8")
    except FileNotFoundError:  # somebody deleted it: then the key alone tells
        return
    if before != _told(wish):
        said = "another job was asked for with this Idempotency-Key before"
        raise Refusal(422, said, "a new job wants a new key; the same job, the same fields")


def _told(wish: wishes.Wish) -> str:
    return json.dumps(wish.model_dump(mode="json"), sort_keys=True)


def _made(desk: Desk, wish: wishes.Wish, service: Service, params: Params, terms: Terms, folder: Path) -> Request:
    """The request for a wish, with its inputs in place and the folders of its outputs made."""
    sources = found(desk.blobs, desk.settings, service, wish.inputs)
    asked = _request(wish, service, params, terms, sources, folder)
    with folders.stored(folder):
        laid(sources, [entry.source for entry in asked.inputs])
        for out in {dest.parent for entry in asked.inputs for dest in entry.outputs.values()}:
            out.mkdir(parents=True, exist_ok=True, mode=0o700)
        (folder / "wish.json").write_text(_told(wish), "utf-8")
        for path in (folder / "wish.json", *folder.glob("in/**/"), folder, folder.parent):
            sync(path)  # the journal is, and what it tells of must be there
    return asked


def _request(
    asked: wishes.Asked,
    service: Service,
    params: Params,
    terms: Terms,
    sources: Sequence[Source],
    folder: Path,
) -> Request:
    paths = places(sources, folder)
    inputs = destinations(paths, folder / OUT, service, params)
    return request(service, params, inputs, terms, command(asked, service, inputs, folder), folder, SESSION)


def _remember(broker: Broker, asked: Request, wish: wishes.Wish) -> None:
    """What was uploaded has been hashed."""
    for entry, sent in zip(asked.inputs, wish.inputs, strict=True):
        if isinstance(sent, wishes.Upload):
            broker.journal.hashes.remember(entry.source, FileId.of(entry.source), sent.blob)


def plan(desk: Desk, broker: Broker, sketch: wishes.Sketch) -> schemas.Plan:
    """Where a job would run, and why. Nothing is recorded; inputs may be yet to come. Raises as `submit`."""
    service, params, terms = _checked(broker.settings, sketch)
    folder = folders.place(desk.settings) / f".plan-{secrets.token_hex(8)}"
    sources = found(desk.blobs, desk.settings, service, sketch.inputs)
    with folders.whole(broker, folder), _in_fields(service):
        try:
            asked = _request(sketch, service, params, terms, sources, folder)
            paths = [entry.source for entry in asked.inputs]
            with folders.stored(folder):
                laid(sources, paths)
            known = _known(sources, paths)
            ranked = broker.preview(asked, estimated(service, params, paths), known)
            made = set(broker.made_before(asked, known))
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    cached = [index for index, path in enumerate(paths) if path in made]
    return schemas.Plan(targets=[schemas.Place(**row(one)) for one in ranked], why=why(ranked), cached=cached)


def _known(sources: Sequence[Source], paths: Sequence[Path]) -> Known:
    """What was told of inputs that may be yet to come. Without a sha256, one is like no other."""
    found = zip(sources, paths, strict=True)
    return {path: (source.sha256 or f"{path}", source.size) for source, path in found if source.size is not None}
