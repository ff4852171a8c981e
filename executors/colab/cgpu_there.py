"""Runs on a runtime, started by `cgpu run` for one order: obeys it in the target's root, prints the answer, and ends.

    python3 -SE ROOT/cgpu/HASH/cgpu_there.py ORDER

ORDER is base64 of packed JSON, or `@NAME` of a draft that holds that. What is printed goes through a program that loses
blank lines, escapes and the difference between streams: so it is base64, in lines, between two that carry the order's
token, with its sha256. Whoever finds no such answer knows that it was lost, whatever the status says.

Its neighbour `helper.py` does the work. Standard library, Python >= 3.8.
"""

from __future__ import annotations

import base64
import errno
import hashlib
import json
import os
import signal
import sys
import time
import zlib
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from executors.jupyter import helper
else:
    import helper

LINE = 960
MARK = Path("runtime-mark")
"""What tells this machine from one that was taken in its place."""

DRAFTS = Path("drafts")


def settle(order: dict[str, Any]) -> dict[str, Any]:
    """Make the root ours, and say which machine this is."""
    root = Path.cwd()
    root.chmod(0o700)
    with suppress(FileExistsError), MARK.open("x") as file:
        file.write(os.urandom(16).hex())
    for old in DRAFTS.iterdir():
        with suppress(FileNotFoundError):  # another client's, and done with meanwhile
            if old.stat().st_mtime < time.time() - helper.DRAFT_SECONDS:
                old.unlink()
    return {"root": str(root), "python": sys.executable, "version": list(sys.version_info[:2]), "mark": _mark()}


def place(order: dict[str, Any]) -> dict[str, Any]:
    """Give a draft, or what the order brought along, its name, if it is whole, and durably."""
    if "text" in order:
        Path(order["draft"]).write_bytes(order["text"].encode("latin-1"))
    with Path(order["draft"]).open("rb+") as file:
        found = hashlib.sha256(file.read()).hexdigest()
        os.fsync(file.fileno())
    if found != order["sha256"]:
        return {"error": "EIO", "said": "what arrived is not what was sent"}
    return helper.place(order)


def read(order: dict[str, Any]) -> dict[str, Any]:
    """Read a range of a file."""
    with Path(order["path"]).open("rb") as file:
        file.seek(order["offset"])
        return {"data": file.read(order["length"])}


WORK = {**helper.WORK, "settle": settle, "place": place, "read": read}


def obey(order: dict[str, Any]) -> dict[str, Any]:
    """Obey an order, if this is the machine that is meant."""
    try:
        if order["mark"] and order["mark"] != _mark():
            return {"error": "another machine", "said": ""}
        return WORK[order["do"]](order)
    except OSError as error:
        return {"error": errno.errorcode.get(error.errno or 0, "EIO"), "said": str(error)}
    except Exception as error:  # noqa: BLE001 - whatever it is, somebody waits for an answer
        return {"error": type(error).__name__, "said": str(error)}


def _mark() -> str:
    return MARK.read_text() if MARK.exists() else ""


def _order(word: str) -> dict[str, Any]:
    if word.startswith("@"):
        draft = DRAFTS / word[1:]
        packed = draft.read_bytes()
        draft.unlink()
    else:
        packed = base64.urlsafe_b64decode(word)
    found: dict[str, Any] = json.loads(zlib.decompress(packed))
    return found


def say(answer: dict[str, Any], token: str) -> None:
    """Print an answer: its JSON, a line end, and its data."""
    data = answer.pop("data", b"")
    whole = json.dumps(answer).encode() + b"\n" + data
    text = base64.b64encode(whole).decode("ascii")
    lines = [text[start : start + LINE] for start in range(0, len(text), LINE)]
    first, last = f"offload {token} {hashlib.sha256(whole).hexdigest()}", f"offload {token} end"
    sys.stdout.write("\n".join([first, *lines, last, ""]))
    sys.stdout.flush()


def main() -> None:
    """Obey the order on the command line."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # who hangs up leaves a command that its time must still end
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)  # what can be read there is meant for others
    os.chdir(str(Path(__file__).resolve().parents[2]))
    for name in helper.KERNEL_S_OWN:
        os.unsetenv(name)
    order = _order(sys.argv[1])
    say(obey(order), order["token"])


if __name__ == "__main__":
    main()
