"""Results to look at: small clips whose every pixel is known, and done jobs that made them, on a server."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from broker import settings
from broker.broker import Broker
from broker.job import Input, Request
from broker.stop import Stop
from tests import media
from tests.server.browser.browsing import PATIENCE_MS, complaints, log_in, visit
from tests.server.serving import Serving

expect.set_options(timeout=PATIENCE_MS)

SCRIPT = Path(__file__).with_name("shows.py").resolve()
RATE, SECONDS = 25, 30
H264 = ("-c:v", "libx264", "-preset", "ultrafast", "-g", "25", "-pix_fmt", "yuv420p")
RED, BLUE, GREEN = (255, 0, 0), (0, 0, 255), (0, 128, 0)


def coloured(
    path: Path,
    *colours: str,
    seconds: float = SECONDS,
    size: str = "160x120",
    codec: Sequence[str] = H264,
    sound: bool = False,
) -> Path:
    """A clip of plain colours, one after the other, each as long. Returns `path`."""
    each = seconds / len(colours)
    sources = [word for name in colours for word in ("-f", "lavfi", "-i", f"color={name}:s={size}:r={RATE}:d={each}")]
    joined = f"{''.join(f'[{number}:v]' for number in range(len(colours)))}concat=n={len(colours)}[v]"
    tone = ("-f", "lavfi", "-i", f"sine=440:d={seconds}") if sound else ()
    heard = ("-map", f"{len(colours)}:a", "-c:a", "aac") if sound else ()
    media.ffmpeg(*sources, *tone, "-filter_complex", joined, "-map", "[v]", *heard, *codec, path)
    return path


def picture(path: Path, colour: str, size: str) -> Path:
    """A picture of one colour. Returns `path`."""
    media.ffmpeg("-f", "lavfi", "-i", f"color={colour}:s={size}", "-frames:v", "1", path)
    return path


class Gallery:
    """A server, and jobs on it that are done."""

    def __init__(self, folder: Path, serving: Serving) -> None:
        self.folder, self.serving = folder, serving
        self._count = 0

    def job(
        self,
        service: str,
        source: Path,
        outputs: Mapping[str, bytes | Path],
        measured: Mapping[str, Any] | None = None,
    ) -> str:
        """A job of `service` that made of `source` these outputs, name -> content. Returns its id."""
        self._count += 1
        folder = self.folder / str(self._count)
        ready, made = folder / "ready" / "0", folder / "made"
        for place in (ready, made):
            place.mkdir(parents=True)
        for name, content in outputs.items():
            (ready / name).write_bytes(content.read_bytes() if isinstance(content, Path) else content)
        wanted = Input(source, {name: made / f"{source.stem}.{name}" for name in outputs})
        return self._done(service, wanted, {"ready": str(ready.parent), "measured": dict(measured or {})})

    def _done(self, service: str, wanted: Input, params: Mapping[str, Any]) -> str:
        with Broker(settings.load(self.serving.env)) as broker:
            job = broker.submit(Request(service, SCRIPT, params, (wanted,)))
            for _ in broker.drive(job, Stop()):
                pass
            assert broker.journal.job(job.id).state == "done", broker.journal.ending(job.id).error
        return job.id

    def look(self, page: Page, job: str) -> Locator:
        """Open a job's view, logged in, and return its viewer."""
        log_in(page, self.serving, f"jobs/{job}")
        viewer = page.locator(".viewer")
        viewer.wait_for()
        return viewer


@pytest.fixture(scope="module")
def shows(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gallery]:
    """A server for a module, on folders of its own."""
    folder = tmp_path_factory.mktemp("gallery")
    env = {f"OFFLOAD_{name.upper()}_DIR": str(folder / name) for name in ("config", "state", "cache")}
    for place in env.values():
        Path(place).mkdir(parents=True)
    with Serving(folder, env) as serving:
        yield Gallery(folder, serving)


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page that may complain of nothing."""
    with visit(browser) as opened:
        yield opened
        assert complaints(opened) == []


def until(page: Page, expression: str) -> None:
    """Wait until an expression is true. The page's policy forbids what playwright would do for that inside of it."""
    end = time.monotonic() + PATIENCE_MS / 1000
    while not page.evaluate(expression):
        assert time.monotonic() < end, f"never: {expression}"
        page.wait_for_timeout(50)


def document(value: Any) -> bytes:
    """JSON as services write it."""
    return json.dumps(value, indent=2).encode()
