"""The control plane: what an account may have, its runtimes, and what becomes of them."""

from __future__ import annotations

import re
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from fastapi import APIRouter, Depends, HTTPException, Query, Request
from fastapi.responses import JSONResponse, Response

from tests.colab.double.faults import Faults
from tests.colab.double.oauth import OAuth
from tests.colab.double.runtime import Runtime

HASH = re.compile(r"[0-9a-f]{8}(_[0-9a-f]{4}){3}_[0-9a-f]{12}\.{8}")
TICK = 0.02
SUCCESS, QUOTA_VARIANT, QUOTA_TIME, DENYLISTED = 4, 1, 2, 5


class Guarded(JSONResponse):
    """JSON that no browser runs."""

    def render(self, content: Any) -> bytes:
        """Put the guard before it."""
        return b")]}'\n" + super().render(content)


@dataclass
class Assignment:
    """A runtime of the account. `kept` are the times it was kept alive, by the monotonic clock; the first is its start."""

    nbh: str
    gpu: str
    endpoint: str
    runtime: Runtime
    kept: list[float] = field(default_factory=lambda: [time.monotonic()])


class Control:
    """Knobs, each of which may be set at any moment:

    - `eligible`, `ineligible`: GPUs that the account may have, and may not (400)
    - `no_machine`: GPUs of which none is free ("" for a machine without), 503
    - `most`: how many runtimes at once, then 412
    - `quota`: free tokens left, none is outcome 2 unless there is a `balance`; `price` is what a runtime takes of it,
      `refill` when it is full again, in seconds since the epoch
    - `balance`, `subscription`, `tier`: of an account that pays
    - `outcome`: of every further try to take a runtime; None for what is true
    - `token_seconds`: how long a proxy token is good
    - `idle_seconds`, `life_seconds`: when a runtime is ended that nobody keeps alive, or at all
    - `route`: from a runtime to the url that is told

    `assignments` are by endpoint; `ended` says why each other one ended: released, idle, life, vanished.
    """

    def __init__(self, oauth: OAuth, faults: Faults, take: Callable[[], Runtime]) -> None:
        self.eligible, self.ineligible, self.tpus = ["T4"], ["L4", "A100"], ["V5E1"]
        self.no_machine = set[str]()
        self.most = 1
        self.quota, self.price, self.refill = 36_000, 1000, time.time() + 86400
        self.balance, self.subscription, self.tier = 0.0, 1, 0
        self.outcome: int | None = None
        self.token_seconds = 3600.0
        self.idle_seconds, self.life_seconds = 5400.0, 43200.0
        self.route: Callable[[Runtime], str] = lambda runtime: runtime.url
        self.assignments: dict[str, Assignment] = {}
        self.ended: dict[str, str] = {}
        self._oauth, self._take = oauth, take
        self._xsrf: dict[str, str] = {}
        self._lock = threading.RLock()
        self.router = _routes(self, faults)
        self._over = faults.over
        self._reaper = threading.Thread(target=self._reap)
        self._reaper.start()

    def close(self) -> None:
        """End all runtimes; `faults.over` is set."""
        self._reaper.join()
        for endpoint in list(self.assignments):
            self.end(endpoint, "closed")

    def end(self, endpoint: str, why: str, forget: bool = True) -> None:
        """End a runtime. One that is not forgotten stays in the account's list, though nothing is behind it."""
        with self._lock:
            found = self.assignments.pop(endpoint) if forget else self.assignments[endpoint]
            self.ended[endpoint] = why
        found.runtime.vanish()

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
        free = {"remainingTokens": str(self.quota), "nextRefillTimestampSec": int(self.refill)}
        return {
            "currentBalance": self.balance,
            "consumptionRateHourly": 1.76 * len(self.assignments),
            "assignmentsCount": len(self.assignments),
            "eligibleGpus": self.eligible,
            "ineligibleGpus": self.ineligible,
            "eligibleTpus": self.tpus,
            "freeCcuQuotaInfo": free,
        }

    def xsrf(self, subject: str) -> str:
        """Make a token that is good for one POST."""
        with self._lock:
            token = secrets.token_urlsafe(16)
            self._xsrf[token] = subject
            return token

    def use(self, token: str, subject: str) -> None:
        """Use a token up. Raises HTTPException when it is not good for this."""
        with self._lock:
            if self._xsrf.pop(token, None) != subject:
                raise HTTPException(403, "XSRF token")

    def known(self, nbh: str) -> Assignment | None:
        """The runtime that was taken for this hash."""
        with self._lock:
            return next((found for found in self.assignments.values() if found.nbh == nbh), None)

    def take(self, nbh: str, gpu: str) -> dict[str, Any]:
        """Take a runtime, or find the one that was taken."""
        with self._lock:
            if found := self.known(nbh):
                return self.told(found)
            self._check(gpu)
            outcome = self._outcome()
            if outcome != SUCCESS:
                return {"outcome": outcome, "variant": int(bool(gpu))}
            self.quota -= self.price
            runtime = self._take()
            runtime.put_in(gpu)
            kind = f"gpu-{gpu.lower()}" if gpu else "m"
            found = Assignment(nbh, gpu, f"{kind}-s-{secrets.token_hex(6)}", runtime)
            self.assignments[found.endpoint] = found
        return {**self.told(found), "outcome": outcome}

    def _check(self, gpu: str) -> None:
        if gpu and gpu not in self.eligible:
            raise HTTPException(400, "accelerator")
        if len(self.assignments) >= self.most:
            raise HTTPException(412, "too many")
        if gpu in self.no_machine:
            raise HTTPException(503, "no machine")

    def _outcome(self) -> int:
        if self.outcome is not None:
            return self.outcome
        return QUOTA_TIME if self.quota <= 0 and self.balance <= 0 else SUCCESS

    def told(self, found: Assignment) -> dict[str, Any]:
        """What is told of a runtime to who has it."""
        more = {"fit": int(self.idle_seconds), "sub": self.subscription, "subTier": self.tier}
        return {**listed(found), **more, "runtimeProxyInfo": self.proxy(found)}

    def proxy(self, found: Assignment) -> dict[str, Any]:
        """The way to a runtime, with a new token."""
        token = found.runtime.let_in(self.token_seconds)
        return {"token": token, "tokenExpiresInSeconds": self.token_seconds, "url": self.route(found.runtime)}

    def found(self, endpoint: str) -> Assignment:
        """The runtime of this name. Raises HTTPException when there is none."""
        with self._lock:
            if endpoint not in self.assignments:
                raise HTTPException(404, "no such runtime")
            return self.assignments[endpoint]

    def demand(self, request: Request) -> None:
        """Demand what every call must carry."""
        if not self._oauth.accepts(request.headers.get("Authorization", "")):
            raise HTTPException(401, "login")
        if request.query_params.get("authuser") != "0" or "X-Colab-Client-Agent" not in request.headers:
            raise HTTPException(400, "client")


