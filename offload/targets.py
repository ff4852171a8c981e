"""`offload targets`: the places a job can run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from broker import settings
from broker.broker import Broker
from services.base.output import print_document
from services.base.text import plain


@click.group(help="The places a job can run.")
def targets() -> None:
    """Verbs on targets."""


@targets.command(help="List the targets in the order they are tried.")
@click.option("--json", "as_json", is_flag=True, help="print one JSON document")
def ls(as_json: bool) -> None:
    """List the targets, each with its state."""
    with Broker(settings.load()) as broker:
        candidates = broker.plan("auto", 0)
    rows = [
        {
            "name": candidate.target.name,
            "kind": candidate.target.kind,
            "reachable": candidate.probe.reachable,
            "cpus": candidate.probe.cpus,
            "gpu": candidate.probe.gpu,
            "disk_free_bytes": candidate.probe.disk_free_bytes,
            "reason": candidate.reason,
        }
        for candidate in candidates
    ]
    if as_json:
        print_document(rows)
        return
    for row in rows:
        state = "up" if row["reachable"] else "away"
        print(f"{row['name']}\t{row['kind']}\t{state}\t{plain(_about(row))}")


def _about(row: Mapping[str, Any]) -> str:
    if not row["reachable"]:
        return str(row["reason"])
    disk = row["disk_free_bytes"]
    known = [row["gpu"], row["cpus"] and f"{row['cpus']} CPUs", disk and f"{disk / 1e9:.0f} GB free"]
    return ", ".join(filter(None, known))
