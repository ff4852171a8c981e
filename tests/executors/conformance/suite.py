"""What the parts of the suite share: the hooks a kind supplies, and a target to speak to."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from executors.base import Executor
from tests.executors.target import Target


class Suite:
    """Hooks, and the `target` fixture over the `executor` fixture that a kind supplies."""

    short_timeout = 2.0
    """Seconds in which a command has mostly started on this kind of target."""

    @pytest.fixture
    def target(self, executor: Executor, tmp_path: Path) -> Target:
        """The executor's target, with the runner installed. May be shared by tests: names are random."""
        return Target(executor, tmp_path)

    def unreachable(self) -> Executor:
        """Return an executor, not entered, whose target cannot be reached."""
        raise NotImplementedError

    def small_disk(self) -> AbstractContextManager[Executor]:
        """Return a context with an entered executor whose root has about 4 MB of room."""
        pytest.skip("this kind of target has no small disk to fill")
