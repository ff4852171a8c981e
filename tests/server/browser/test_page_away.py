"""What the page does while the server does not answer."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest
from playwright.sync_api import Page, Request, Route, expect

from server.routes import events
from tests.offload.background import until
from tests.server.browser.browsing import choose
from tests.server.serving import Serving


class Held:
    """Requests for a job that go nowhere until they are let go."""

    def __init__(self, page: Page) -> None:
        self.routes: list[Route] = []
        page.route("**/v1/jobs", self._hold)

    def _hold(self, route: Route) -> None:
        if route.request.method == "POST":
            self.routes.append(route)
        else:
            route.continue_()

    def wait(self, page: Page, count: int) -> None:
        """Until so many were asked for."""
        until(lambda: page.evaluate("1") and len(self.routes) >= count, "asked for")

    @property
    def keys(self) -> list[str]:
        """Their keys."""
        return [route.request.headers["idempotency-key"] for route in self.routes]


@pytest.fixture
def held(page: Page, small: Path) -> Held:
    """A job that is asked for, and whose request is held."""
    choose(page, small)
    expect(page.locator(".sentence")).to_contain_text("this machine")
    page.clock.install()
    held = Held(page)
    page.get_by_role("button", name="Start").click()
    held.wait(page, 1)
    return held


def jobs(serving: Serving) -> int:
    """How many jobs there are."""
    with serving.http() as http:
        return len(http.get("/v1/jobs").json()["jobs"])


def test_what_was_taken_back_while_the_server_was_away_is_not_started(page: Page, held: Held, serving: Serving) -> None:
    page.get_by_role("button", name="Not yet").click()
    with page.expect_event("requestfailed", lambda request: request.method == "POST"):
        held.routes[0].abort()
    page.clock.run_for(10_000)
    assert len(held.routes) == 1
    assert jobs(serving) == 0
    page.get_by_role("button", name="Start").click()
    held.wait(page, 2)
    held.routes[1].continue_()
    page.wait_for_url("**/#/jobs/*")
    assert held.keys[0] == held.keys[1]  # the first may have arrived
    assert jobs(serving) == 1


def test_a_start_that_is_still_on_its_way_is_not_sent_again(page: Page, held: Held, serving: Serving) -> None:
    page.get_by_role("button", name="Not yet").click()
    page.get_by_role("button", name="Start").click()
    page.clock.run_for(10_000)
    assert len(held.routes) == 1
    held.routes[0].continue_()
    page.wait_for_url("**/#/jobs/*")
    assert jobs(serving) == 1


def test_a_job_that_was_made_after_it_was_taken_back_is_cancelled(page: Page, held: Held) -> None:
    page.get_by_role("button", name="Not yet").click()

    def cancels(request: Request) -> bool:
        return request.method == "DELETE" and request.url.endswith("?while=open")

    with page.expect_request(cancels):
        held.routes[0].continue_()
    expect(page.get_by_role("button", name="Start")).to_be_enabled()
    assert page.url.endswith("#/new")


def test_what_is_started_is_what_is_shown(page: Page, held: Held) -> None:
    page.get_by_role("button", name="Not yet").click()
    page.get_by_label("Smoothing").fill("12")
    page.get_by_role("button", name="Start").click()
    with page.expect_request(lambda request: request.method == "DELETE"):
        held.routes[0].continue_()
    held.wait(page, 2)
    assert json.loads(held.routes[1].request.post_data or "")["params"] == {"smoothing": 12}
    assert held.keys[0] != held.keys[1]


def test_a_server_that_hangs_is_told(page: Page, serving: Serving) -> None:
    page.clock.install()
    page.reload()
    expect(page.locator(".link.live")).to_be_visible()
    os.kill(serving.pid, signal.SIGSTOP)
    try:
        page.clock.fast_forward(41_000)
        expect(page.locator(".link.lost")).to_be_visible()
    finally:
        os.kill(serving.pid, signal.SIGCONT)
    expect(page.locator(".link.live")).to_be_visible()


def test_a_browser_hears_that_a_quiet_server_is_alive(page: Page) -> None:
    page.route("**/quiet", lambda route: route.fulfill(body=events.ALIVE, content_type="text/event-stream"))
    told = page.evaluate(
        """() => new Promise((resolve) => {
            const stream = new EventSource("/quiet");
            stream.addEventListener("still", ({ type }) => (stream.close(), resolve(type)));
            stream.onerror = () => (stream.close(), resolve("nothing"));
        })"""
    )
    assert told == "still"


def test_what_is_asked_has_an_end(page: Page) -> None:
    page.clock.install()
    page.route("**/v1/targets", lambda route: None)
    with page.expect_request("**/v1/targets"):
        page.get_by_role("link", name="Targets").click()
    page.clock.fast_forward(61_000)
    expect(page.get_by_role("alert")).to_contain_text("does not answer")
    expect(page.get_by_role("button", name="Ask again")).to_be_enabled()


def test_hints_for_programs_are_not_shown_to_people(page: Page, serving: Serving) -> None:
    page.goto(f"{serving.url}/#/jobs/000000000000")
    expect(page.get_by_role("alert")).to_contain_text("000000000000")
    expect(page.get_by_text("/v1/")).to_have_count(0)
