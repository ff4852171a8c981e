"""Many tabs of the page in one browser."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import Page, expect

from tests.server.browser.browsing import choose, start, state
from tests.server.serving import Serving


def test_eight_tabs_share_one_stream(page: Page, serving: Serving, small: Path) -> None:
    streams: list[str] = []
    context = page.context
    context.on("request", lambda request: streams.append(request.url) if request.url.endswith("/v1/events") else None)
    expect(page.locator(".link.live")).to_be_visible()
    others = [context.new_page() for _ in range(7)]  # more than a browser has connections
    for other in others:
        other.goto(f"{serving.url}/#/jobs")
        expect(other.locator(".link.live")).to_be_visible()
        expect(other.get_by_text("No jobs yet")).to_be_visible()
    assert page.evaluate("fetch('/v1/health').then((answer) => answer.status)") == 200
    assert streams == []  # the first tab's is older than this list

    choose(page, small)
    start(page)
    expect(state(page)).to_have_text("done")
    for other in others:
        expect(other.locator(".jobs .state")).to_have_text("done")

    page.close()
    with serving.http() as http:
        (job,) = http.get("/v1/jobs").json()["jobs"]
        http.delete(f"/v1/jobs/{job['job']}").raise_for_status()
    for other in others:
        expect(other.get_by_text("No jobs yet")).to_be_visible()
    assert len(streams) == 1


def test_tabs_say_that_the_link_is_lost_and_come_back(page: Page, serving: Serving) -> None:
    other = page.context.new_page()
    other.goto(f"{serving.url}/#/jobs")
    expect(other.locator(".link.live")).to_be_visible()
    serving.kill()
    for tab in (page, other):
        expect(tab.locator(".link.lost")).to_be_visible()
    serving.start()
    for tab in (page, other):
        expect(tab.locator(".link.live")).to_be_visible()
