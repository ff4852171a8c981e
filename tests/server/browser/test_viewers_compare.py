"""Before and after: what is left and right of the border, and two clips that play as one."""

from __future__ import annotations

import io
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Browser, Locator, Page, expect

from tests.server.browser.browsing import PATIENCE_MS, Held, visit
from tests.server.browser.looking import BLUE, RATE, RED, SECONDS, Gallery, coloured, page, picture, shows, until

__all__ = ["page", "shows"]  # fixtures

MEASURED = {
    "frames": RATE * SECONDS,
    "seconds": SECONDS,
    "width": 160,
    "height": 120,
    "jitter_px": {"before": 2.136, "after": 0.041},
    "zoom_percent": 6.2,
    "crop": 0.942,
}
BRIEF = 2  # seconds, of what is not played
LARGER = {"from": [160, 120], "to": [320, 240], "frames": RATE * BRIEF, "seconds": BRIEF}
BOTH = "[...document.querySelectorAll('.stage video')].reverse()"  # before, after
APART = f"(() => {{ const [one, other] = {BOTH}; return Math.abs(one.currentTime - other.currentTime); }})()"
REGIONS = "[...document.querySelectorAll('.stage .side > *')].map((one) => one.getBoundingClientRect())"
NEAR = 0.1  # seconds
HEVC = ("-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=none", "-pix_fmt", "yuv420p")
MPEG4 = ("-c:v", "mpeg4", "-q:v", "5")


@pytest.fixture(scope="module")
def jobs(shows: Gallery) -> Mapping[str, str]:
    """Jobs by what they are: red before, blue after."""
    folder = shows.folder
    red, blue = coloured(folder / "red.mp4", "red"), coloured(folder / "blue.mp4", "blue")
    brief = coloured(folder / "brief.mp4", "red", seconds=BRIEF)
    larger = coloured(folder / "larger.mp4", "blue", seconds=BRIEF, size="320x240")
    small, large = picture(folder / "small.png", "red", "80x60"), picture(folder / "large.png", "blue", "320x240")
    hevc = coloured(folder / "hevc.mkv", "red", seconds=BRIEF, codec=HEVC)
    heard = coloured(folder / "heard.mp4", "red", seconds=BRIEF, codec=MPEG4, sound=True)
    steady = {"stabilized.mp4": blue}
    return {
        "steadied": shows.job("stabilize", red, steady | {"report.png": large}, MEASURED),
        "larger": shows.job("upscale", brief, {"upscaled.mp4": larger}, LARGER),
        "photo": shows.job(
            "upscale", small, {"upscaled.png": large}, {"from": [80, 60], "to": [320, 240], "frames": 1}
        ),
        "hevc": shows.job("stabilize", hevc, steady, MEASURED),
        "heard": shows.job("stabilize", heard, steady, MEASURED),
        "neither": shows.job("stabilize", hevc, {"stabilized.mkv": hevc}, MEASURED),
    }


