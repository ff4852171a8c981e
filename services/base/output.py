"""What a use comes to: its exit code, and what goes to stdout. Data goes there, and nothing else."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from broker.errors import OffloadError, batch_exit_code
from broker.job import Input, Item
from executors.base import ExecutorError
from services.base.inputs import Rejected
from services.base.text import plain


@dataclass(frozen=True)
class Outcome:
    """What became of the inputs: rejected, left alone, or items of a job, which `failure` may have cut short.

    `planned` are those a dry run would have taken.
    """

    rejected: Sequence[Rejected]
    skipped: Sequence[Input]
    items: Sequence[Item] = ()
    failure: OffloadError | ExecutorError | None = None
    planned: Sequence[Input] = ()

    @property
    def code(self) -> int:
        """The exit code."""
        if self.failure is not None:
            return self.failure.exit_code
        well, ill = [None] * (len(self.skipped) + len(self.planned)), ["bad_input"] * len(self.rejected)
        return batch_exit_code([*[item.kind for item in self.items], *well, *ill])

    @property
    def paths(self) -> list[Path]:
        """The outputs that are there now: those left alone, then those made."""
        made = [made.dest for item in self.items for made in item.outputs if made.published]
        return [*(dest for entry in self.skipped for dest in entry.outputs.values()), *made]

    def document(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """`fields`, a receipt or a plan, with what it cannot know."""
        return {
            **fields,
            **({"error": str(self.failure), "hint": getattr(self.failure, "hint", "")} if self.failure else {}),
            **({"planned": [_wish(entry) for entry in self.planned]} if self.planned else {}),
            "skipped": [_wish(entry) for entry in self.skipped],
            "rejected": [
                {"input": str(entry.path), "kind": "bad_input", "error": entry.error} for entry in self.rejected
            ],
            "exit_code": self.code,
        }


def _wish(entry: Input) -> dict[str, Any]:
    return {"input": str(entry.source), "outputs": [str(dest) for dest in entry.outputs.values()]}


def deliver(outcome: Outcome, receipt: Mapping[str, Any], as_json: bool, null: bool) -> int:
    """Print what a use came to; returns its exit code."""
    if as_json:
        print_document(outcome.document(receipt))
    else:
        print_paths(outcome.paths, null)
    return outcome.code


def print_document(found: Any) -> None:
    """Print one JSON document."""
    print(json.dumps(found, indent=2), flush=True)


def print_paths(paths: Sequence[Path], null: bool) -> None:
    """Print paths, one a line or ended by NUL: their exact bytes, except that a terminal gets what it can show."""
    end = b"\0" if null else b"\n"
    shown = sys.stdout.isatty() and not null
    for path in paths:
        sys.stdout.buffer.write((plain(path).encode() if shown else bytes(path)) + end)
    sys.stdout.buffer.flush()
