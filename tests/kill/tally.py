"""What came of the rounds of a kill loop."""

from __future__ import annotations

from dataclasses import dataclass, field

KINDS = ("lost", "doubled", "partial", "leftover")


@dataclass
class Tally:
    """What went wrong in a number of rounds, by kind, a sentence each; `struck` of them came upon something to kill."""

    rounds: int = 0
    struck: int = 0
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    partial: list[str] = field(default_factory=list)
    leftover: list[str] = field(default_factory=list)

    def add(self, other: Tally) -> None:
        """Count another tally's rounds too."""
        self.rounds += other.rounds
        self.struck += other.struck
        for kind in KINDS:
            getattr(self, kind).extend(getattr(other, kind))

    @property
    def troubles(self) -> list[str]:
        """All that went wrong."""
        return [trouble for kind in KINDS for trouble in getattr(self, kind)]

    def __str__(self) -> str:
        counts = " / ".join(str(len(getattr(self, kind))) for kind in KINDS)
        return f"kill loops: {self.rounds} rounds, {self.struck} struck, {' / '.join(KINDS)} = {counts}"
