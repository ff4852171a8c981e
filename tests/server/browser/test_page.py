"""The page, as a person uses it: a real server, a real browser, real clips."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from playwright.sync_api import Browser, Page, Route, expect

from broker.broker import Broker
from broker.job import State
from tests.broker import jobs as a_job
from tests.offload.background import until
from tests.server.browser import looking
from tests.server.browser.browsing import SAMPLE, choose, start, state, visit
from tests.server.serving import Serving
from tests.services.typed import FAKEWORK, type_

RECORD = """() => {
    window.seen = [];
    const look = () => {
        const bar = document.querySelector(".whole [role=progressbar]");
        const now = bar && Number(bar.getAttribute("aria-valuenow"));
        if (bar && now !== window.seen.at(-1)) window.seen.push(now);
    };
    new MutationObserver(look).observe(document.body, { subtree: true, childList: true, attributes: true });
}"""


def held(folder: Path) -> tuple[str, Path]:
    """A job that runs until there is a file. Returns its id, and that file."""
    (folder / "a.dat").write_bytes(b"some work")
    (folder / "hold").mkdir()
    typed = [*FAKEWORK, "--detach", "--seconds", "0", "--hold", folder / "hold", "a.dat"]
    [job] = type_(typed, folder).lines
    return job, folder / "hold" / "0"


def test_a_clip_is_steadied_and_looked_at(page: Page, small: Path) -> None:
    choose(page, SAMPLE)
    page.get_by_role("radio", name="stabilize").check()
    expect(page.locator(".sentence")).to_contain_text("this machine")
    page.evaluate(RECORD)
    start(page)
    expect(state(page)).to_have_text("done")
    seen = page.evaluate("window.seen")
    assert seen == sorted(seen), seen
    assert len(seen) > 2, seen
    compare_plays(page)

    page.get_by_role("link", name="New").click()
    choose(page, small)
    page.get_by_text("More settings").click()
    page.get_by_label("Preset").select_option("slow")
    start(page)
    expect(state(page)).to_have_text("done")
    page.get_by_role("link", name="Jobs").first.click()
    expect(page.locator(".jobs li")).to_have_count(2)


def test_a_job_is_cancelled_and_tried_again_and_the_server_may_be_killed(
    page: Page, serving: Serving, tmp_path: Path
) -> None:
    job, end = held(tmp_path)
    page.goto(f"{serving.url}/#/jobs/{job}")
    expect(state(page)).to_have_text("running")
    page.get_by_role("button", name="Cancel").click()
    expect(state(page)).to_have_text("cancelled")
    page.get_by_role("button", name="Retry").click()
    expect(state(page)).to_have_text("running")

    serving.kill()
    expect(page.locator(".link.lost")).to_be_visible()
    expect(page.locator(".banner")).to_contain_text("comes back by itself")
    expect(state(page)).to_have_text("running")
    serving.start()
    expect(page.locator(".link.live")).to_be_visible()
    expect(page.locator(".banner")).to_have_count(0)
    expect(state(page)).to_have_text("running")
    end.touch()
    expect(state(page)).to_have_text("done")


def compare_plays(page: Page) -> None:
    expect(page.get_by_role("slider").first).to_be_visible()
    page.get_by_role("button", name="Play").click()
    looking.until(page, "[...document.querySelectorAll('.viewer video')].every((one) => one.currentTime > 0.3)")


def test_a_stream_that_is_refused_is_asked_for_again(page: Page) -> None:
    asked: list[Route] = []

    def refuse_twice(route: Route) -> None:
        asked.append(route)
        if len(asked) < 3:
            route.fulfill(status=503)  # a browser gives up on that by itself

    page.route("**/v1/events", refuse_twice)
    page.reload()
    expect(page.locator(".link.lost")).to_be_visible()
    until(lambda: page.evaluate("1") and len(asked) == 3, "that it is asked for again")
    asked[2].continue_()
    expect(page.locator(".link.live")).to_be_visible()
    assert len(asked) == 3


def test_an_upload_goes_on_where_it_was_when_the_server_is_killed(page: Page, serving: Serving, tmp_path: Path) -> None:
    clip, pieces, megabyte = tmp_path / "long.mp4", [], 2**20
    clip.write_bytes(bytes(range(256)) * (30 * megabyte // 256))

    def kill_in_the_middle(route: Route) -> None:
        offset = int(route.request.headers["upload-offset"])
        pieces.append(offset)
        if len(pieces) == 3:
            serving.kill()
        route.continue_()

    page.route("**/v1/blobs/*", kill_in_the_middle)
    page.set_input_files("input[type=file]", clip)
    expect(page.locator(".link.lost")).to_be_visible()
    serving.start()
    expect(page.locator(".phase.good")).to_be_visible()
    assert pieces == [0, 8 * megabyte, 16 * megabyte, 16 * megabyte, 24 * megabyte]


def test_a_file_that_is_left_out_is_not_part_of_the_job(page: Page, small: Path, serving: Serving) -> None:
    choose(page, small, SAMPLE)
    page.get_by_role("button", name=f"Remove {SAMPLE.name}").click()
    start(page)
    expect(state(page)).to_have_text("done")
    with serving.http() as http:
        (job,) = http.get("/v1/jobs").json()["jobs"]
    assert (job["first"], job["items"]) == (small.name, 1)


def test_what_no_service_takes_is_named(page: Page, small: Path, tmp_path: Path) -> None:
    notes = tmp_path / "notes.txt"
    notes.write_text("some")
    choose(page, small, notes)
    expect(page.get_by_text("No service takes notes.txt.")).to_be_visible()
    page.get_by_role("button", name="Remove notes.txt").click()
    expect(page.get_by_role("button", name="Start")).to_be_enabled()


def test_files_may_be_dropped_anywhere(page: Page) -> None:
    page.get_by_role("link", name="Targets").click()
    carried = page.evaluate_handle(
        """() => {
            const carried = new DataTransfer();
            carried.items.add(new File(["some"], "dropped.mp4"));
            return carried;
        }"""
    )
    page.dispatch_event("main", "dragenter", {"dataTransfer": carried})
    expect(page.get_by_text("Drop to add")).to_be_visible()
    page.dispatch_event("main", "drop", {"dataTransfer": carried})
    expect(page.get_by_text("Drop to add")).to_have_count(0)
    expect(page.get_by_role("heading", name="New job")).to_be_visible()
    expect(page.locator(".files li")).to_contain_text("dropped.mp4")


def test_a_folder_that_is_dropped_is_named(page: Page, small: Path, tmp_path: Path) -> None:
    folder = tmp_path / "holiday"
    folder.mkdir()
    protocol = page.context.new_cdp_session(page)
    carried = {"items": [], "files": [str(folder), str(small)], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver", "drop"):
        protocol.send("Input.dispatchDragEvent", {"type": kind, "x": 600, "y": 300, "data": carried})
    expect(page.get_by_role("alert")).to_contain_text("holiday")
    expect(page.get_by_role("alert")).to_contain_text("folder")
    expect(page.locator(".files li")).to_have_count(1)
    expect(page.locator(".files li")).to_contain_text(small.name)


def test_the_log_of_a_running_job_is_read_again_while_it_is_open(page: Page, serving: Serving, tmp_path: Path) -> None:
    job, _ = held(tmp_path)
    read: list[str] = []

    def tell(route: Route) -> None:
        read.append(route.request.url)
        route.fulfill(body=f"line {len(read)}")

    page.route("**/log", tell)
    page.goto(f"{serving.url}/#/jobs/{job}")
    expect(state(page)).to_have_text("running")
    page.clock.install()
    page.locator("summary", has_text="Log").click()
    for _ in range(3):
        with page.expect_request("**/log"):
            page.clock.run_for(2000)
    expect(page.get_by_label("Log")).to_have_text(re.compile("line [^1]"))
    page.get_by_role("button", name="Cancel").click()
    expect(state(page)).to_have_text("cancelled")


def test_a_mistake_is_told_where_it_was_made(page: Page, tmp_path: Path) -> None:
    text = tmp_path / "clip.mp4"
    text.write_text("no clip at all")
    choose(page, text)
    page.get_by_label("Zoom").fill("much")
    page.get_by_role("button", name="Start").click()
    expect(page.locator(".start [role=alert]").last).to_contain_text("zoom")
    page.get_by_label("Zoom").fill("auto")
    start(page)
    expect(state(page)).to_have_text("failed")
    expect(page.locator("[role=alert]").first).to_be_visible()
    expect(page.get_by_text("offload jobs logs")).to_be_visible()


def test_a_job_that_failed_says_what_to_do_next(page: Page, broker: Broker, serving: Serving, tmp_path: Path) -> None:
    job = broker.submit(a_job.request(tmp_path / "media", b"work"))
    ledger = a_job.ledger(broker.journal, job.id)
    ledger.advance(State.RUNNING)
    ledger.advance(State.FAILED, "base is not here", 4, "offload models prefetch base")
    page.goto(f"{serving.url}/#/jobs/{job.id}")
    told = page.locator("main [role=alert]").first
    expect(told).to_contain_text("base is not here")
    expect(told.locator("code", has_text="offload models prefetch base")).to_be_visible()


def test_a_link_is_good_once_and_its_code_leaves_the_address(browser: Browser, serving: Serving) -> None:
    with visit(browser) as page:
        page.goto(serving.link)
        expect(page.get_by_role("heading", name="New job")).to_be_visible()
        assert serving.code not in page.url
        page.goto(serving.url)
        expect(page.get_by_role("heading", name="New job")).to_be_visible()
        page.get_by_role("button", name="Log out").click()
        expect(page.get_by_role("heading", name="Log in")).to_be_visible()
        page.reload()
        expect(page.get_by_role("heading", name="Log in")).to_be_visible()
    with visit(browser) as other:
        other.goto(serving.url)
        expect(other.get_by_text("offload serve --link")).to_be_visible()
        other.goto(serving.link)
        expect(other.get_by_role("alert")).to_contain_text("used already")


def test_a_job_that_is_typed_in_a_terminal_is_seen_and_removed(page: Page, small: Path, serving: Serving) -> None:
    page.get_by_role("link", name="Jobs").click()
    expect(page.get_by_text("No jobs yet")).to_be_visible()
    typed = [sys.executable, "-m", "offload", "stabilize", "-q", str(small)]
    subprocess.run(typed, env=serving.env, check=True, cwd=small.parent, capture_output=True)
    line = page.locator(".jobs li")
    expect(line.locator(".state")).to_have_text("done")
    line.get_by_role("button", name="Remove").click()
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    line.get_by_role("button", name="Remove").click()
    expect(page.get_by_role("dialog")).to_contain_text("the files stay where they are")
    page.get_by_role("dialog").get_by_role("button", name="Remove").click()
    expect(line).to_have_count(0)


def test_what_ended_while_it_was_cancelled_is_not_removed(page: Page, serving: Serving, tmp_path: Path) -> None:
    job, end = held(tmp_path)

    def late(route: Route) -> None:
        if route.request.method == "DELETE":
            end.touch()
            with serving.http() as http:
                until(lambda: http.get(f"/v1/jobs/{job}").json()["over"], "over")
        route.continue_()

    page.goto(f"{serving.url}/#/jobs/{job}")
    expect(state(page)).to_have_text("running")
    page.route("**/v1/jobs/**", late)
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator(".actions [role=alert]")).to_contain_text("over already")
    expect(state(page)).to_have_text("done")
