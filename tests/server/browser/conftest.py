"""A browser for the tests of one module, and a page that is logged in to this test's server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from tests import media
from tests.server.asking import end_all
from tests.server.browser.browsing import CHROMIUM, chromium, log_in, visit
from tests.server.serving import Serving


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A browser, for one module: while it lives, its thread has an event loop that other tests must not meet."""
    if not CHROMIUM:
        pytest.skip("there is no chromium here")
    with chromium() as started:
        yield started


@pytest.fixture
def page(browser: Browser, serving: Serving) -> Iterator[Page]:
    """A page that is logged in."""
    with visit(browser) as opened:
        log_in(opened, serving)
        yield opened
    end_all()


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A clip that takes no time, with a name that has no place to break."""
    return media.clip(tmp_path / f"harbour_{'x' * 60}.mp4")
