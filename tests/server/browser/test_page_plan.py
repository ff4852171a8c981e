"""The plan on the page tells what was made before."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import Browser, expect

from tests.media import clip
from tests.server.asking import end_all
from tests.server.browser.browsing import choose, complaints, log_in, start, state, visit
from tests.server.serving import Serving


def test_what_was_made_before_is_told_and_made_anew_on_request(
    browser: Browser, offload_dirs: Path, tmp_path: Path
) -> None:
    one, other = clip(tmp_path / "one.mp4", 0.2), clip(tmp_path / "other.mp4", 0.4)
    keeps = {"OFFLOAD_RESULT_BYTES": str(10**8)}
    with Serving(tmp_path, keeps) as serving, visit(browser) as page:
        log_in(page, serving)
        plan = page.get_by_role("status").filter(has=page.locator(".sentence"))
        choose(page, one)
        expect(plan).to_contain_text("this machine")
        expect(plan).not_to_contain_text("made before")
        start(page)
        expect(state(page)).to_have_text("done")

        page.get_by_role("link", name="New").click()
        choose(page, one)
        expect(plan).to_have_text("This was made before: the cache answers.")
        page.get_by_text("Where it runs").click()
        page.get_by_label("Use what was made before").uncheck()
        expect(plan).to_contain_text("this machine")
        page.get_by_label("Use what was made before").check()
        page.get_by_role("button", name="Remove one.mp4").click()
        choose(page, one, other)
        expect(plan).to_contain_text("1 of 2 were made before: the cache answers.")
        expect(plan).to_contain_text("this machine")
        assert complaints(page) == []
    end_all()
