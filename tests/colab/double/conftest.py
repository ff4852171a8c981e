"""Doubles to ask, with and without a machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.colab.double import Double, double
from tests.colab.double.asking import T4, taken
from tests.colab.double.runtime import HEADER, PATIENCE, Runtime, plain


@pytest.fixture
def pages(tmp_path: Path) -> Iterator[Double]:
    """A double with no machine started."""
    with double(tmp_path / "google", warm=0) as google:
        yield google


@pytest.fixture
def me(pages: Double) -> Iterator[httpx.Client]:
    """Somebody who is logged in there."""
    with pages.client() as client:
        yield client


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Double]:
    """A double with a runtime that no test breaks."""
    with double(tmp_path_factory.mktemp("cloud") / "google") as google:
        with google.client() as client:
            taken(client, **T4)
        yield google


@pytest.fixture
def runtime(cloud: Double) -> Runtime:
    (found,) = cloud.runtimes.values()
    return found


@pytest.fixture
def data(runtime: Runtime) -> Iterator[httpx.Client]:
    """Somebody who is let in to it."""
    with plain(base_url=runtime.url) as client:
        client.headers[HEADER] = runtime.let_in(PATIENCE)
        yield client
