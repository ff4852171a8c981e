"""Claim: a plan over 3 targets with 10,000 observations takes at most 50 ms; asking the targets is not counted.

python benchmarks/plan.py [--observations 10000] [--rounds 50]
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from pathlib import Path
from statistics import median

from broker import placement, settings
from broker.history import History, Observation
from broker.journal import Journal
from broker.plan import Candidate
from broker.targets import LOCAL, Target
from broker.work import Kind, Work
from executors.base import Probe

SERVICES = ("stabilize", "upscale", "transcribe", "tag", "caption")
NAMES = ("box", "lab")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--observations", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=50)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        environ = {f"OFFLOAD_{kind}_DIR": str(folder / kind) for kind in ("CONFIG", "STATE", "CACHE")}
        with Journal(folder / "journal.sqlite3") as journal:
            found = candidates(folder)
            fill(journal.history, [one.target for one in found], chosen.observations)
            kept = sum(len(journal.history.of(one.target, service)) for one in found for service in ("", *SERVICES))
            took = [once(found, journal, settings.load(environ)) for _ in range(chosen.rounds)]
    print(f"{chosen.observations} observations, of which {kept} are kept; {chosen.rounds} rounds")
    print(f"a plan over {len(found)} targets: median {1000 * median(took):.1f} ms, longest {1000 * max(took):.1f} ms")


def candidates(folder: Path) -> list[Candidate]:
    probe = Probe(True, cpus=8)
    others = [Candidate(Target(name, "ssh", {"url": f"ssh://{name}"}), probe, "", 0) for name in NAMES]
    here = Target(LOCAL, "local", {"root": str(folder / "root")})
    return [*others, Candidate(here, probe, "", 0, shared=True)]


def fill(history: History, targets: list[Target], count: int) -> None:
    """Observations as a year of work would leave them: five services, seven kinds of each, links."""
    chance = random.Random(1)
    for start in range(0, count, 100):
        history.observe(targets[start // 100 % len(targets)], [one(chance) for _ in range(100)])


def one(chance: random.Random) -> Observation:
    amount = 10 ** chance.uniform(6, 9)
    if chance.random() < 0.1:
        return Observation(chance.choice(("up", "down")), amount, amount / 1e7)
    what = chance.choice(("run", "start", "out"))
    return Observation(what, amount, amount / 1e7, f"pixels/-/{chance.randrange(7)}", chance.choice(SERVICES))


def once(found: list[Candidate], journal: Journal, config: settings.Settings) -> float:
    work = Work("stabilize", Kind("pixels", "-", "3"), 1e8, 1, {"0" * 64: 10**7})
    began = time.perf_counter()
    placement.place(found, work, "auto", config, journal.history, found[-1].target, [])
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
