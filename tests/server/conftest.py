"""A running server, for tests that ask one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.server.serving import Serving


@pytest.fixture
def serving(tmp_path: Path, offload_dirs: Path) -> Iterator[Serving]:
    """A server on this test's folders."""
    with Serving(tmp_path) as started:
        yield started
