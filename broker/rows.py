"""Rows of the journal: jobs and attempts as values read from them, and a new job written to them."""

from __future__ import annotations

import json
import os
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from broker.database import Database, Row, Values
from broker.job import (
    ID_CHARS,
    Attempt,
    FileId,
    Input,
    Item,
    Job,
    Output,
    Payload,
    Preparation,
    Remains,
    Request,
    State,
)


def read_job(database: Database, row: Row) -> Job:
    """Make a job of its row, with its items and their outputs."""
    items = database.rows("SELECT * FROM items WHERE job = ? ORDER BY idx", (row["id"],))
    return Job(
        id=row["id"],
        service=row["service"],
        script=Path(row["script"]),
        params=json.loads(row["params"]),
        limits=json.loads(row["limits"]),
        on=row["target"],
        fallback=bool(row["fallback"]),
        overwrite=bool(row["overwrite"]),
        keep=bool(row["keep"]),
        extras=tuple(json.loads(row["extras"])),
        prepare=_preparation(json.loads(row["prepare"])),
        models=json.loads(row["models"]),
        digests=json.loads(row["digests"]),
        offline=bool(row["offline"]),
        command=tuple(json.loads(row["command"])),
        folder=Path(os.fsdecode(row["folder"])) if row["folder"] else None,
        detached=bool(row["detached"]),
        contract=row["contract"],
        unit=row["unit"],
        cache=bool(row["cache"]),
        keeps_results=bool(row["keeps_results"]),
        spread=bool(row["spread"]),
        waits=row["waits"],
        deadline=row["deadline"],
        priority=row["priority"],
        session=row["session"],
        state=State(row["state"]),
        created=row["created"],
        items=tuple(_item(database, item) for item in items),
    )


LATEST = """
    SELECT rowid AS place, * FROM jobs WHERE service = COALESCE(:service, service)
    AND (:states = '[]' OR state IN (SELECT value FROM json_each(:states)))
    AND rowid < COALESCE(:before, rowid + 1) ORDER BY rowid DESC LIMIT :limit"""
"""Jobs, each with its place, newest first: of a service, in some states, before a place, where these are not null."""


def read_jobs(database: Database, statement: str, values: Values = ()) -> list[Job]:
    """The jobs whose rows a query finds, each in whole: one that is removed meanwhile is either there or not."""
    with database.looking():
        return [read_job(database, row) for row in database.rows(statement, values)]


def _preparation(found: dict[str, Any] | None) -> Preparation | None:
    return Preparation(Path(found["script"]), found["params"]) if found else None


def _payload(found: dict[str, Any] | None) -> Payload | None:
    return Payload(**found) if found else None


def _item(database: Database, row: Row) -> Item:
    outputs = database.rows("SELECT * FROM outputs WHERE job = ? AND idx = ? ORDER BY number", (row["job"], row["idx"]))
    return Item(
        index=row["idx"],
        source=Path(os.fsdecode(row["source"])),
        file_id=FileId(row["size"], row["mtime_ns"], row["inode"], row["ctime_ns"]),
        sha256=row["sha256"],
        options=json.loads(row["options"]),
        outputs=tuple(_output(output) for output in outputs),
        kind=row["kind"],
        error=row["error"],
        measured=json.loads(row["measured"]),
        payload=_payload(json.loads(row["payload"])),
        amount=row["amount"],
    )


def _output(row: Row) -> Output:
    dest = Path(os.fsdecode(row["dest"]))
    return Output(row["name"], dest, row["size"], row["sha256"], row["state"], row["attempt"], row["term"])


def read_attempt(row: Row) -> Attempt:
    """Make an attempt of its row."""
    values = dict(row)
    values |= {"versions": json.loads(row["versions"]), "timings": json.loads(row["timings"])}
    values |= {"prepares": bool(row["prepares"]), "forecast": json.loads(row["forecast"])}
    values |= {"items": tuple(found) if (found := json.loads(row["items"])) is not None else None}
    return Attempt(**values | {"remains": Remains(row["remains"])})


def insert_job(
    database: Database,
    request: Request,
    key: str,
    inputs: Sequence[tuple[FileId, str]],
    limits: Mapping[str, float],
    job: str | None = None,
) -> str:
    """Write a new job with its items, under an id of its own unless it has one; returns the id. In a transaction."""
    job = job or secrets.token_hex(ID_CHARS // 2)
    database.insert(
        "jobs",
        id=job,
        service=request.service,
        script=str(request.script),
        params=json.dumps(dict(request.params)),
        limits=json.dumps(dict(limits)),
        target=request.on,
        fallback=int(request.fallback),
        overwrite=int(request.overwrite),
        keep=int(request.keep),
        extras=json.dumps(request.extras),
        prepare=json.dumps(_written(request.prepare)),
        models=json.dumps(dict(request.models)),
        digests=json.dumps(dict(request.digests)),
        offline=int(request.offline),
        command=json.dumps(request.command),
        folder=os.fsencode(request.folder) if request.folder else None,
        detached=int(request.detached),
        contract=request.contract,
        unit=request.unit,
        cache=int(request.cache),
        keeps_results=int(request.keeps_results),
        spread=int(request.spread),
        waits=request.waits,
        deadline=request.deadline,
        priority=request.priority,
        session=request.session,
        key=key,
        state=State.QUEUED,
        created=time.time(),
    )
    for index, (entry, (file_id, sha256)) in enumerate(zip(request.inputs, inputs, strict=True)):
        _insert_item(database, job, index, entry, file_id, sha256)
    return job


def _written(prepare: Preparation | None) -> dict[str, Any] | None:
    return {"script": str(prepare.script), "params": dict(prepare.params)} if prepare else None


def _insert_item(database: Database, job: str, index: int, entry: Input, file_id: FileId, sha256: str) -> None:
    database.insert(
        "items",
        job=job,
        idx=index,
        source=os.fsencode(entry.source),
        **asdict(file_id),
        sha256=sha256,
        options=json.dumps(dict(entry.options)),
    )
    for number, (name, dest) in enumerate(entry.outputs.items()):
        database.insert("outputs", job=job, idx=index, number=number, name=name, dest=os.fsencode(dest))
