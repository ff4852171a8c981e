"""Older jobs on the page: asked for page by page, also with the keyboard alone."""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path

from playwright.sync_api import Page, expect

from broker import settings
from tests.server.browser.browsing import complaints
from tests.server.serving import Serving
from tests.services.typed import FAKEWORK, type_

JOBS = 300


def past(folder: Path) -> None:
    """A job that is done, and hundreds that were long before it."""
    (folder / "a.dat").write_bytes(b"some work")
    assert type_([*FAKEWORK, "--seconds", "0", "a.dat"], folder).code == 0
    with sqlite3.connect(settings.load().journal) as db:
        for table in ("jobs", "items"):
            names = [row[1] for row in db.execute(f"PRAGMA table_info({table})") if row[1] != "number"]
            new = {"id": "printf('%012x', n)", "job": "printf('%012x', n)", "created": "created - n"}
            db.execute(
                f"WITH RECURSIVE many(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM many WHERE n < {JOBS})"
                f" INSERT INTO {table} ({', '.join(names)})"
                f" SELECT {', '.join(new.get(name, name) for name in names)} FROM {table}, many"
            )
    db.close()


def test_all_jobs_there_are_can_be_reached_with_the_keyboard(page: Page, serving: Serving, tmp_path: Path) -> None:
    past(tmp_path)
    page.goto(f"{serving.url}/#/jobs")
    page.reload()
    lines = page.locator(".jobs li")
    expect(lines).to_have_count(50)
    expect(page.get_by_role("button", name="All 50+")).to_be_visible()
    page.get_by_role("button", name="Show older jobs").focus()
    page.keyboard.press("Enter")
    expect(lines).to_have_count(150)
    expect(lines.nth(50).get_by_role("link")).to_be_focused()
    for shown in (250, JOBS + 1):
        page.get_by_role("button", name=re.compile("Show .* more|Show older jobs")).focus()
        page.keyboard.press("Enter")
        expect(lines).to_have_count(shown)
        expect(page.locator(".jobs li a:focus")).to_have_count(1)
    expect(page.get_by_role("button", name=f"All {JOBS + 1}")).to_be_visible()
    expect(page.get_by_role("button", name="Show")).to_have_count(0)

    last = lines.last
    last.get_by_role("button", name="Remove").click()
    page.get_by_role("dialog").get_by_role("button", name="Remove").click()
    expect(lines).to_have_count(JOBS)
    assert complaints(page) == []