def listed(found: Assignment) -> dict[str, Any]:
    """What is told of a runtime in the account's list."""
    return {
        "accelerator": found.gpu or "NONE",
        "endpoint": found.endpoint,
        "variant": int(bool(found.gpu)),
        "machineShape": 0,
    }


def _tunnel(request: Request) -> None:
    if request.headers.get("X-Colab-Tunnel") != "Google":
        raise HTTPException(400, "tunnel")


def _wanted(nbh: str, variant: str = "DEFAULT", accelerator: str = "NONE") -> tuple[str, str]:
    """Notebook's hash and GPU of a query. Raises HTTPException for what makes no sense."""
    if not HASH.fullmatch(nbh) or (variant == "GPU") != (accelerator != "NONE"):
        raise HTTPException(400, "nbh, variant or accelerator")
    return nbh, accelerator.removeprefix("NONE")


def _routes(control: Control, faults: Faults) -> APIRouter:
    router = APIRouter(prefix="/tun/m")

    def call(method: str, path: str, name: str, *checks: Callable[..., None]) -> Callable[..., Any]:
        before = [Depends(each) for each in (faults.before(name), control.demand, *checks)]
        return router.api_route(path, methods=[method], dependencies=before)

    @call("GET", "/ccu-info", "ccu-info")
    def usage() -> Response:
        return Guarded(control.usage())

    @call("GET", "/assign", "assign-token")
    def may_assign(nbh: str, variant: str = "DEFAULT", accelerator: str = "NONE") -> Response:
        _, gpu = _wanted(nbh, variant, accelerator)
        if found := control.known(nbh):
            return Guarded(control.told(found))
        told = {"acc": gpu or "NONE", "nbh": nbh, "p": False, "variant": variant}
        return Guarded({**told, "token": control.xsrf(nbh)})

    @call("POST", "/assign", "assign")
    def assign(request: Request, nbh: str, variant: str = "DEFAULT", accelerator: str = "NONE") -> Response:
        _, gpu = _wanted(nbh, variant, accelerator)
        control.use(request.headers.get("X-Goog-Colab-Token", ""), nbh)
        return Guarded(control.take(nbh, gpu))

    @call("GET", "/assignments", "assignments")
    def assignments() -> Response:
        return Guarded({"assignments": [listed(found) for found in list(control.assignments.values())]})

    @call("GET", "/runtime-proxy-token", "runtime-proxy-token", _tunnel)
    def proxy(endpoint: str, port: str = Query(pattern="^8080$")) -> Response:
        return Guarded(control.proxy(control.found(endpoint)))

    @call("GET", "/{endpoint}/keep-alive/", "keep-alive", _tunnel)
    def keep_alive(endpoint: str) -> Response:
        control.found(endpoint).kept.append(time.monotonic())
        return Guarded({})

    @call("GET", "/unassign/{endpoint}", "unassign-token")
    def may_unassign(endpoint: str) -> Response:
        return Guarded({"token": control.xsrf(control.found(endpoint).endpoint)})

    @call("POST", "/unassign/{endpoint}", "unassign")
    def unassign(request: Request, endpoint: str) -> Response:
        control.found(endpoint)
        control.use(request.headers.get("X-Goog-Colab-Token", ""), endpoint)
        control.end(endpoint, "released")
        return Response(status_code=204)

    return router
