"""A bit flips on its way, up or down, in any part of an input, an output or a script: it is always caught."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import ClassVar

import pytest

import executors
from broker import settings, staging
from broker.broker import Broker
from broker.errors import OffloadError
from broker.scripts import bundle
from broker.stop import Stop
from executors.base import ExecutorError, Span
from tests.broker.jobs import request
from tests.sweep import inside
from tests.sweep.inside import InsideExecutor
from tests.sweep.seams import Seams

SEED = 40_000
WAYS = {"an input": ("put", "parts/", 6), "an output": ("get", "/out/", 6), "a script": ("put", ".py", 20)}
WAYS["a script, read back"] = ("get", ".py", 20)
"""What may be damaged: the operation, a word in its path, and among how many one is chosen."""


class FlippingExecutor(InsideExecutor):
    """The machine at the other end of a bad line: the chosen transfer has one bit wrong."""

    random: ClassVar[Random]
    way: ClassVar[tuple[str, str, int]]
    left: ClassVar[int]
    flips: ClassVar[int]

    def put(self, source: Path, span: Span, path: str) -> None:
        if not self._due("put", path):
            super().put(source, span, path)
            return
        damaged = self.root / "damaged"
        with source.open("rb") as file:
            file.seek(span.offset)
            damaged.write_bytes(self._flipped(file.read(span.length)))
        super().put(damaged, Span(0, span.length), path)

    def get(self, path: str, span: Span) -> bytes:
        data = super().get(path, span)
        return self._flipped(data) if data and self._due("get", path) else data

    def _due(self, operation: str, path: str) -> bool:
        cls = type(self)
        if operation == cls.way[0] and cls.way[1] in path:
            cls.left -= 1
            cls.flips += cls.left == 0
            return cls.left == 0
        return False

    def _flipped(self, data: bytes) -> bytes:
        at = self.random.randrange(len(data))
        return data[:at] + bytes([data[at] ^ 1 << self.random.randrange(8)]) + data[at + 1 :]


@pytest.fixture
def broker(shm: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Broker]:
    """An open broker, on folders in memory."""
    for name in ("config", "state", "cache"):
        monkeypatch.setenv(f"OFFLOAD_{name.upper()}_DIR", str(shm / name))
    with Broker(settings.load()) as opened:
        yield opened


@pytest.fixture
def line(shm: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The target `box` behind the bad line; returns its root."""
    monkeypatch.setitem(executors.KINDS, "flipping", "tests.sweep.test_flips:FlippingExecutor")
    (shm / "config").mkdir()
    (shm / "config" / "targets.toml").write_text(f'[box]\nurl = "flipping://{shm}/box"\nshare = "no"\n')
    for name in ("PART_BYTES", "FETCH_BYTES"):
        monkeypatch.setattr(staging, name, 40)
    monkeypatch.setattr("tenacity.nap.time.sleep", lambda seconds: None)
    InsideExecutor.seams = Seams(0, 0)
    with inside.runner(monkeypatch):
        yield shm / "box"


def one(broker: Broker, folder: Path, root: Path, random: Random, way: str) -> str:
    """A job with one bit flipped; returns what became of it."""
    folder.mkdir(parents=True)
    data = random.randbytes(230)
    asked = request(folder / "media", data, on="box", digest=True)
    FlippingExecutor.random, FlippingExecutor.way = random, WAYS[way]
    FlippingExecutor.left, FlippingExecutor.flips = random.randint(1, WAYS[way][2]), 0
    if "script" in way:
        (root / "scripts" / bundle(asked.script).id / "installed").unlink(missing_ok=True)
    try:
        for _ in broker.drive(broker.submit(asked), Stop()):
            pass
    except (OffloadError, ExecutorError) as error:
        return f"refused: {error}"
    assert FlippingExecutor.flips == 1, f"no bit of {way} was flipped"
    for name, dest in asked.inputs[0].outputs.items():
        if dest.read_bytes() != inside.made(data)[name]:
            return "wrong"
    return "right" if _intact(root, bundle(asked.script).id, dict(bundle(asked.script).files)) else "wrong scripts"


def _intact(root: Path, name: str, files: dict[str, Path]) -> bool:
    return all((root / "scripts" / name / file).read_bytes() == path.read_bytes() for file, path in files.items())


def flip(broker: Broker, folder: Path, root: Path, rounds: int) -> Counter[str]:
    ends = Counter[str]()
    for seed in range(SEED, SEED + rounds):
        random = Random(seed)
        way = random.choice([*WAYS, "an input", "an output", "an input", "an output"])
        ends[one(broker, folder / str(seed), root, random, way)] += 1
    print(f"\nflipped bits, seeds from {SEED}: {dict(ends)}")
    return ends


def test_a_hundred_flipped_bits_are_caught(line: Path, broker: Broker, shm: Path) -> None:
    assert flip(broker, shm / "rounds", line, 100) == {"right": 100}


@pytest.mark.soak
def test_a_thousand_flipped_bits_are_caught(line: Path, broker: Broker, shm: Path) -> None:
    assert flip(broker, shm / "rounds", line, 1000) == {"right": 1000}
