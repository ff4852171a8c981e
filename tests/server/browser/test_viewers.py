"""What was said, seen and found: a click goes to it, what is heard is lit, and frames are pictures of the clip."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from tests.remote_scripts.runs import part
from tests.server.browser.browsing import complaints, log_in, visit
from tests.server.browser.looking import Gallery, coloured, document, gallery, picture, until

subtitles = part("_subtitles")
SAID = [(0, 1500, "Über & <unter>"), (2000, 3500, "a second one"), (4000, 6000, "the last")]
ABOUT = {"language": "de", "model": "tiny", "engine": "whisper", "task": "transcribe", "duration": 6.0}
LONG = 400
HEARD = {"seconds": 6.0, "language": "de", "cues": 3, "words": 8}
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
LIT = "[...document.querySelectorAll('li.lit .said, .word.lit')].map((one) => one.textContent.trim())"
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


def cues() -> list[Any]:
    """What was said, with a time for every word."""
    return [subtitles.Cue(start, end, text, tuple(words(start, end, text.split()))) for start, end, text in SAID]


def words(start: int, end: int, texts: list[str]) -> Iterator[Any]:
    step = (end - start) // len(texts)
    for number, text in enumerate(texts):
        yield subtitles.Word(start + number * step, start + (number + 1) * step, text, 1.0)


def written(format_: str, said: list[Any]) -> bytes:
    """A transcript as the script writes it."""
    text: str = subtitles.FORMATS[format_](said, ABOUT)
    return text.encode()


@pytest.fixture(scope="module")
def shows(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gallery]:
    """A server for this module."""
    with gallery(tmp_path_factory.mktemp("gallery")) as opened:
        yield opened


@pytest.fixture(scope="module")
def clip(shows: Gallery) -> Path:
    """Two seconds of red, of green and of blue, with a tone."""
    return coloured(shows.folder / "clip.mp4", "red", "green", "blue", seconds=6, sound=True)


@pytest.fixture(scope="module")
def jobs(shows: Gallery, clip: Path) -> Mapping[str, str]:
    """Jobs by what they made."""
    made = {f"transcript.{format_}": written(format_, cues()) for format_ in ("txt", "json")}
    long = [subtitles.Cue(number * 15, number * 15 + 15, f"line {number}") for number in range(LONG)]
    photo = picture(shows.folder / "photo.png", "red", "80x60")
    fact = {"frames": 3, "tags": ["beach"], "mood": "calm", "description": CAPTIONED["description"]}
    return {
        "said": shows.job("transcribe", clip, made, HEARD),
        "long": shows.job("transcribe", clip, {"transcript.json": written("json", long)}, HEARD),
        "captions": shows.job("caption", clip, {"captions.json": document(CAPTIONED)}, fact),
        "text": shows.job("caption", clip, {"captions.txt": b"All is red.\n"}, fact),
        "photo": shows.job("caption", photo, {"captions.json": document(CAPTIONED | {"captions": CAPTIONS[:1]})}, fact),
        "tags": shows.job("tag", clip, {"tags.json": document(TAGGED)}, fact),
        "broken": shows.job("tag", clip, {"tags.json": b"{"}, fact),
        "other": shows.job("fake", clip, {"worked.bin": bytes(1500)}),
    }


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page that may complain of nothing."""
    with visit(browser) as opened:
        yield opened
        assert complaints(opened) == []


# Transcripts


def test_every_format_is_read_as_it_is_written(page: Page, shows: Gallery) -> None:
    log_in(page, shows.serving)
    texts = {name: written(name, cues()).decode() for name in ("json", "vtt", "srt", "tsv", "txt")}
    read = page.evaluate(
        """async (texts) => {
            const { FORMATS } = await import("/viewers/subtitles.js");
            return Object.entries(FORMATS).map(([name, read]) => [name, read(texts[name]).segments]);
        }""",
        texts,
    )
    assert [name for name, _ in read] == ["json", "vtt", "srt", "tsv", "txt"]
    found = {name: [(one["start"], one["end"], one["text"]) for one in segments] for name, segments in read}
    timed = [(start / 1000, end / 1000, text) for start, end, text in SAID]
    assert [found[name] for name in ("json", "vtt", "srt", "tsv")] == [timed] * 4
    assert found["txt"] == [(None, None, text) for _, _, text in SAID]
    assert read[0][1][1]["words"][1] == {"start": 2.5, "end": 3.0, "text": "second"}


def test_a_click_on_a_segment_or_a_word_goes_there(page: Page, shows: Gallery, jobs: Mapping[str, str]) -> None:
    viewer = shows.look(page, jobs["said"])
    until(page, "document.querySelector('.viewer video').readyState >= 2")
    viewer.get_by_role("button", name="0:04").click()
    until(page, f"{NOW} === 4")
    until(page, f"{LIT}.join() === 'the last,the'")
    viewer.get_by_text("one", exact=True).click()
    until(page, f"{NOW} === 3")
    until(page, f"{LIT}.join() === 'a second one,one'")


