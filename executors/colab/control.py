"""Colab's control plane: what the account may have, which runtimes it has, taking one, keeping it, giving it back.

Only `assign` spends quota; everything else is free of side effects, or gives back.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import urlsplit

import httpx

from executors.base import ExecutorError, NoMachine, NoQuota, Refused, Unreachable
from executors.colab.places import COLAB, PORT, QUOTA, RUNTIME, Places
from executors.dialing import is_loopback, no_connection

GUARD = ")]}'"
"""What each answer begins with, lest it be run as a script."""

AGENT = {"X-Colab-Client-Agent": "offload", "Accept": "application/json"}
TUNNEL = {"X-Colab-Tunnel": "Google"}
XSRF = "X-Goog-Colab-Token"

OUT_OF_QUOTA, DENIED = (1, 2), 5
"""Outcomes of taking a runtime; 0 and 4 are good ones."""

ASSIGN_SECONDS = 120.0
"""A machine has to be started."""


class Bearer(Protocol):
    """A login. Both may raise Refused or Unreachable."""

    def token(self) -> str:
        """An access token that is good now."""

    def renew(self) -> bool:
        """Get another token after this thread's was refused; False when there is none to be had."""


@dataclass(frozen=True)
class Usage:
    """What the account may have. `balance` is in Colab's units, `free` in thousandths of one, `rate` in units an hour,
    for what the account has now; `refill` is when free quota comes again, in seconds since the epoch.
    """

    gpus: tuple[str, ...]
    balance: float
    free: float | None
    refill: float | None
    rate: float = 0.0

    @property
    def paid(self) -> bool:
        """Whether runtimes are paid for."""
        return self.balance > 0

    @property
    def used_up(self) -> bool:
        """Whether nothing can be had before the refill."""
        return not self.paid and self.free is not None and self.free <= 0


@dataclass(frozen=True)
class Way:
    """The way to a runtime's Jupyter server. `seconds` is how long the token is good."""

    url: str
    token: str
    seconds: float


@dataclass(frozen=True)
class Assigned:
    """A runtime that the account has. `gpu` is empty for none."""

    endpoint: str
    gpu: str