def colours(stage: Locator, *shares: float) -> list[str]:
    """The colours at shares (0-1) of a stage's width, in the middle of its height."""
    found = Image.open(io.BytesIO(stage.screenshot())).convert("RGB")
    pixels = [found.getpixel((int(share * found.width), found.height // 3)) for share in shares]
    return [_name(pixel) for pixel in pixels if isinstance(pixel, tuple)]


def see(stage: Locator, seen: Mapping[float, str]) -> None:
    """Wait until a stage has these colours, by shares of its width."""
    end = time.monotonic() + PATIENCE_MS / 1000
    while (found := colours(stage, *seen)) != list(seen.values()):
        assert time.monotonic() < end, f"{found}, not {seen}"


def _name(pixel: tuple[int, ...]) -> str:
    near = {
        name: max(abs(one - other) for one, other in zip(pixel, colour, strict=True)) for name, colour in NAMED.items()
    }
    name = min(near, key=near.__getitem__)
    return name if near[name] < 40 else str(pixel)


NAMED = {"red": RED, "blue": BLUE}


def shown(page: Page) -> None:
    """Wait until both clips have a picture."""
    until(page, f"{BOTH}.length === 2 && {BOTH}.every((one) => one.readyState >= 3)")


def times(page: Page) -> list[float]:
    """Where both are, in seconds, at one moment."""
    found: list[float] = page.evaluate(f"{BOTH}.map((one) => one.currentTime)")
    return found


def test_before_is_left_of_the_border_and_after_right_of_it_wherever_it_is_moved(
    page: Page, shows: Gallery, jobs: Mapping[str, str]
) -> None:
    viewer = shows.look(page, jobs["steadied"])
    shown(page)
    stage, border = viewer.locator(".stage"), viewer.get_by_label("Border between before and after")
    see(stage, {0.25: "red", 0.45: "red", 0.55: "blue", 0.75: "blue"})
    box = stage.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + 40)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.8, box["y"] + 60, steps=4)
    page.mouse.up()
    see(stage, {0.55: "red", 0.75: "red", 0.85: "blue"})
    assert float(border.input_value()) == pytest.approx(80, abs=1)
    for _ in range(80):  # half a percent each
        page.keyboard.press("ArrowLeft")  # who moved it has the focus on it
    see(stage, {0.35: "red", 0.45: "blue", 0.75: "blue"})
    assert float(border.input_value()) == pytest.approx(40, abs=1)


def test_both_play_as_one(page: Page, shows: Gallery, jobs: Mapping[str, str]) -> None:
    viewer = shows.look(page, jobs["steadied"])
    shown(page)
    viewer.get_by_label("Loop").check()  # a busy machine may need longer than the clip is
    viewer.get_by_role("button", name="Play").click()
    until(page, f"{BOTH}.every((one) => one.currentTime > 2)")
    until(page, f"{APART} < {NEAR}")
    for change in (-0.8, 0.2):  # one is jumped to, the other made up for by playing slower
        page.evaluate(f"{BOTH}[0].currentTime += {change}")
        until(page, f"!{BOTH}[0].seeking && {APART} < {NEAR} / 2")
    page.evaluate(f"{BOTH}[0].pause()")  # as a browser does that is short of something
    until(page, f"!{BOTH}[0].paused && {APART} < {NEAR}")
    viewer.get_by_role("button", name="Pause").click()
    until(page, f"{BOTH}.every((one) => one.paused && !one.seeking)")
    one, other = times(page)
    assert one == pytest.approx(other, abs=0.001)


def test_a_seek_a_frame_and_a_loop_are_of_both(page: Page, shows: Gallery, jobs: Mapping[str, str]) -> None:
    viewer = shows.look(page, jobs["steadied"])
    shown(page)
    viewer.get_by_label("Time", exact=True).fill("4")
    assert times(page) == pytest.approx([4, 4])
    frames = [100]
    for key, change in ((".", 1), (".", 1), (",", -1)):
        page.keyboard.press(key)
        frames.append(frames[-1] + change)
        assert [int(one * RATE) for one in times(page)] == [frames[-1]] * 2
    viewer.get_by_label("Speed").select_option("0.25")
    until(page, f"{BOTH}.every((one) => one.playbackRate === 0.25)")
    viewer.get_by_label("Speed").select_option("1")
    viewer.get_by_label("Loop").check()
    viewer.get_by_label("Time", exact=True).fill(str(SECONDS - 0.5))
    viewer.get_by_role("button", name="Play").click()
    until(page, f"{BOTH}.every((one) => one.currentTime < 3 && !one.paused) && {APART} < {NEAR}")
    viewer.get_by_label("Loop").uncheck()
    viewer.get_by_label("Time", exact=True).fill(str(SECONDS - 0.5))
    expect(viewer.get_by_role("button", name="Play")).to_be_visible()
    viewer.get_by_role("button", name="Play").click()
    until(page, f"{BOTH}.every((one) => one.currentTime < {SECONDS - 1} && !one.paused)")  # from the begin again


def test_who_is_ready_waits_for_who_is_not(page: Page, shows: Gallery, jobs: Mapping[str, str]) -> None:
    held = Held(page, "**/inputs/0")
    viewer = shows.look(page, jobs["steadied"])
    until(page, f"{BOTH}[1]?.readyState >= 3")
    viewer.get_by_role("button", name="Play").click()
    page.wait_for_timeout(500)
    assert times(page)[1] < NEAR
    held.let_go()
    until(page, f"{BOTH}.every((one) => one.currentTime > 0.5) && {APART} < {NEAR}")


@pytest.mark.parametrize("name", ["larger", "photo"])
def test_sizes_that_differ_show_the_same_region(name: str, page: Page, shows: Gallery, jobs: Mapping[str, str]) -> None:
    viewer = shows.look(page, jobs[name])
    stage = viewer.locator(".stage")
    until(page, "[...document.querySelectorAll('.stage img')].every((one) => one.complete)")
    if name == "larger":
        shown(page)
    see(stage, {0.05: "red", 0.45: "red", 0.55: "blue", 0.95: "blue"})
    outer = stage.bounding_box()
    assert outer is not None
    assert outer["width"] / outer["height"] == pytest.approx(4 / 3, abs=0.01)
    for zoom in ("2", "4"):
        viewer.get_by_label("Zoom").select_option(zoom)
        drag(page, outer, 0.9, 0.8)
        until(page, f"{REGIONS}.every((one) => Math.abs(one.width - {int(zoom) * outer['width']}) < 1)")
        until(page, f"{REGIONS}.every((one) => one.x < {outer['x'] - 10})")
        before, after = (stage.locator(".side > *").nth(number).bounding_box() for number in (1, 0))
        assert before == after
    see(stage, {0.4: "red", 0.6: "blue"})


def drag(page: Page, box: Mapping[str, float], start: float, stop: float) -> None:
    """Drag within a box, from one share of its width to another."""
    page.mouse.move(box["x"] + box["width"] * start, box["y"] + 30)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * stop, box["y"] + 30, steps=3)
    page.mouse.up()


