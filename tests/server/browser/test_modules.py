"""The page's own arithmetic, in the browser that runs it."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

import server
import services
from server import parameters
from tests.server.browser.browsing import visit

FILES = Path(server.__file__).with_name("page")


@pytest.fixture
def bare(browser: Browser) -> Iterator[Page]:
    """A page that has the modules, and no server."""
    with visit(browser) as opened:
        opened.route("http://localhost/*.js", lambda route: route.fulfill(path=FILES / Path(route.request.url).name))
        opened.route("http://localhost/vendor/*", lambda route: route.fulfill(path=FILES / "vendor" / "preact.js"))
        opened.route("http://localhost/", lambda route: route.fulfill(body="<!doctype html>", content_type="text/html"))
        opened.goto("http://localhost/")
        yield opened


PLAN = {
    "targets": [
        {"target": "colab", "state": "ready", "seconds": 40.2, "send_bytes": 12_000_000},
        {"target": "local", "state": "ready", "seconds": 540, "send_bytes": 0},
    ],
    "cached": [],
}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("", "colab, about 40 s, 12 MB to send; here 9 min"),
        ("plan.targets.reverse()", "this machine, about 9 min"),
        ("plan.targets[0].state = 'away'", "this machine, about 9 min"),
        ("plan.targets[1].seconds = null", "colab, about 40 s, 12 MB to send"),
        ("plan.targets[0].seconds = null", "colab, time not known yet, 12 MB to send; here 9 min"),
        ("plan.targets.length = 0", "No target can take it now."),
    ],
)
def test_a_plan_is_told_in_a_sentence(bare: Page, change: str, said: str) -> None:
    told = f"async (plan) => {{ const {{ sentence }} = await import('/plan.js'); {change}; return sentence(plan); }}"
    assert bare.evaluate(told, PLAN) == said


def test_a_hash_that_grows_is_the_browsers_own(bare: Page) -> None:
    wrong = bare.evaluate(
        """async () => {
            const { Sha256 } = await import("/sha256.js");
            const digits = (one) => one.toString(16).padStart(2, "0");
            const hex = (buffer) => [...new Uint8Array(buffer)].map(digits).join("");
            let seed = 7;
            const random = (below) => (seed = (seed * 48271) % 2147483647) % below;
            const wrong = [];
            const sizes = [0, 1, 55, 56, 63, 64, 65, 119, 120, 127, 128, 129, 1000, 65536, 300001];
            for (const size of sizes) for (const most of [1 + random(70), 64, 5000, size + 1]) {
                const bytes = Uint8Array.from({ length: size }, () => random(256));
                const hash = new Sha256();
                for (let at = 0; at < size; ) {
                    const next = Math.min(at + 1 + random(most), size);
                    hash.add(bytes.subarray(at, next));
                    at = next;
                }
                if (hash.hex() !== hex(await crypto.subtle.digest("SHA-256", bytes))) wrong.push([size, most]);
            }
            return wrong;
        }"""
    )
    assert wrong == []


def test_a_file_is_hashed_by_a_worker_that_tells_how_far_it_is(bare: Page) -> None:
    content = bytes(range(256)) * 40_000  # three pieces of 4 MiB
    found = bare.evaluate(
        """async (size) => {
            const { hashed } = await import("/upload.js");
            const bytes = Uint8Array.from({ length: size }, (_, at) => at % 256);
            const told = [];
            return [await hashed(new File([bytes], "clip.mp4"), (done) => told.push(done)), told];
        }""",
        len(content),
    )
    assert found == [sha256(content).hexdigest(), [2**22, 2**23, len(content)]]


@pytest.mark.parametrize("name", services.names())
def test_every_parameter_has_a_field_that_gives_what_the_server_takes(bare: Page, name: str) -> None:
    service = services.find(name)
    fields = parameters.schema(service)["properties"]
    bare.evaluate(
        """async ([service, properties]) => {
            const { html, render } = await import("/vendor/preact.js");
            const { Form } = await import("/form.js");
            window.given = {};
            const onSet = (name, value) => { window.given[name] = value; };
            const form = html`<${Form} service=${service} schema=${{ properties }} set=${{}} onSet=${onSet} />`;
            render(form, document.body);
        }""",
        [name, fields],
    )
    for folded in bare.locator("summary").all():
        folded.click()
    expect(bare.locator(".field")).to_have_count(len(fields))
    for field in bare.locator("input[type=checkbox]").all():
        field.check()
    for field in bare.locator("input[type=number]").all():
        field.fill(field.get_attribute("max") or "")
    for field in bare.locator("select").all():
        field.select_option(field.locator("option").last.get_attribute("value"))
    for field in bare.locator("input[type=text]").all():
        field.fill(
            {"set-size": "640x480", "set-language": "de", "set-zoom": "12.5"}.get(field.get_attribute("id"), "Ada")
        )
    given = bare.evaluate("window.given")
    changed = {key: value for key, value in given.items() if value != fields[key].get("default")}
    assert set(given) == set(fields)
    for key, value in changed.items():
        whole = {"engine": "faster-whisper"} if key == "compute_type" else {}
        whole |= {"model": "realesr-general-x4v3"} if key == "denoise" else {}
        whole |= {"format": ["json"]} if key == "word_timestamps" else {}
        parameters.check(service, whole | {key: value})


def test_figures_are_as_people_read_them(bare: Page) -> None:
    told = bare.evaluate(
        """async () => {
            const { bytes, duration, percent, suffix, label } = await import("/format.js");
            return [
                [0, 999, 1000, 12_000_000, 999_600, 2 ** 40].map(bytes),
                [0.04, 0.4, 9.96, 40, 99.6, 540, 3900, 86400 * 3].map(duration),
                [0, 0.999, 1, 1.2].map(percent),
                ["clip.MP4", ".bashrc", "none", "a.tar.gz"].map(suffix),
                label("word_timestamps"),
            ];
        }"""
    )
    assert told == [
        ["0 B", "999 B", "1.0 kB", "12 MB", "1.0 MB", "1.1 TB"],
        ["0.0 s", "0.4 s", "10 s", "40 s", "2 min", "9 min", "65 min", "3 days"],
        ["0 %", "99 %", "100 %", "100 %"],
        [".mp4", "", "", ".gz"],
        "Word timestamps",
    ]
