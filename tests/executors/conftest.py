"""The suite is inherited, not collected: its asserts must be made to explain themselves all the same."""

import pytest

PARTS = ("files", "commands", "blobs", "jobs", "follow", "endings", "disk")

pytest.register_assert_rewrite("tests.executors.target", *(f"tests.executors.conformance.{part}" for part in PARTS))
