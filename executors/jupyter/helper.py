"""Runs in a kernel on the target, handed over as text: starts commands and moves files within the target's root.

An order is a JSON object with an id. It is obeyed in a thread of its own, and answered with a message that carries the
id: the kernel itself never waits, so a long command delays no other. An order that comes again (the connection broke
and nobody knows whether it had arrived) is answered again, not obeyed again. Standard library, and what every Python
kernel has; Python >= 3.8.
"""

from __future__ import annotations

import base64
import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import OrderedDict
from contextlib import suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

MIME = "application/x-offload+json"
DRAFT_SECONDS = 86400
KEPT_ANSWERS = 100
KERNEL_S_OWN = ("MPLBACKEND", "FORCE_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "JPY_PARENT_PID", "JPY_SESSION_NAME")
"""What a kernel sets for itself. A command that inherited it would draw in, and colour for, a notebook."""

if TYPE_CHECKING:  # Python 3.8 cannot make these
    Order = dict[str, Any]
    Answer = dict[str, Any]

_lock = threading.Lock()
_answers: OrderedDict[str, Answer | None] = OrderedDict()


def obey(text: str) -> None:
    """Obey an order, base64 of JSON, unless it was obeyed before; answer it in either case."""
    order = json.loads(base64.b64decode(text))
    with _lock:
        known = order["id"] in _answers
        answer = _answers.setdefault(order["id"], None)
    if answer is not None:
        _say(answer)
    elif not known:
        threading.Thread(target=_work, args=(order,), daemon=True).start()


def _work(order: Order) -> None:
    try:
        answer = WORK[order["do"]](order)
    except OSError as error:
        answer = {"error": errno.errorcode.get(error.errno or 0, "EIO"), "said": str(error)}
    except Exception as error:  # noqa: BLE001 - whatever it is, somebody waits for an answer
        answer = {"error": type(error).__name__, "said": str(error)}
    answer["id"] = order["id"]
    with _lock:
        _answers[order["id"]] = answer
        for old in list(_answers)[:-KEPT_ANSWERS]:
            if _answers[old] is not None:
                del _answers[old]
    _say(answer)


def _say(answer: Answer) -> None:
    from IPython.display import display

    # Not printed: what is printed may be throttled, cut or mixed with what else is.
    with _lock:
        display({MIME: answer}, raw=True)  # type: ignore[no-untyped-call, unused-ignore]


def settle(order: Order) -> Answer:
    """Find the root by a draft that lies there, and work in it from now on."""
    here = Path.cwd()
    drafts = [place / order["root"] / order["draft"] for place in (here, *here.parents, Path.home(), Path("/content"))]
    draft = next((draft for draft in drafts if draft.is_file()), None)
    if draft is None:
        return {"root": ""}
    root = draft.parent.parent
    os.chdir(str(root))
    root.chmod(0o700)
    for name in KERNEL_S_OWN:
        os.unsetenv(name)
    for old in draft.parent.iterdir():
        with suppress(FileNotFoundError):  # another client's, and done with meanwhile
            if old.stat().st_mtime < time.time() - DRAFT_SECONDS:
                old.unlink()
    found = draft.read_bytes()[:1000].decode("ascii", "replace")
    return {"root": str(root), "python": sys.executable, "version": list(sys.version_info[:2]), "draft": found}


def place(order: Order) -> Answer:
    """Give a draft its name, if it is whole."""
    draft, path = Path(order["draft"]), Path(order["path"])
    size = draft.stat().st_size
    if size != order["size"]:
        return {"error": "EIO", "said": f"{size} of {order['size']} bytes arrived"}
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft.replace(path)
    return {}


def cut(order: Order) -> Answer:
    """Copy a range of a file to a draft."""
    with Path(order["path"]).open("rb") as file:
        file.seek(order["offset"])
        Path(order["draft"]).write_bytes(file.read(order["length"]))
    return {}


def drop(order: Order) -> Answer:
    """Delete a draft."""
    Path(order["draft"]).unlink()
    return {}


def room(order: Order) -> Answer:
    """How many bytes the disk still takes."""
    return {"bytes": shutil.disk_usage(".").free}


def run(order: Order) -> Answer:
    """Run a command as a session of its own; one that outlasts its time is killed with its children."""
    argv = [word.encode("utf-8", "surrogateescape") for word in order["argv"]]
    until = time.monotonic() + order["timeout"]
    try:
        process = subprocess.Popen(
            argv,
            cwd=order["root"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except FileNotFoundError:
        if not Path(order["root"]).is_dir():
            raise
        return _completed(127, b"", argv[0] + b": no such program")
    stdout, stderr, most = bytearray(), bytearray(), order["most"]
    threads = [
        _thread(_feed, process.stdin, base64.b64decode(order["stdin"])),
        _thread(_keep_first, process.stdout, stdout, most + 1),
        _thread(_keep_last, process.stderr, stderr, most),
    ]
    if not _ended(process, threads[1:], until):
        _kill(process)
        return {"late": True}
    if len(stdout) > most:
        return {"long": True}
    return _completed(process.returncode, bytes(stdout), bytes(stderr))


def _completed(status: int, stdout: bytes, stderr: bytes) -> Answer:
    return {"status": status, "stdout": _text(stdout), "stderr": _text(stderr)}


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _thread(work: Any, *arguments: Any) -> threading.Thread:
    thread = threading.Thread(target=work, args=arguments, daemon=True)
    thread.start()
    return thread


def _feed(pipe: IO[bytes], data: bytes) -> None:
    try:
        with pipe:
            pipe.write(data)
    except OSError:
        return  # a command may end without reading


def _keep_first(pipe: IO[bytes], kept: bytearray, most: int) -> None:
    with pipe:
        for block in iter(lambda: os.read(pipe.fileno(), 65536), b""):
            kept += block[: most - len(kept)]


def _keep_last(pipe: IO[bytes], kept: bytearray, most: int) -> None:
    with pipe:
        for block in iter(lambda: os.read(pipe.fileno(), 65536), b""):
            kept += block
            del kept[:-most]


def _ended(process: subprocess.Popen[bytes], threads: list[threading.Thread], until: float) -> bool:
    """Whether a command ended in time, and nobody holds its output any more."""
    for thread in threads:
        thread.join(max(0.0, until - time.monotonic()))
    try:
        process.wait(max(0.0, until - time.monotonic()))
    except subprocess.TimeoutExpired:
        return False
    return not any(thread.is_alive() for thread in threads)


def _kill(process: subprocess.Popen[bytes]) -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return  # it ended by itself in the meantime
    process.wait()


WORK = {"settle": settle, "place": place, "cut": cut, "drop": drop, "room": room, "run": run}
