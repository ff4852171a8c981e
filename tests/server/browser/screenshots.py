"""Pictures of the page for the documentation: `python -m tests.server.browser.screenshots [FOLDER]`.

A server of its own, with real jobs on it: the sample is steadied, a clip is refused, another is on its way. What
models would say of the sample is made up: a picture is taken of how it is shown.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image
from playwright.sync_api import Browser, Page, expect

from tests import media
from tests.remote_scripts.runs import part
from tests.server.asking import end_all
from tests.server.browser.browsing import SAMPLE, choose, chromium, log_in, start, state, visit
from tests.server.browser.looking import Gallery, document, until
from tests.server.serving import REPO, Serving

DESK = {"width": 1100, "height": 760}
PHONE = {"width": 360, "height": 740}
COLOURS = 192
MOST_BYTES = 200_000

SAID = "We have been walking since six, and the light is only getting better. Mind the fence on the right."
SEEN = ("a path between birches in autumn", "a wooden fence beside a path", "birches, and hills far away")


def main(folder: Path) -> None:
    """Take all pictures into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory() as home, chromium() as browser:
        here = Path(home)
        with Serving(here, _folders(here)) as serving:
            _take(browser, serving, here, folder)
            end_all()


def _folders(here: Path) -> dict[str, str]:
    """Folders of its own, and two targets beside this machine: one that answers, and one that does not."""
    folders = {name: here / name for name in ("config", "state", "cache", "workshop")}
    for folder in folders.values():
        folder.mkdir()
    targets = f'[workshop]\nurl = "local://{folders["workshop"]}"\n\n[studio]\nurl = "ssh://studio.invalid"\n'
    (folders["config"] / "targets.toml").write_text(targets)
    found = {f"OFFLOAD_{name.upper()}_DIR": str(folders[name]) for name in ("config", "state", "cache")}
    os.environ.update(found)  # the token is read here, too
    return found


def _take(browser: Browser, serving: Serving, here: Path, folder: Path) -> None:
    with visit(browser, **DESK, color_scheme="light") as page:
        log_in(page, serving)
        done = _work(page, here, folder)
        _told(page, Gallery(here, serving), folder)
    with visit(browser, **DESK, color_scheme="dark") as page:
        log_in(page, serving, done)
        _shoot_result(page, folder / "result-dark.png")
    with visit(browser, **PHONE, color_scheme="light", device_scale_factor=2) as page:
        log_in(page, serving, done)
        _shoot_result(page, folder / "phone.png")


def _work(page: Page, here: Path, folder: Path) -> str:
    """Go through the views by the light of day. Returns the address of the job that is done."""
    choose(page, SAMPLE)
    page.get_by_label("Report").check()
    expect(page.locator(".sentence")).to_contain_text("about")
    page.evaluate("scrollTo(0, 0)")
    _shoot(page, folder / "new.png")
    start(page)
    until(page, "document.querySelector('.whole [role=progressbar]')?.getAttribute('aria-valuenow') >= 30")
    _shoot(page, folder / "running.png")
    expect(state(page)).to_have_text("done")
    done = page.url.partition("#/")[2]
    _shoot_result(page, folder / "result.png")
    _others(page, here)
    _shoot(page, folder / "jobs.png")
    page.get_by_role("link", name="Targets").click()
    page.get_by_role("button", name="Test this machine").click()
    page.locator(".steps").wait_for()
    _shoot(page, folder / "targets.png")
    return done


def _others(page: Page, here: Path) -> None:
    """A job that fails, and one that is under way, on the list of jobs."""
    broken = here / "interview.mp4"
    broken.write_text("no clip at all")
    for clip, ends in ((broken, "failed"), (media.clip(here / "harbour.mp4", 20, (640, 360)), "running")):
        page.get_by_role("link", name="New").click()
        choose(page, clip)
        start(page)
        expect(state(page)).to_have_text(ends)
    page.get_by_role("link", name="Jobs").first.click()
    until(page, "document.querySelector('.jobs [role=progressbar]')?.getAttribute('aria-valuenow') >= 20")


def _told(page: Page, gallery: Gallery, folder: Path) -> None:
    """A transcript, while it is played, and captions on their frames."""
    transcript, captions = {"transcript.json": _transcript()}, {"captions.json": _captions()}
    heard = {"seconds": 7.0, "language": "en", "cues": 2, "words": len(SAID.split())}
    gallery.look(page, gallery.job("transcribe", SAMPLE, transcript, heard))
    page.get_by_text("only", exact=True).click()
    page.wait_for_timeout(200)
    _shoot(page, folder / "transcript.png")
    gallery.look(page, gallery.job("caption", SAMPLE, captions, {"frames": len(SEEN), "description": SEEN[0]}))
    until(page, f"[...document.querySelectorAll('canvas.still')].filter((one) => one.width).length === {len(SEEN)}")
    _shoot(page, folder / "captions.png")


def _transcript() -> bytes:
    """Two sentences, with a time for each word, as the script writes them."""
    subtitles, words = part("_subtitles"), SAID.split()
    step = 7000 // len(words)
    timed = [subtitles.Word(at * step, (at + 1) * step, word, 1.0) for at, word in enumerate(words)]
    first = next(at for at, word in enumerate(words) if word.endswith(".")) + 1
    spoken = [
        subtitles.Cue(said[0].start, said[-1].end, " ".join(word.text for word in said), tuple(said))
        for said in (timed[:first], timed[first:])
    ]
    about = {"language": "en", "model": "base", "engine": "whisper", "task": "transcribe", "duration": 7.0}
    written: str = subtitles.FORMATS["json"](spoken, about)
    return written.encode()


def _captions() -> bytes:
    captions = [{"seconds": 1.2 + at * 2.3, "text": text} for at, text in enumerate(SEEN)]
    return document({"version": 1, "model": "blip-base", "captions": captions, "description": ". ".join(SEEN) + "."})


def _shoot_result(page: Page, path: Path) -> None:
    until(page, "[...document.querySelectorAll('.viewer video')].some((one) => one.readyState >= 2)")
    _shoot(page, path)


def _shoot(page: Page, path: Path) -> None:
    """Take a picture, in few colours where it is large."""
    page.evaluate("document.activeElement?.blur()")
    page.wait_for_timeout(400)
    page.screenshot(path=path)
    with Image.open(path) as taken:
        picture = taken.convert("RGB")
    if path.stat().st_size > MOST_BYTES:
        picture = picture.quantize(COLOURS, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    picture.save(path, optimize=True)
    size = path.stat().st_size
    print(f"{path}\t{size} bytes")
    assert size < MOST_BYTES, path


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else REPO / "docs" / "screenshots")
