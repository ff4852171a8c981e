"""A plan before a person: a row for each target, and the sentence why the first is first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import services
from broker import rules
from broker.forecast import PHASES, PRIOR, SAMPLE, told
from broker.plan import Candidate
from broker.settings import Settings
from services.base.text import plain


def row(candidate: Candidate) -> dict[str, Any]:
    """What a document says of one target."""
    known = candidate.forecast.told() if candidate.forecast else {"phases": {}, "known": {}, "link": ""}
    return {
        "target": candidate.target.name,
        "reachable": candidate.probe.reachable,
        "state": state(candidate),
        "send_bytes": candidate.send_bytes,
        "seconds": None if candidate.seconds is None else round(candidate.seconds, 3),
        **known,
        "reason": candidate.reason,
    }


def state(candidate: Candidate) -> str:
    """One word for a target: ready, away (it cannot be reached), closed (a person has to mend or allow it) or unfit."""
    if candidate.probe.reachable:
        return "unfit" if candidate.unfit else "ready"
    return "away" if candidate.probe.away else "closed"


def line(one: Mapping[str, Any]) -> str:
    """A row as a line: target, bytes, time, why, state, and how the time is made up and known."""
    time = "time not known yet" if one["seconds"] is None else told(one["seconds"])
    phases = " + ".join(f"{name} {one['phases'][name]:.1f}" for name in PHASES if one["phases"].get(name))
    known = one["known"].get("run", "")
    words = (
        one["target"],
        f"{one['send_bytes']} bytes to send",
        time,
        plain(one["reason"]),
        one["state"],
        phases,
        known,
    )
    return "\t".join(words)


def why(plan: Sequence[Candidate]) -> str:
    """The sentence why the first is first, and on what that rests; empty where there is no choice."""
    tried = [candidate for candidate in plan if candidate.probe.reachable]
    if len(tried) < 2:
        return ""
    return f"{tried[0].target.name}: {plain(tried[0].reason)}{_rests_on(tried)}"


def _rests_on(tried: Sequence[Candidate]) -> str:
    found = [candidate.forecast for candidate in tried if candidate.forecast]
    guessed = [one.target.name for one in tried if one.forecast and one.forecast.run.known == PRIOR]
    sampled = [one.target.name for one in tried if one.forecast and one.forecast.link == SAMPLE]
    said = [f"nothing was measured yet on {', '.join(guessed)}: shipped figures were used"] if guessed else []
    said += [f"the link to {', '.join(sampled)} was tried with a small file"] if sampled else []
    return "".join(f" ({words})" for words in said) if found else ""


def check_services(settings: Settings, name: str) -> None:
    """Raise ConfigError for a rule about a service that is neither `name` nor one of ours."""
    if settings.rules:
        rules.check_services(settings.rules, {*services.names(), name}, settings.config_dir / "config.toml")
