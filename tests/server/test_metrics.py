"""Figures, and that the server serves."""

from __future__ import annotations

from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from broker.broker import Broker
from broker.targets import Target
from executors.base import Unreachable
from offload import __version__
from tests.broker import jobs
from tests.server.serving import Serving

Figures = dict[tuple[str, ...], float]


def figures(serving: Serving) -> dict[str, Figures]:
    """All figures, by name and labels in the order of their names."""
    with serving.http() as http:
        answer = http.get("/metrics")
    assert answer.status_code == 200 and answer.headers["content-type"].startswith("text/plain")
    found: dict[str, Figures] = {}
    for family in text_string_to_metric_families(answer.text):
        for sample in family.samples:
            labels = tuple(value for _, value in sorted(sample.labels.items()))
            found.setdefault(sample.name, {})[labels] = sample.value
    return found


def test_health_tells_the_version_and_what_is_open(serving: Serving, broker: Broker, tmp_path: Path) -> None:
    with serving.http() as http:
        assert http.get("/v1/health").json() == {"version": __version__, "open_jobs": 0, "notices": []}
        broker.submit(jobs.request(tmp_path / "work", b"a"))
        assert http.get("/v1/health").json()["open_jobs"] == 1


def test_jobs_and_what_they_took(serving: Serving, broker: Broker, tmp_path: Path) -> None:
    jobs.drive(broker, jobs.request(tmp_path / "one", b"a", seconds=0.2))
    jobs.drive(broker, jobs.request(tmp_path / "two", b"b"))
    broker.submit(jobs.request(tmp_path / "three", b"c"))
    found = figures(serving)
    assert found["offload_jobs"] == {("fake", "done"): 2, ("fake", "queued"): 1}
    assert found["offload_attempts"] == {("fake", "done", "local"): 2}
    [seconds] = found["offload_attempts_seconds"].values()
    took = [
        attempt.ended - attempt.started for job in broker.journal.jobs() for attempt in broker.journal.attempts(job.id)
    ]
    assert seconds == sum(took) > 0.2


def test_targets_as_known_and_nobody_is_asked(serving: Serving, broker: Broker, offload_dirs: Path) -> None:
    """A target at an address that nobody has would take its time."""
    (offload_dirs / "config/targets.toml").write_text('[box]\nurl = "ssh://nobody@192.0.2.1"\n')
    assert figures(serving)["offload_target_up"] == {("local",): 1}, "nobody can say it of one that was never asked"
    box = Target("box", "ssh", {"url": "x"})
    with Broker(broker.settings) as again:
        again.journal.health.failed(again.targets["box"], str(Unreachable(f"{box.name}: no answer")))
    assert figures(serving)["offload_target_up"] == {("box",): 0, ("local",): 1}


def test_a_target_that_refuses_is_not_up(serving: Serving, tmp_path: Path, offload_dirs: Path) -> None:
    (token := tmp_path / "token").write_text("secret")
    token.chmod(0o644)
    lines = f'[lab]\nurl = "jupyter+http://127.0.0.1:1/"\ntoken_file = "{token}"\n'
    (offload_dirs / "config/targets.toml").write_text(lines)
    with serving.http() as http:
        (lab, _) = http.get("/v1/targets").json()
    assert lab["state"] == "refused"
    assert figures(serving)["offload_target_up"] == {("lab",): 0, ("local",): 1}


def test_requests_by_route_and_never_by_path(serving: Serving) -> None:
    with serving.http() as http:
        http.get("/v1/jobs/0123456789ab")
        http.get("/v1/jobs/ba9876543210")
        http.get("/secret-name")
        http.get("/v1/secret-name")
        http.get("/v1/health", headers={"Authorization": "Bearer secret-name"})
        begun = http.post("/v1/blobs", json={"size": 1000, "sha256": "0" * 64}).json()["upload"]
        sent = {"Upload-Offset": "0", "Content-Type": "application/offset+octet-stream"}
        http.patch(f"/v1/blobs/{begun}", headers=sent, content=b"x" * 500)
        text = http.get("/metrics").text
    found = figures(serving)
    requests = found["offload_http_requests_total"]
    assert requests["GET", "/v1/jobs/{job}", "404"] == 2
    assert requests["POST", "/v1/blobs", "201"] == 1
    assert requests["", "other", "404"] == 2 and requests["", "other", "401"] == 1
    assert found["offload_http_received_bytes_total"]["/v1/blobs/{upload}",] == 500
    assert not [word for word in ("secret-name", "0123456789ab", begun, serving.token) if word in text]
