"""A real browser, without a window, and a page that is logged in."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Locator, Page, Route, expect, sync_playwright

from tests.server.serving import REPO, Serving

SAMPLE = REPO / "examples" / "handheld.mp4"

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome") or ""
QUIET = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--autoplay-policy=no-user-gesture-required",
)
PATIENCE_MS = 180_000
"""A dead-line for what a busy machine may take; nothing is judged by it."""

expect.set_options(timeout=PATIENCE_MS)


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser. Only one at a time in a process, and no event loop beside it."""
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=list(QUIET))
        try:
            yield started
        finally:
            started.close()


@contextmanager
def visit(browser: Browser, width: int = 1200, height: int = 860, **options: object) -> Iterator[Page]:
    """A page of a browser that knows nobody yet, with what went wrong in it at `complaints(page)`."""
    context = browser.new_context(viewport={"width": width, "height": height}, **options)  # type: ignore[arg-type]
    context.set_default_timeout(PATIENCE_MS)
    page = context.new_page()
    told: list[str] = []
    page.on("console", lambda message: told.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: told.append(str(error)))
    page.__dict__["complaints"] = told
    try:
        yield page
    finally:
        context.close()


def complaints(page: Page) -> list[str]:
    """Errors and warnings of a page's console so far: refusals by its security policy are among them."""
    told: list[str] = page.__dict__["complaints"]
    return told


class Held:
    """Requests of a page for an address: they go nowhere until they are let go, and those that come later go on."""

    def __init__(self, page: Page, address: str) -> None:
        self._routes: list[Route] = []
        self._over = False
        page.route(address, self._hold)

    def _hold(self, route: Route) -> None:
        if self._over:
            route.continue_()
        else:
            self._routes.append(route)

    def let_go(self) -> None:
        """Let them go on."""
        self._over = True
        for route in self._routes:
            route.continue_()


def log_in(page: Page, serving: Serving, view: str = "") -> None:
    """Open the page by a new link, and go to a view."""
    with serving.http() as http:
        link = http.post("/v1/links").raise_for_status().json()["link"]
    page.goto(link)
    page.wait_for_selector("nav")
    if view:
        page.goto(f"{serving.url}/#/{view}")


def choose(page: Page, *clips: Path) -> None:
    """Choose files for a new job, and wait until the server has them."""
    page.set_input_files("input[type=file]", clips)
    expect(page.locator(".phase.good")).to_have_count(len(clips))


def start(page: Page) -> None:
    """Start the job that is put together."""
    page.get_by_role("button", name="Start").click()
    page.wait_for_url("**/#/jobs/*")


def state(page: Page) -> Locator:
    """Where a job's view tells its state."""
    return page.locator("main .head > .state").first
