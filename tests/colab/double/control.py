"""What an account may have of Colab, its runtimes, and what becomes of them."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from fastapi import HTTPException

from tests.colab.double.runtime import Runtime

TICK = 0.02
QUOTA_DENIED, QUOTA_EXCEEDED, SUCCESS, DENYLISTED = 1, 2, 4, 5
"""Outcomes of taking a runtime."""


@dataclass
class Assignment:
    """A runtime of the account. `kept` are the times, by the monotonic clock, of its start and of each keep-alive."""

    nbh: str
    gpu: str
    endpoint: str
    runtime: Runtime
    kept: list[float] = field(default_factory=lambda: [time.monotonic()])

    def keep_alive(self) -> None:
        """Note that it is in use."""
        self.kept.append(time.monotonic())


class Control:
    """One account. Knobs, each of which may be set at any moment, from any thread:

    - `eligible`, `ineligible`: GPUs that the account may have, and may not (400)
    - `no_machine`: GPUs of which none is free (503); "" is a machine without
    - `barred`: programs that are not let in (403), by the name they give themselves
    - `most`: how many runtimes at once (then 412)
    - `quota`: free tokens left; `full` again at `refill`, in seconds since the epoch; `price` is what a runtime costs.
      Without any the outcome is 2, unless there is a `balance`
    - `balance`, `subscription`, `tier`: of an account that pays; free quota is then not told
    - `outcome`: of every further try to take a runtime, whatever is true; None for what is true
    - `token_seconds`: how long a proxy token is good
    - `idle_seconds`, `life_seconds`: when a runtime is ended that nobody keeps alive, and when in any case

    `assignments` are by endpoint; `ended` says why each other one ended: released, idle, life or vanished.
    """

    def __init__(self, machine: Callable[[], Runtime]) -> None:
        self.eligible, self.ineligible, self.tpus = ["T4"], ["L4", "A100"], ["V5E1"]
        self.no_machine, self.barred = set[str](), set[str]()
        self.most = 1
        self.quota = self.full = 36_000
        self.price, self.refill = 1000, time.time() + 86400
        self.balance, self.subscription, self.tier = 0.0, 1, 0
        self.outcome: int | None = None
        self.token_seconds: float = 3600
        self.idle_seconds, self.life_seconds = 5400.0, 43200.0
        self.assignments: dict[str, Assignment] = {}
        self.ended: dict[str, str] = {}
        self._machine = machine
        self._xsrf: dict[str, str] = {}
        self._taking, self._over = threading.Lock(), threading.Event()
        self._reaper = threading.Thread(target=self._reap)
        self._reaper.start()

    def close(self) -> None:
        """End all runtimes."""
        self._over.set()
        self._reaper.join()
        for endpoint in list(self.assignments):
            self.end(endpoint, "closed")

    def end(self, endpoint: str, why: str, forget: bool = True) -> None:
        """End a runtime, if it is there. One not forgotten stays in the account's list, with nothing behind it."""
        found = self.assignments.get(endpoint)
        if found is None:
            return
        found.runtime.vanish()
        self.ended.setdefault(endpoint, why)
        if forget:
            self.assignments.pop(endpoint, None)

    def _reap(self) -> None:
        while not self._over.wait(TICK):
            now = time.monotonic()
            for found in list(self.assignments.values()):
                old = now - found.kept[0] > self.life_seconds
                if old or now - found.kept[-1] > self.idle_seconds:
                    self.end(found.endpoint, "life" if old else "idle")

    # What is asked

    def usage(self) -> dict[str, Any]:
        """What the account may have."""
        self._fill_up()
        free = {"remainingTokens": str(self.quota), "nextRefillTimestampSec": int(self.refill)}
        return {
            "currentBalance": self.balance,
            "consumptionRateHourly": len(self.assignments) * self.price / 1000,
            "assignmentsCount": len(self.assignments),
            "eligibleGpus": self.eligible,
            "ineligibleGpus": self.ineligible,
            "eligibleTpus": self.tpus,
            **({} if self.balance else {"freeCcuQuotaInfo": free}),
        }

    def _fill_up(self) -> None:
        if time.time() >= self.refill:
            self.quota, self.refill = self.full, time.time() + 86400

    def xsrf(self, subject: str) -> str:
        """Make a token that is good for one POST."""
        token = secrets.token_urlsafe(16)
        self._xsrf[token] = subject
        return token

    def use(self, token: str, subject: str) -> None:
        """Use a token up. Raises HTTPException when it is not good for this."""
        if self._xsrf.pop(token, None) != subject:
            raise HTTPException(403, "this token is not good, or not any more")

    def known(self, nbh: str) -> Assignment | None:
        """The runtime that was taken for this hash."""
        return next((found for found in list(self.assignments.values()) if found.nbh == nbh), None)

    def found(self, endpoint: str) -> Assignment:
        """The runtime of this name. Raises HTTPException when there is none."""
        try:
            return self.assignments[endpoint]
        except KeyError:
            raise HTTPException(404, "there is no such runtime") from None

    def take(self, nbh: str, gpu: str) -> dict[str, Any]:
        """Take a runtime, or find the one that was taken. Raises HTTPException when there is none to be had."""
        with self._taking:
            if found := self.known(nbh):
                return self.told(found)
            self._check(gpu)
            if (outcome := self._outcome()) != SUCCESS:
                return {"outcome": outcome}
            self.quota -= self.price
            found = self._assign(nbh, gpu)
        return {**self.told(found), "outcome": SUCCESS}

    def _check(self, gpu: str) -> None:
        if gpu and gpu not in self.eligible:
            raise HTTPException(400, "this account may have no such accelerator")
        if len(self.assignments) >= self.most:
            raise HTTPException(412, "this account has too many runtimes")
        if gpu in self.no_machine:
            raise HTTPException(503, "no such machine is free")

    def _outcome(self) -> int:
        self._fill_up()
        if self.outcome is not None:
            return self.outcome
        return SUCCESS if self.quota > 0 or self.balance else QUOTA_EXCEEDED

    def _assign(self, nbh: str, gpu: str) -> Assignment:
        runtime = self._machine()
        runtime.put_in(gpu)
        kind = f"gpu-{gpu.lower()}" if gpu else "m"
        found = Assignment(nbh, gpu, f"{kind}-s-{secrets.token_hex(6)}", runtime)
        self.assignments[found.endpoint] = found
        return found

    def told(self, found: Assignment) -> dict[str, Any]:
        """What is told of a runtime to who takes it."""
        more = {"fit": int(self.idle_seconds), "sub": self.subscription, "subTier": self.tier}
        return {**listed(found), **more, "runtimeProxyInfo": self.proxy(found)}

    def proxy(self, found: Assignment) -> dict[str, Any]:
        """The way to a runtime, with a new token."""
        token = found.runtime.let_in(self.token_seconds)
        return {"token": token, "tokenExpiresInSeconds": self.token_seconds, "url": found.runtime.url}


def listed(found: Assignment) -> dict[str, Any]:
    """What is told of a runtime in the account's list."""
    variant = 1 if found.gpu else 0
    return {
        "accelerator": found.gpu or "NONE",
        "endpoint": found.endpoint,
        "variant": variant,
        "machineShape": 0,
    }
