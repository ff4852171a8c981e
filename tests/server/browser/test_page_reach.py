"""The page is for everybody: by the keyboard, on a phone, and with nothing to complain of."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.server.browser.browsing import Held, choose, complaints, log_in, start, state, visit
from tests.server.serving import Serving

PHONE = {"width": 360, "height": 740}


def tab_to(page: Page, wanted: Locator, key: str = "Tab", most: int = 60) -> None:
    """Go to `wanted` by the keyboard. Whatever has the focus on the way shows it."""
    wanted.wait_for()
    for _ in range(most):
        page.keyboard.press(key)
        shown = page.evaluate(
            """() => {
                const at = document.activeElement;
                const marked = (one) => getComputedStyle(one).outlineStyle !== "none";
                return at === document.body || marked(at) || (at.parentElement && marked(at.parentElement));
            }"""
        )
        assert shown, page.evaluate("document.activeElement.outerHTML")
        if wanted.evaluate("(one) => one === document.activeElement"):
            return
    raise AssertionError(f"not reached by {key}: {wanted}")


def test_all_of_it_goes_by_the_keyboard(page: Page, small: Path) -> None:
    page.on("filechooser", lambda chooser: None)  # whoever asks for it only as it opens may be too late
    expect(page.locator("h1")).to_be_focused()
    tab_to(page, page.locator("input[type=file]"))
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Enter")
    chooser.value.set_files(small)
    tab_to(page, page.get_by_role("radio", name="stabilize"))
    page.keyboard.press("ArrowDown")
    expect(page.get_by_role("radio", name="transcribe")).to_be_checked()
    page.keyboard.press("ArrowUp")
    tab_to(page, page.get_by_label("Smoothing"))
    page.keyboard.press("Control+A")
    page.keyboard.type("12")
    tab_to(page, page.get_by_label("Report"))
    page.keyboard.press("Space")
    tab_to(page, page.get_by_role("button", name="Start"))
    page.keyboard.press("Enter")
    page.wait_for_url("**/#/jobs/*")
    expect(page.locator("h1")).to_be_focused()
    expect(state(page)).to_have_text("done")
    tab_to(page, page.locator("summary", has_text="Receipt"))
    page.keyboard.press("Enter")
    expect(page.get_by_text("Smoothing")).to_be_visible()
    tab_to(page, page.get_by_role("button", name="Remove"), "Shift+Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_be_visible()
    tab_to(page, page.get_by_role("dialog").get_by_role("button", name="Remove"))
    page.keyboard.press("Enter")
    page.wait_for_url("**/#/jobs")
    expect(page.get_by_text("No jobs yet")).to_be_visible()


@pytest.fixture
def views(page: Page, small: Path) -> list[str]:
    """The addresses of all views, one of them of a job that is done."""
    choose(page, small)
    start(page)
    expect(state(page)).to_have_text("done")
    return ["new", "jobs", page.url.partition("#/")[2], "targets", "search"]


def test_nothing_is_wider_than_a_phone(page: Page, views: list[str], small: Path) -> None:
    page.set_viewport_size(PHONE)  # type: ignore[arg-type]
    for view in views:
        page.goto(f"{page.url.partition('#')[0]}#/{view}")
        page.locator("main h1").wait_for()
        if view == "new":
            choose(page, small)
        for folded in page.locator("summary").all():
            folded.click()
        page.wait_for_timeout(300)
        wide = page.evaluate(
            """() => [...document.querySelectorAll("body *")].filter((one) => {
                const { left, right, width } = one.getBoundingClientRect();
                return width > 0 && (right > innerWidth + 1 || left < -1) && !one.closest("pre, .unseen, .viewer");
            }).map((one) => one.outerHTML.slice(0, 200))"""
        )
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), (view, wide)


FAINT = """() => {
    const numbers = (color) => color.match(/[\\d.]+/g).map(Number);
    const light = (color) => {
        const linear = (one) => (one <= 0.04045 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4);
        const [r, g, b] = numbers(color).map((one) => linear(one / 255));
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const behind = (one) => {
        const color = getComputedStyle(one).backgroundColor;
        return (numbers(color)[3] ?? 1) === 1 || !one.parentElement ? color : behind(one.parentElement);
    };
    const contrast = (one) => {
        const [low, high] = [light(getComputedStyle(one).color), light(behind(one))].sort((a, b) => a - b);
        return (high + 0.05) / (low + 0.05);
    };
    const says = (one) => [...one.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    const seen = (one) => one.checkVisibility() && !one.closest(".unseen, :disabled");
    const all = [...document.querySelectorAll("body *")].filter((one) => says(one) && seen(one));
    const faint = all.filter((one) => contrast(one) < 4.5).map((one) => [contrast(one), one.outerHTML.slice(0, 100)]);
    return { page: light(getComputedStyle(document.body).backgroundColor), looked: all.length, faint };
}"""
"""Texts that stand out less from what is behind them than WCAG asks for (AA, 4.5 to 1), and how light the page is."""


def check_legible(page: Page, dark: bool) -> None:
    page.emulate_media(color_scheme="dark" if dark else "light")
    page.wait_for_timeout(300)  # colours may fade
    told = page.evaluate(FAINT)
    assert (told["page"] < 0.05, told["faint"]) == (dark, []) and told["looked"] > 5, told


def test_every_view_is_legible_light_or_dark_and_has_nothing_to_complain_of(
    page: Page, views: list[str], small: Path
) -> None:
    page.evaluate("addEventListener('securitypolicyviolation', (event) => console.error(event.blockedURI))")
    for view in views:
        page.goto(f"{page.url.partition('#')[0]}#/{view}")
        page.locator("main h1").wait_for()
        if view == "new":
            choose(page, small)
            expect(page.locator(".sentence")).to_contain_text("this machine")
        for folded in page.locator("summary").all():
            folded.click()
        for dark in (True, False):
            check_legible(page, dark)
    assert complaints(page) == []


def test_the_page_of_a_job_is_there_by_its_address_alone(browser: Browser, views: list[str], serving: Serving) -> None:
    with visit(browser) as other:
        held = [Held(other, f"**/v1/{asked}") for asked in ("events", views[2])]
        log_in(other, serving, views[2])
        expect(other.get_by_role("heading", name="Job", exact=True)).to_be_focused()
        for request in held:
            request.let_go()
        expect(state(other)).to_have_text("done")
        expect(other.locator("h1")).to_be_focused()
        other.goto(f"{serving.url}/#/jobs/000000000000")
        expect(other.get_by_role("heading", name="No such job")).to_be_visible()
