"""Figures for Prometheus. Labels are services, targets, states and routes: never a path, a name or a token."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from broker.broker import Broker

ELSEWHERE = "other"
"""Where no route was: files of the page, what was refused before, and what there is not."""


class Metrics:
    """What was counted since the server started."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.requests = Counter(
            "offload_http_requests",
            "Requests that were answered.",
            ("method", "route", "status"),
            registry=self._registry,
        )
        self.received = Counter(
            "offload_http_received_bytes", "Bytes of requests' bodies.", ("route",), registry=self._registry
        )

    def text(self, broker: Broker) -> bytes:
        """All figures, in Prometheus' text format."""
        journal = CollectorRegistry()
        journal.register(_Remembered(broker))
        return generate_latest(self._registry) + generate_latest(journal)


class _Remembered(Collector):
    """What the journal tells. A job that is forgotten leaves these figures, so they are no counters."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    def collect(self) -> Iterator[Metric]:
        """Jobs, attempts and targets, as they are known now: nobody is asked."""
        jobs = GaugeMetricFamily("offload_jobs", "Jobs in the journal.", labels=("service", "state"))
        for labels, count in self._broker.journal.totals.jobs().items():
            jobs.add_metric(labels, count)
        up = GaugeMetricFamily("offload_target_up", "Whether a target answered when last asked.", labels=("target",))
        for target in self._broker.targets.values():
            known = self._broker.journal.health.known(target)
            if known is not None:  # of one that was never asked, nobody can say it
                up.add_metric((target.name,), float(known.reachable))
        yield from (jobs, up, *self._attempts())

    def _attempts(self) -> tuple[Metric, Metric]:
        labels = ("service", "target", "state")
        count = GaugeMetricFamily("offload_attempts", "Attempts that are over.", labels=labels)
        seconds = GaugeMetricFamily("offload_attempts_seconds", "Seconds that these took together.", labels=labels)
        for spent in self._broker.journal.totals.attempts():
            where = (spent.service, spent.target, spent.state)
            count.add_metric(where, spent.count)
            seconds.add_metric(where, spent.seconds)
        return count, seconds


class Counted:
    """Counts each request to an application, by the template of its route."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        got, status = 0, 0

        async def receiving() -> Message:
            nonlocal got
            message = await receive()
            got += len(message.get("body", b""))
            return message

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receiving, sending)
        finally:
            self._count(scope, status, got)

    def _count(self, scope: Scope, status: int, got: int) -> None:
        route = getattr(scope.get("route"), "path", ELSEWHERE)
        method = scope["method"] if route != ELSEWHERE else ""
        self._metrics.requests.labels(method, route, str(status)).inc()
        self._metrics.received.labels(route).inc(got)
