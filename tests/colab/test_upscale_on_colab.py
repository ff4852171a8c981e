"""Upscale on Colab: the same bytes there as here. Whichever network it is: that all are is seen over SSH, too."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.colab.double import Double
from tests.services.enlarging import assert_same_there_as_here


@pytest.mark.parametrize("kind", ["compact", pytest.param("rrdb", marks=pytest.mark.soak)])
def test_the_same_there_as_here(kind: str, google: Double, tmp_path: Path) -> None:
    assert_same_there_as_here(tmp_path / "media", kind, "colab")
