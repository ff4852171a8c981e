"""What was seen and found: frames are pictures of the clip, and one that is clicked is played."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from tests.offload.background import until as waiting
from tests.server.browser.browsing import complaints, log_in, visit
from tests.server.browser.looking import Gallery, coloured, document, page, picture, shows, until

__all__ = ["page", "shows"]  # fixtures

CAPTIONS = [
    {"seconds": 0.5, "text": "all is red"},
    {"seconds": 2.5, "text": "a green one"},
    {"seconds": 5.5, "text": "blue"},
]
CAPTIONED = {"version": 1, "model": "blip-base", "captions": CAPTIONS, "description": "All is red. A green one. Blue."}
MARK = "<img src=x onerror=alert(1)>"
TAGGED = {
    "version": 1,
    "model": "ViT-B-32",
    "tags": [
        {"tag": "beach", "score": 0.61, "similarity": 0.27, "seconds": [2.5, 0.5]},
        {"tag": MARK, "score": 0.2, "similarity": 0.2, "seconds": [5.5]},
        {"tag": "snow", "score": 0.001, "similarity": 0.1, "seconds": [3.5]},
    ],
    "moods": [{"mood": "calm", "score": 0.48, "similarity": 0.22, "seconds": [2.5]}],
}
NOW = "document.querySelector('.viewer :is(video, audio)').currentTime"
STILLS = """[...document.querySelectorAll('canvas.still')].map((one) => {
    const pixel = new OffscreenCanvas(1, 1).getContext('2d', { willReadFrequently: true });
    if (one.width) pixel.drawImage(one, 0, 0, 1, 1);
    return one.width && [...pixel.getImageData(0, 0, 1, 1).data].slice(0, 3);
})"""
COUNTED = """() => {
    const { set, get } = Object.getOwnPropertyDescriptor(HTMLMediaElement.prototype, "src");
    const open = new Set();
    window.most = 0;
    Object.defineProperty(HTMLMediaElement.prototype, "src", { get, set(value) {
        open.add(this);
        window.most = Math.max(window.most, open.size);
        set.call(this, value);
    } });
    const { load } = HTMLMediaElement.prototype;
    HTMLMediaElement.prototype.load = function () { open.delete(this); load.call(this); };
    window.still = () => open.size;
}"""


@pytest.fixture(scope="module")
def clip(shows: Gallery) -> Path:
    """Two seconds of red, of green and of blue, with a tone."""
    return coloured(shows.folder / "clip.mp4", "red", "green", "blue", seconds=6, sound=True)


@pytest.fixture(scope="module")
def jobs(shows: Gallery, clip: Path) -> Mapping[str, str]:
    """Jobs by what they made."""
    photo = picture(shows.folder / "photo.png", "red", "80x60")
    fact = {"frames": 3, "tags": ["beach"], "mood": "calm", "description": CAPTIONED["description"]}
    return {
        "captions": shows.job("caption", clip, {"captions.json": document(CAPTIONED)}, fact),
        "text": shows.job("caption", clip, {"captions.txt": b"All is red.\n"}, fact),
        "photo": shows.job("caption", photo, {"captions.json": document(CAPTIONED | {"captions": CAPTIONS[:1]})}, fact),
        "tags": shows.job("tag", clip, {"tags.json": document(TAGGED)}, fact),
        "broken": shows.job("tag", clip, {"tags.json": b"{"}, fact),
        "other": shows.job("fake", clip, {"worked.bin": bytes(1500)}),
    }


def test_captions_stand_under_the_frames_they_are_of(page: Page, shows: Gallery, jobs: Mapping[str, str]) -> None:
    viewer = shows.look(page, jobs["captions"])
    expect(viewer.get_by_text("All is red. A green one. Blue.")).to_be_visible()
    expect(viewer.locator(".strip .note")).to_have_text(["all is red", "a green one", "blue"])
    viewer.locator(".strip > li").last.scroll_into_view_if_needed()
    until(page, f"{STILLS}.every(Boolean)")
    red, green, blue = page.evaluate(STILLS)
    assert [max(one) for one in (red, green, blue)] == [red[0], green[1], blue[2]]
    assert min(red[0], green[1], blue[2]) > 90
    viewer.get_by_role("button", name="Play from 0:02.5").click()
    until(page, f"{NOW} === 2.5")


def test_captions_as_text_and_those_of_a_picture(page: Page, shows: Gallery, jobs: Mapping[str, str]) -> None:
    viewer = shows.look(page, jobs["text"])
    expect(viewer.get_by_text("All is red.")).to_be_visible()
    page.goto(f"{shows.serving.url}/#/jobs/{jobs['photo']}")
    expect(viewer.get_by_alt_text("photo.png")).to_be_visible()
    expect(viewer.get_by_text("All is red. A green one. Blue.")).to_be_visible()
    assert page.locator(".viewer video, .viewer canvas").count() == 0


def test_tags_are_told_with_their_shares_and_the_frames_that_show_them(
    page: Page, shows: Gallery, jobs: Mapping[str, str]
) -> None:
    viewer = shows.look(page, jobs["tags"])
    expect(viewer.locator(".ranking li")).to_have_count(4)
    ranks = [text.split("\n") for text in viewer.locator(".ranking li").all_inner_texts()]
    assert [[one[0], one[-1]] for one in ranks] == [
        ["beach", "61.0%"], [MARK, "20.0%"], ["snow", "0.1%"], ["calm", "48.0%"]
    ]  # fmt: skip
    expect(viewer.locator(".strip .at")).to_have_text(["0:00.5", "0:02.5", "0:05.5"])
    assert viewer.locator(".strip > li").nth(1).locator(".chips li").all_inner_texts() == ["beach 61.0%", "calm 48.0%"]
    viewer.get_by_role("button", name="beach").first.click()
    until(page, f"{NOW} === 2.5")


def test_a_file_that_is_damaged_is_told(page: Page, shows: Gallery, jobs: Mapping[str, str]) -> None:
    viewer = shows.look(page, jobs["broken"])
    expect(viewer.get_by_role("alert")).to_contain_text("clip.tags.json cannot be shown")


def test_of_anything_else_there_are_the_files(page: Page, shows: Gallery, jobs: Mapping[str, str]) -> None:
    viewer = shows.look(page, jobs["other"])
    expect(viewer.get_by_role("link", name="Download clip.worked.bin (1.5 kB)")).to_be_visible()


def test_nothing_is_wider_than_a_phone(browser: Browser, shows: Gallery, jobs: Mapping[str, str]) -> None:
    with visit(browser, 360, 740) as phone:
        for name in ("captions", "tags", "broken", "other"):
            shows.look(phone, jobs[name])
            until(phone, "document.querySelectorAll('.strip, [role=alert], .viewer a').length > 0")
            assert phone.evaluate("document.documentElement.scrollWidth") <= 360, name


# Search


def test_moments_that_are_found_are_pictures_and_one_that_is_clicked_is_played(
    page: Page, shows: Gallery, jobs: Mapping[str, str]
) -> None:
    ids = [jobs[name] for name in ("tags", "captions", "text", "broken")]
    moments = [moment(ids[number % 4], number / 2 + 0.25, viewable=number != 11) for number in range(12)]
    asked: list[str] = []

    def answer(route: Route) -> None:
        asked.append(route.request.url)
        body = {"moments": moments, "left_out": [f"left out, since {MARK}: a.mp4"]}
        route.fulfill(body=json.dumps(body), content_type="application/json")

    page.route("**/v1/search?*", answer)
    page.add_init_script(f"({COUNTED})()")
    log_in(page, shows.serving, "search")
    page.get_by_label("What is to be seen").fill("people & dogs")
    page.keyboard.press("Enter")
    expect(page.get_by_text("12 moments, the best first")).to_be_visible()
    assert [one.partition("?")[2] for one in asked] == ["text=people+%26+dogs&top=12"]
    until(page, f"{STILLS}.filter(Boolean).length === 11")
    assert [max(one) == one[2] for one in page.evaluate(STILLS)] == [number >= 8 for number in range(11)]
    until(page, "window.still() === 0")
    assert 1 <= page.evaluate("window.most") <= 2  # players at once, of four clips
    expect(page.get_by_text(f"left out, since {MARK}: a.mp4")).to_be_visible()
    page.get_by_role("button", name="Play clip.mp4 from 0:04.7").click()
    until(page, "document.querySelector('.found video')?.currentTime === 4.75")


def moment(job: str, seconds: float, *, viewable: bool) -> dict[str, Any]:
    return {"job": job, "item": 0, "name": "clip.mp4", "seconds": seconds, "score": 0.25, "viewable": viewable}


def test_a_search_that_fails_is_told(page: Page, shows: Gallery) -> None:
    log_in(page, shows.serving, "search")
    page.get_by_label("What is to be seen").fill("dogs")
    problem = {"detail": "the model is not here", "hint": "offload models prefetch tag"}
    page.route("**/v1/search?*", lambda route: route.fulfill(json=problem, status=424))
    page.get_by_role("button", name="Search").click()
    expect(page.get_by_role("alert")).to_contain_text("the model is not here")
    waiting(lambda: page.evaluate("1") and complaints(page), "what the browser tells of an answer that is no success")
    complaints(page).clear()