def test_the_word_that_is_heard_is_lit_while_it_plays(page: Page, shows: Gallery, jobs: Mapping[str, str]) -> None:
    shows.look(page, jobs["said"])
    until(page, "document.querySelector('.viewer video').readyState >= 2")
    page.evaluate(
        """() => {
            window.lit = new Set();
            const look = () => {
                window.lit.add(document.querySelector(".word.lit")?.textContent);
                requestAnimationFrame(look);
            };
            look();
            document.querySelector(".viewer video").play();
        }"""
    )
    until(page, "['Über', '&', '<unter>', 'a', 'second', 'one'].every((one) => window.lit.has(one))")
    assert page.evaluate("document.querySelectorAll('.word.lit').length") <= 1


def test_by_keyboard_enter_goes_there_and_arrows_from_one_to_the_next(
    page: Page, shows: Gallery, jobs: Mapping[str, str]
) -> None:
    viewer = shows.look(page, jobs["said"])
    until(page, "document.querySelector('.viewer video').readyState >= 2")
    viewer.get_by_role("button", name="Copy the text").focus()
    page.keyboard.press("Tab")
    expect(viewer.get_by_role("button", name="0:00")).to_be_focused()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    until(page, f"{NOW} === 2")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    until(page, f"{NOW} === 4")


def test_words_are_found_and_the_text_is_copied(browser: Browser, shows: Gallery, jobs: Mapping[str, str]) -> None:
    with visit(browser, permissions=["clipboard-read", "clipboard-write"]) as page:
        viewer = shows.look(page, jobs["said"])
        viewer.get_by_label("Find in the transcript").fill("SECOND")
        expect(viewer.get_by_text("1 of 3")).to_be_visible()
        assert viewer.locator(".segments li:visible .said").all_inner_texts() == ["a second one"]
        viewer.get_by_role("button", name="Copy the text").click()
        expect(viewer.get_by_text("Copied")).to_be_visible()
        assert page.evaluate("navigator.clipboard.readText()") == "\n".join(text for _, _, text in SAID)


def test_the_list_follows_until_a_person_scrolls_it(page: Page, shows: Gallery, jobs: Mapping[str, str]) -> None:
    viewer = shows.look(page, jobs["long"])
    until(page, "document.querySelector('.viewer video').readyState >= 2")
    go = "document.querySelector('.viewer video').currentTime = {}"
    page.evaluate(go.format(3.01))
    expect(viewer.get_by_text("line 200", exact=True)).to_be_in_viewport()
    viewer.get_by_text("line 200", exact=True).hover()
    page.mouse.wheel(0, -3000)
    expect(viewer.get_by_text("line 200", exact=True)).not_to_be_in_viewport()
    page.evaluate(go.format(5.26))
    until(page, f"{LIT}.join().includes('line 350')")
    expect(viewer.get_by_text("line 350", exact=True)).not_to_be_in_viewport()
    viewer.get_by_role("button", name="Follow along").click()
    expect(viewer.get_by_text("line 350", exact=True)).to_be_in_viewport()


# Captions and tags


def test_captions_stand_under_the_frames_they_are_of(page: Page, shows: Gallery, jobs: Mapping[str, str]) -> None:
    viewer = shows.look(page, jobs["captions"])
    expect(viewer.get_by_text("All is red. A green one. Blue.")).to_be_visible()
    assert viewer.locator(".strip .note").all_inner_texts() == ["all is red", "a green one", "blue"]
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
    ranks = [text.split("\n") for text in viewer.locator(".ranking li").all_inner_texts()]
    assert [[one[0], one[-1]] for one in ranks] == [
        ["beach", "61.0%"], [MARK, "20.0%"], ["snow", "0.1%"], ["calm", "48.0%"]
    ]  # fmt: skip
    assert viewer.locator(".strip .at").all_inner_texts() == ["0:00.5", "0:02.5", "0:05.5"]
    assert viewer.locator(".strip > li").nth(1).locator(".chips li").all_inner_texts() == ["beach 61.0%", "calm 48.0%"]
    viewer.get_by_role("button", name="beach").first.click()
    until(page, f"{NOW} === 2.5")


def test_a_file_that_is_damaged_is_told(page: Page, shows: Gallery, jobs: Mapping[str, str]) -> None:
    viewer = shows.look(page, jobs["broken"])
    expect(viewer.get_by_role("alert")).to_contain_text("clip.tags.json cannot be shown")


def test_of_anything_else_there_are_the_files(page: Page, shows: Gallery, jobs: Mapping[str, str]) -> None:
    viewer = shows.look(page, jobs["other"])
    expect(viewer.get_by_role("link", name="Download clip.worked.bin (1.5 kB)")).to_be_visible()


# Search


def test_moments_that_are_found_are_pictures_and_one_that_is_clicked_is_played(
    page: Page, shows: Gallery, jobs: Mapping[str, str]
) -> None:
    ids = [jobs[name] for name in ("tags", "captions", "said", "long")]
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
    complaints(page).clear()  # the browser tells of every answer that is no success