@pytest.mark.parametrize(("name", "file"), [("hevc", "hevc.mkv"), ("heard", "heard.mp4")])
def test_what_cannot_be_played_is_told_and_offered_and_the_rest_is_shown(
    name: str, file: str, page: Page, shows: Gallery, jobs: Mapping[str, str]
) -> None:
    viewer = shows.look(page, jobs[name])
    expect(viewer.get_by_text(f"This browser cannot show {file}")).to_be_visible()
    expect(viewer.get_by_role("link", name=f"Download {file}")).to_have_attribute(
        "href", f"/v1/jobs/{jobs[name]}/inputs/0"
    )
    until(page, "document.querySelector('.viewer video')?.readyState >= 1")
    expect(viewer.locator("video")).to_have_count(1)
    with page.expect_download() as begun:
        viewer.get_by_role("link", name=f"Download {file}").click()
    assert Path(begun.value.path()).read_bytes() == (shows.folder / file).read_bytes()
    assert begun.value.suggested_filename == file


def test_where_neither_can_be_played_both_are_offered(page: Page, shows: Gallery, jobs: Mapping[str, str]) -> None:
    viewer = shows.look(page, jobs["neither"])
    expect(viewer.get_by_role("link", name="Download hevc.")).to_have_count(2)
    expect(viewer.locator("video")).to_have_count(0)


def test_an_input_that_is_gone_is_told_and_the_result_is_shown(page: Page, shows: Gallery) -> None:
    source = coloured(shows.folder / "gone.mp4", "red", seconds=1)
    job = shows.job("stabilize", source, {"stabilized.mp4": source}, MEASURED)
    source.unlink()
    viewer = shows.look(page, job)
    expect(viewer.get_by_text("The input is not where it was any more")).to_be_visible()
    until(page, "document.querySelector('.viewer video')?.readyState >= 1")
    expect(viewer.locator("video")).to_have_count(1)


def test_the_figures_and_the_cameras_path_stand_beside_it(page: Page, shows: Gallery, jobs: Mapping[str, str]) -> None:
    viewer = shows.look(page, jobs["steadied"])
    for figure in ("160 × 120", "750 frames", "2.14 → 0.04 px", "94.2 %", "6.2 %"):
        expect(viewer.locator(".facts")).to_contain_text(figure)
    path = viewer.get_by_alt_text("The camera's path: as filmed, and smoothed")
    until(page, "document.querySelector('.viewer figure img').naturalWidth === 320")
    expect(path).to_be_visible()


def test_all_of_it_is_done_by_keyboard(page: Page, shows: Gallery, jobs: Mapping[str, str]) -> None:
    viewer = shows.look(page, jobs["steadied"])
    shown(page)
    border = viewer.get_by_label("Border between before and after")
    reached = []
    for _ in range(40):
        page.keyboard.press("Tab")
        reached.append(
            page.evaluate("document.activeElement.getAttribute('aria-label') || document.activeElement.textContent")
        )
        if reached[-1] == "Border between before and after":
            break
    expect(border).to_be_focused()
    page.keyboard.press("End")
    see(viewer.locator(".stage"), {0.95: "red"})
    page.keyboard.press(" ")
    until(page, f"{BOTH}.every((one) => one.currentTime > 0.3)")
    page.keyboard.press(" ")
    until(page, f"{BOTH}.every((one) => one.paused)")
    page.keyboard.press("Tab")
    page.keyboard.press("Home")
    assert times(page) == [0, 0]


def test_nothing_is_wider_than_a_phone(browser: Browser, shows: Gallery, jobs: Mapping[str, str]) -> None:
    with visit(browser, 360, 740) as phone:
        for name in ("steadied", "photo", "neither"):
            shows.look(phone, jobs[name])
            until(phone, "document.querySelectorAll('.stage, .unplayable').length > 0")
            assert phone.evaluate("document.documentElement.scrollWidth") <= 360, name


def test_a_viewer_that_is_left_lets_go_of_its_clips(page: Page, shows: Gallery, jobs: Mapping[str, str]) -> None:
    shows.look(page, jobs["steadied"])
    shown(page)
    page.evaluate(f"window.left = {BOTH}")
    page.get_by_role("navigation").get_by_role("link", name="Targets").click()
    until(page, "window.left.every((one) => !one.isConnected && one.paused && !one.hasAttribute('src'))")
