"""What was said: a click goes to it, what is heard is lit, and the list follows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.remote_scripts.runs import part
from tests.server.browser.browsing import log_in, visit
from tests.server.browser.looking import Gallery, coloured, page, shows, until

__all__ = ["page", "shows"]  # fixtures

subtitles = part("_subtitles")
SAID = [(0, 1500, "Über & <unter>"), (2000, 3500, "a second one"), (4000, 6000, "the last")]
ABOUT = {"language": "de", "model": "tiny", "engine": "whisper", "task": "transcribe", "duration": 6.0}
LONG = 400
HEARD = {"seconds": 6.0, "language": "de", "cues": 3, "words": 8}
NOW = "document.querySelector('.viewer video').currentTime"
LIT = "[...document.querySelectorAll('li.lit .said, .word.lit')].map((one) => one.textContent.trim())"


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
def jobs(shows: Gallery) -> Mapping[str, str]:
    """Transcripts of six seconds: three segments with their words, and one of very many."""
    clip = coloured(shows.folder / "clip.mp4", "red", seconds=6, sound=True)
    made = {f"transcript.{format_}": written(format_, cues()) for format_ in ("txt", "json")}
    long = [subtitles.Cue(number * 15, number * 15 + 15, f"line {number}") for number in range(LONG)]
    return {
        "said": shows.job("transcribe", clip, made, HEARD),
        "long": shows.job("transcribe", clip, {"transcript.json": written("json", long)}, HEARD),
    }


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
    until(page, "document.querySelector('.viewer video')?.readyState >= 2")
    viewer.get_by_role("button", name="0:04").click()
    until(page, f"{NOW} === 4")
    until(page, f"{LIT}.join() === 'the last,the'")
    viewer.get_by_text("one", exact=True).click()
    until(page, f"{NOW} === 3")
    until(page, f"{LIT}.join() === 'a second one,one'")


def test_the_word_that_is_heard_is_lit_while_it_plays(page: Page, shows: Gallery, jobs: Mapping[str, str]) -> None:
    shows.look(page, jobs["said"])
    until(page, "document.querySelector('.viewer video')?.readyState >= 2")
    page.evaluate(
        """() => {
            window.lit = new Set();
            const look = () => {
                window.lit.add(document.querySelector(".word.lit")?.textContent);
                requestAnimationFrame(look);
            };
            look();
            const player = document.querySelector(".viewer video");
            player.loop = true; // a busy machine draws so seldom that words are passed over
            player.play();
        }"""
    )
    until(page, "['Über', '&', '<unter>', 'a', 'second', 'one'].every((one) => window.lit.has(one))")
    assert page.evaluate("document.querySelectorAll('.word.lit').length") <= 1


def test_by_keyboard_enter_goes_there_and_arrows_from_one_to_the_next(
    page: Page, shows: Gallery, jobs: Mapping[str, str]
) -> None:
    viewer = shows.look(page, jobs["said"])
    until(page, "document.querySelector('.viewer video')?.readyState >= 2")
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
        expect(viewer.locator(".segments li:visible .said")).to_have_text(["a second one"])
        button = viewer.get_by_role("button", name="Copy the text")
        button.evaluate(
            """(button) => {
                window.said = []; // it says so for two seconds, which a busy machine may draw at once
                const note = () => window.said.push(button.textContent);
                new MutationObserver(note).observe(button, { characterData: true, childList: true, subtree: true });
            }"""
        )
        button.click()
        until(page, "window.said.includes('Copied')")
        assert page.evaluate("navigator.clipboard.readText()") == "\n".join(text for _, _, text in SAID)


def test_the_list_follows_until_a_person_scrolls_it(page: Page, shows: Gallery, jobs: Mapping[str, str]) -> None:
    viewer = shows.look(page, jobs["long"])
    until(page, "document.querySelector('.viewer video')?.readyState >= 2")
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


def test_nothing_is_wider_than_a_phone(browser: Browser, shows: Gallery, jobs: Mapping[str, str]) -> None:
    with visit(browser, 360, 740) as phone:
        shows.look(phone, jobs["said"]).locator(".segments").wait_for()
        assert phone.evaluate("document.documentElement.scrollWidth") <= 360
