"""Tests of executors. A new kind inherits `conformance.ExecutorConformance` and supplies its fixtures."""

import pytest

PARTS = ("files", "commands", "blobs", "jobs", "follow", "endings", "disk")

# The suite is inherited, not collected: its asserts must be made to explain themselves all the same. Here, because
# other folders' tests may be the first to import from it.
pytest.register_assert_rewrite("tests.executors.target", *(f"tests.executors.conformance.{part}" for part in PARTS))
