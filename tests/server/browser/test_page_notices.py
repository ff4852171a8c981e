"""What a person should see to is on the page, with the command that does it."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import Page, expect

from tests.server.browser.browsing import complaints
from tests.server.serving import Serving
from tests.server.test_notices import spoil


def test_a_lost_journal_is_told_of_on_every_view(page: Page, serving: Serving, offload_dirs: Path) -> None:
    expect(page.locator(".link.live")).to_be_visible()
    notice = page.get_by_role("status", name="To be seen to")
    expect(notice).to_have_count(0)
    file = spoil()
    with serving.http() as http:
        assert len(http.get("/v1/health").json()["notices"]) == 1
    page.goto(f"{serving.url}/#/jobs")
    page.reload()
    expect(notice).to_contain_text("The journal was damaged")
    [aside] = file.parent.glob("journal-damaged-*.sqlite3")
    expect(notice.locator("code")).to_contain_text(f"rm {aside}")
    page.get_by_role("link", name="Targets").click()
    notice.get_by_role("button", name="Hide").press("Enter")
    expect(notice).to_have_count(0)
    page.get_by_role("link", name="Jobs", exact=True).click()
    expect(notice).to_have_count(0)
    assert complaints(page) == []
