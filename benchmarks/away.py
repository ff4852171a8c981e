"""Jobs that wait for a target that is away: the folders they are in, and who looks after them in the background."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import psutil

from tests.processes import carrying

ENDS_SECONDS = 60.0


def folders(folder: Path, url: str) -> dict[str, str]:
    """Folders of the program's own, as its environment names them, with one target `away`, whose url leads nowhere."""
    (folder / "config").mkdir(parents=True)
    (folder / "config/targets.toml").write_text(f'[away]\nurl = "{url}"\n')
    return {f"OFFLOAD_{name.upper()}_DIR": str(folder / name) for name in ("config", "state", "cache")}


def background(where: dict[str, str]) -> list[psutil.Process]:
    """The followers and the scheduler: each began as a process of its own session, and so did what they started."""
    return [one for one in carrying("OFFLOAD_STATE_DIR", where["OFFLOAD_STATE_DIR"]) if _is_background(one)]


def _is_background(process: psutil.Process) -> bool:
    try:
        return any(word.startswith("import sys; sys.path[0]") for word in process.cmdline())
    except psutil.Error:  # gone while we looked
        return False


def end(processes: Iterable[psutil.Process]) -> None:
    """Kill them, and see them gone."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):  # it had nothing more to do
            process.kill()
            process.wait(ENDS_SECONDS)
