"""Make a recording of real jobs: `python -m tests.broker.histories.record OUT.json`, from the project's folder.

Each job is run once, one after the other, by the broker itself: on this machine, and on `far`, a target on the same
machine that shares no files. Clips are cut from `examples/handheld.mp4`, each with a content of its own, so that it is
sent. What is written down is what the journal has: seconds of the attempt, and what `broker.measure` made of it.
On a machine that does other work, `nice -n -15` keeps that out.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from broker import settings
from broker.broker import Broker
from broker.job import Input, Request
from broker.stop import Stop
from broker.work import Work
from services import stabilize
from tests.fakework.fake import SERVICE as FAKE
from tests.media import ffmpeg

ROOT = Path(__file__).parents[3]
SECONDS = (2.0, 1.0, 3.0, 1.5, 4.0, 2.5, 5.0, 1.2, 3.5, 2.2, 4.5, 1.8) * 2
"""Of the clips."""
SLOW, QUICK = 0.8, 0.25
"""Two kinds of the fake work, by seconds an item; each job has so many items:"""
ITEMS = (2, 1, 4, 3, 2, 5, 1, 3, 4, 2)


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for kind in ("config", "state", "cache"):
            (folder / kind).mkdir()
            os.environ[f"OFFLOAD_{kind.upper()}_DIR"] = str(folder / kind)
        (folder / "config/targets.toml").write_text(f'[far]\nurl = "local://{folder}/far"\nshare = "no"\n')
        with Broker(settings.load()) as broker:
            jobs = [_run(broker, request, amounts) for request, amounts in _requests(folder)]
    load = "; ".join(f"{average:.1f}" for average in os.getloadavg())
    how = f"{time.strftime('%Y-%m-%d')}, {os.cpu_count()} cores, {platform.machine()}, load averages {load} at the end"
    how += f", nice {os.nice(0)}"
    lines = ",\n".join(json.dumps(job) for job in jobs)
    Path(sys.argv[1]).write_text(f'{{"made": {json.dumps(how)}, "jobs": [\n{lines}\n]}}\n')


def _requests(folder: Path) -> Iterator[tuple[Request, list[float]]]:
    for target in ("local", "far"):
        for number, seconds in enumerate(SECONDS):
            yield _clip(folder, target, number, seconds)
        for number, items in enumerate(ITEMS):
            for pause in (SLOW, QUICK):
                yield _fake(folder, target, number, items, pause)


def _clip(folder: Path, target: str, number: int, seconds: float) -> tuple[Request, list[float]]:
    clip = folder / f"{target}-{number}.mp4"
    start = 0.05 * number + (1.5 if target == "far" else 0.0)
    ffmpeg("-ss", f"{start}", "-i", ROOT / "examples/handheld.mp4", "-t", f"{seconds}", "-preset", "ultrafast", clip)
    service, params = stabilize.SERVICE, stabilize.Stabilize()
    dest = clip.with_suffix(".out.mp4")
    entry = Input(clip, service.outputs(dest, params), service.options(dest))
    script = ROOT / "remote_scripts" / str(service.script)
    amount = service.amount(clip, params)
    assert amount is not None
    request = Request(service.name, script, params.for_script(), (entry,), on=target, unit=service.unit)
    return request, [amount]


def _fake(folder: Path, target: str, number: int, items: int, pause: float) -> tuple[Request, list[float]]:
    params, entries = FAKE.params(seconds=pause), []  # type: ignore[call-arg]
    for item in range(items):
        source = folder / f"{target}-{number}-{item}-{pause}.dat"
        source.write_bytes(os.urandom(100_000))
        entries.append(Input(source, FAKE.outputs(source.with_suffix(".bin"), params)))
    assert isinstance(FAKE.script, Path)
    return Request(FAKE.name, FAKE.script, params.for_script(), tuple(entries), on=target), []


def _run(broker: Broker, request: Request, amounts: list[float]) -> dict[str, Any]:
    before = _observed(broker)
    job = broker.submit(request)
    broker.journal.weigh(job.id, dict(enumerate(amounts)))
    for _ in broker.drive(broker.journal.job(job.id), Stop()):
        continue
    job, (attempt,) = broker.journal.job(job.id), broker.journal.attempts(job.id)
    assert attempt.ended is not None
    work = Work.of(job, job.items)
    after = _observed(broker)[len(before) :]
    took = round(attempt.ended - attempt.started, 3)
    print(request.service, request.on, work.amount, took, flush=True)
    about = {"service": job.service, "target": request.on, "kind": str(work.kind), "amount": work.amount}
    return {**about, "blobs": [*work.blobs.values()], "took": took, "observed": after}


def _observed(broker: Broker) -> list[list[Any]]:
    rows = broker.journal._db.rows("SELECT what, amount, seconds, kind FROM observations ORDER BY id")
    return [[row[0], row[1], round(row[2], 4), row[3]] for row in rows]


if __name__ == "__main__":
    main()
