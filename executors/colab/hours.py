"""How long a runtime can be had: by Colab's rules, by its age, and by what is left of the account's quota."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from executors.colab.control import Usage

FREE_HOURS, PAID_HOURS = 12.0, 24.0
"""How long a machine can be had at once, at most, by Colab's own FAQ."""
T4_RATE = 2.0
"""Units an hour of the machine that the free tier gives. Colab tells the rate only of what is taken."""


def left(usage: Usage | None, taken: float | None) -> float:
    """Hours from now on, of a runtime that was `taken` then (seconds since the epoch), or of a new one."""
    whole = PAID_HOURS if usage is not None and usage.paid else FREE_HOURS
    age = max(time.time() - taken, 0.0) / 3600 if taken is not None else 0.0
    return max(min(whole - age, _bought(usage)), 0.0)


def _bought(usage: Usage | None) -> float:
    """Hours that the account's units are enough for; infinite where nobody can tell."""
    if usage is None or (usage.paid and not usage.rate) or (not usage.paid and usage.free is None):
        return float("inf")
    units = usage.balance if usage.paid else (usage.free or 0.0) / 1000
    return units / (usage.rate or T4_RATE)
