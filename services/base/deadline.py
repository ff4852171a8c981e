"""A moment to come, as it is typed."""

from __future__ import annotations

import re
from datetime import datetime, time, timedelta
from typing import Any, ClassVar

import click

LONGEST_DAYS = 3653
"""How far away a deadline may be: what is further was not meant, and no calendar goes on for ever."""


TYPED = f"{__name__}.typed"
"""Where a context's `meta` has the words that became a moment, by the name of the option."""


class Deadline(click.ParamType[float]):
    """A moment: a time of day to come (`18:30`), a date and time, or a span from now (`90min`, `2h`, `45s`)."""

    name = "18:30|2h"
    _units: ClassVar = {"s": 1, "min": 60, "h": 3600, "d": 86400}

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Seconds since the epoch."""
        if isinstance(value, float):
            return value
        if ctx and param:
            ctx.meta.setdefault(TYPED, {})[param.name] = value
        now = datetime.now().astimezone()
        if span := re.fullmatch(r"(\d+(?:\.\d+)?)(s|min|h|d)", value):
            return self._near(now.timestamp() + float(span[1]) * self._units[span[2]], value, param, ctx)
        try:
            clock = f"0{value}" if value[1:2] == ":" else value
            moment = datetime.combine(now, time.fromisoformat(clock)) if ":" in clock[:3] else None
            found = (moment or datetime.fromisoformat(value)).astimezone()
        except (ValueError, OverflowError):
            self.fail(f"{value!r} is no time: write 18:30, 2026-01-31T18:30, 90min or 2h", param, ctx)
        if moment and found < now:
            found += timedelta(days=1)
        if found < now:
            self.fail(f"{value!r} has passed", param, ctx)
        return self._near(found.timestamp(), value, param, ctx)

    def _near(self, found: float, value: str, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if found > datetime.now().timestamp() + LONGEST_DAYS * self._units["d"]:
            self.fail(f"{value!r} is more than ten years away", param, ctx)
        return found


DEADLINE = Deadline()
