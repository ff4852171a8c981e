"""Services with models on Colab: the same outputs there as here. That all are is seen over SSH, too."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.colab.double import Double
from tests.services.everywhere import USES, Use, assert_same_there_as_here

FIRST, *REST = USES


@pytest.mark.parametrize(
    "use", [FIRST, *(pytest.param(use, marks=pytest.mark.soak) for use in REST)], ids=lambda use: use.service
)
def test_the_same_there_as_here(use: Use, google: Double, tmp_path: Path) -> None:
    assert_same_there_as_here(use, tmp_path / "media", "colab")