class Control:
    """Speaks with the control plane at `places` for the target `name`. `timeout` is the most seconds of an answer."""

    def __init__(self, name: str, places: Places, login: Bearer, timeout: float) -> None:
        self.name, self._places, self._login = name, places, login
        self._client = httpx.Client(timeout=timeout, trust_env=not is_loopback(places.api), headers=AGENT)

    def close(self) -> None:
        """Close its connections."""
        self._client.close()

    def usage(self) -> Usage:
        """What the account may have. Raises Unreachable or Refused, as everything here does."""
        found = self._json("GET", self._places.usage())
        if "eligibleGpus" not in found:
            raise self._strange("it does not tell what the account may have")
        free = found.get("freeCcuQuotaInfo") or {}
        return Usage(
            gpus=tuple(str(gpu).upper() for gpu in found["eligibleGpus"]),
            balance=_number(found.get("currentBalance")) or 0.0,
            free=_number(free.get("remainingTokens")),
            refill=_number(free.get("nextRefillTimestampSec")),
            rate=_number(found.get("consumptionRateHourly")) or 0.0,
        )

    def assignments(self) -> list[Assigned]:
        """The account's runtimes, those of other programs too."""
        found = self._json("GET", self._places.assignments())
        try:
            return [_assigned(entry) for entry in found["assignments"]]
        except (LookupError, TypeError) as error:  # which is not to say that there are none
            raise self._strange("it does not tell which runtimes the account has") from error

    def find(self, nbh: str, gpu: str) -> Assigned | None:
        """The runtime that was taken for this hash and kind, if there is one."""
        found = self._json("GET", self._places.assign(), _wanted(nbh, gpu))
        return _assigned(found) if "endpoint" in found else None

    def assign(self, nbh: str, gpu: str) -> Assigned:
        """Take a runtime for this hash, with this GPU ("" for none), or find the one that was taken.

        Raises NoQuota when there is none to be had now, Refused when this account may never have one.
        """
        found = self._json("GET", self._places.assign(), _wanted(nbh, gpu))
        if "endpoint" not in found:
            found = self._take(nbh, gpu, str(found.get("token", "")))
        self._judge(found)
        return _assigned(found)

    def _take(self, nbh: str, gpu: str, token: str) -> dict[str, Any]:
        try:
            return self._json("POST", self._places.assign(), _wanted(nbh, gpu), {XSRF: token}, ASSIGN_SECONDS)
        except _Status as error:
            raise self._no_runtime(error.status, gpu) from error

    def way(self, endpoint: str) -> Way:
        """The way to a runtime's Jupyter server, with a token that has just been made."""
        found = self._json("GET", self._places.proxy(), {"endpoint": endpoint, "port": PORT}, TUNNEL)
        try:
            seconds = str(found.get("tokenExpiresInSeconds") or found["ttl"]).removesuffix("s")
            return Way(f"{str(found['url']).rstrip('/')}/", str(found["token"]), float(seconds))
        except (LookupError, ValueError) as error:
            raise self._strange("it does not tell the way to the runtime") from error

    def keep_alive(self, endpoint: str) -> None:
        """Say that a runtime is in use. No answer in time is a good one."""
        try:
            self._ask("GET", self._places.keep_alive(endpoint), {}, TUNNEL, None)
        except _Silent:
            return

    def unassign(self, endpoint: str) -> None:
        """Give a runtime back; none of that name is no error."""
        place = self._places.unassign(endpoint)
        try:
            token = str(self._json("GET", place).get("token", ""))
            self._ask("POST", place, {}, {XSRF: token}, None)
        except _Status as error:
            if error.status != 404:
                raise

    def _no_runtime(self, status: int, gpu: str) -> ExecutorError:
        kind = gpu or "CPU"
        if status == 412:
            return self._too_many()
        if status == 400:
            said = f"{self.name}: this account may not have a runtime of kind {kind}"
            return Refused(said, step=RUNTIME, hint=f"offload targets test {self.name}")
        if status == 503:
            return NoMachine(f"{self.name}: Colab has no machine of kind {kind} free at present", step=RUNTIME)
        return self._strange(f"it answers {status} when asked for a runtime")

    def _too_many(self) -> NoQuota:
        running = ", ".join(f"{one.endpoint} ({one.gpu or 'CPU'})" for one in self.assignments())
        said = f"{self.name}: the account has as many runtimes as it may: {running or 'Colab does not say which'}"
        return NoQuota(said, step=RUNTIME, hint=f"offload targets release {self.name} RUNTIME")

    def _judge(self, found: Mapping[str, Any]) -> None:
        outcome = found.get("outcome")
        if outcome in OUT_OF_QUOTA:
            raise self.used_up(self.usage())
        if outcome == DENIED:
            said = f"{self.name}: Colab refuses runtimes to this account; it has been blocked"
            raise Refused(said, step=RUNTIME, hint="see https://research.google.com/colaboratory/faq.html")
        if "endpoint" not in found:
            raise self._strange("it names no runtime")

    def used_up(self, usage: Usage) -> NoQuota:
        """The error of an account that can have nothing at present."""
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(usage.refill)) if usage.refill else ""
        until = f"it is filled up again on {when}" if when else "Colab does not say when it is filled up again"
        return NoQuota(f"{self.name}: the account's free quota is used up; {until}", step=QUOTA)

    def _json(
        self,
        method: str,
        url: str,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        seconds: float | None = None,
    ) -> dict[str, Any]:
        response = self._ask(method, url, query or {}, headers or {}, seconds)
        text = response.text.strip().removeprefix(GUARD)
        try:
            found = json.loads(text)
        except ValueError as error:
            raise self._strange("it answers with a page") from error
        return found if isinstance(found, dict) else {"assignments": found}

    def _ask(
        self, method: str, url: str, query: Mapping[str, str], headers: Mapping[str, str], seconds: float | None
    ) -> httpx.Response:
        response = self._send(method, url, query, headers, seconds)
        if response.status_code == 401 and self._login.renew():
            response = self._send(method, url, query, headers, seconds)
        if response.status_code in (401, 403):
            said = f"{self.name}: Colab does not take the login: it answers {response.status_code}"
            # Not of the step LOGIN: Google has taken it. By this, `way` knows who is turned away for being no cgpu.
            raise Refused(said, step=COLAB, hint=f"offload targets login {self.name}")
        if not response.is_success:
            raise _Status(self.name, response.status_code)
        return response

    def _send(
        self, method: str, url: str, query: Mapping[str, str], headers: Mapping[str, str], seconds: float | None
    ) -> httpx.Response:
        carried = {"Authorization": f"Bearer {self._login.token()}", **headers}
        usual = self._client.timeout
        timeout = httpx.Timeout(seconds or usual.read, connect=usual.connect)
        try:
            return self._client.request(
                method, url, params={"authuser": "0", **query}, headers=carried, timeout=timeout
            )
        except (httpx.ReadTimeout, httpx.WriteTimeout, httpx.PoolTimeout) as error:
            raise _Silent(f"{self.name}: no answer from {urlsplit(url).netloc} in time", step=COLAB) from error
        except httpx.HTTPError as error:
            raise no_connection(self.name, url, error, float(usual.connect or 0)) from error

    def _strange(self, what: str) -> Unreachable:
        return Unreachable(f"{self.name}: {urlsplit(self._places.api).netloc} is not as we know it: {what}", step=COLAB)


class _Silent(Unreachable):
    """It did not answer in time."""


class _Status(Unreachable):
    """It answered with a status that is no success."""

    def __init__(self, name: str, status: int) -> None:
        super().__init__(f"{name}: Colab answers {status}", step=COLAB)
        self.status = status


def _wanted(nbh: str, gpu: str) -> dict[str, str]:
    return {"nbh": nbh, **({"variant": "GPU", "accelerator": gpu} if gpu else {})}


def _assigned(entry: Mapping[str, Any]) -> Assigned:
    gpu = str(entry.get("accelerator") or "").upper()
    return Assigned(str(entry["endpoint"]), "" if gpu == "NONE" else gpu)


def _number(said: object) -> float | None:
    try:
        return float(str(said))
    except ValueError:
        return None
