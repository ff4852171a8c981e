"""Who may ask: whoever knows the token in a file that only its user can read, or came by a link that it made.

A program sends the token. A browser redeems a one-time code for a cookie: event streams and pictures cannot send a
header. The cookie is made of the token, so it outlives the server, and a new token ends all of them.
"""

from __future__ import annotations

import hmac
import math
import os
import secrets
import stat
import time
from collections import deque
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

from broker.errors import ConfigError
from broker.settings import Settings

COOKIE_SECONDS = 30 * 86400
CODE_SECONDS = 600.0
MOST_CODES = 100
"""Links that are valid at a time; of more, the oldest are forgotten."""


MOST_WRONG, WRONG_SECONDS = 20, 60.0
"""More wrong codes than that in that time are guesses."""


ANEW = "stop the server with Ctrl-C where it runs, and start it again: offload serve"
"""What to do where the token of a server that runs is not that of the file any more."""


class Guessed(Exception):
    """Too many wrong codes; for so many `seconds`, whether another is, is not told."""

    def __init__(self, seconds: int) -> None:
        super().__init__(f"too many wrong codes; try again in {seconds} s")
        self.seconds = seconds


def folder(settings: Settings) -> Path:
    """Where the server keeps its token, uploads and jobs' files."""
    return settings.state_dir / "server"


def token(place: Path, make: bool = True) -> str:
    """The token in a folder; a server makes one where there is none, and nobody else does.

    Raises ConfigError for one that others can read, or that cannot be read or made.
    """
    file = place / "token"
    try:
        if make and not file.exists():
            place.mkdir(parents=True, exist_ok=True, mode=0o700)
            _make(file)
        if file.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise ConfigError(f"others on this machine can read {file}", f"rm {file}, and start the server again")
        found = file.read_text("ascii", "replace").strip()
    except FileNotFoundError as error:
        raise ConfigError(f"the server's token {file} is not there", ANEW) from error
    except OSError as error:
        what = f"the server's token {file} cannot be had: {error.strerror}"
        raise ConfigError(what, f"{_away(file)}point OFFLOAD_STATE_DIR of the server elsewhere") from error
    if len(found) < 32 or not found.isascii():
        raise ConfigError(f"{file} holds no token", f"rm {file}, and start the server again")
    return found


def _away(file: Path) -> str:
    return f"move {file} away, or " if os.path.lexists(file) else ""


def _make(file: Path) -> None:
    """Write a new token, of two that do so at once the first."""
    draft = file.with_name(f".{file.name}.{secrets.token_hex(8)}")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w") as opened:
        opened.write(f"{secrets.token_urlsafe(32)}\n")
        opened.flush()
        os.fsync(handle)
    try:
        with suppress(FileExistsError):  # made by another meanwhile: that is the one
            os.link(draft, file)
    finally:
        draft.unlink()


class Access:
    """What lets a client in: the token, or a cookie that was given for a one-time code."""

    def __init__(self, token: str) -> None:
        self._token = token
        self._codes: dict[bytes, float] = {}
        self._wrong: deque[float] = deque(maxlen=MOST_WRONG)

    def knows(self, token: str) -> bool:
        """Whether this is the token."""
        return hmac.compare_digest(token.encode("utf-8", "replace"), self._token.encode())

    def code(self) -> str:
        """A new one-time code: it is good once, for ten minutes."""
        while len(self._codes) >= MOST_CODES:
            self._codes.pop(next(iter(self._codes)))
        code = secrets.token_urlsafe(24)
        self._codes[_digest(code)] = time.monotonic() + CODE_SECONDS
        return code

    def redeem(self, code: str) -> str | None:
        """A cookie for a one-time code, which is then used up; None when it is not good, or not any more.

        Raises Guessed for one of too many that are not. A good one is always taken: who guesses keeps nobody out.
        """
        now = time.monotonic()
        if now < self._codes.pop(_digest(code), 0.0):
            return self._cookie(int(time.time()) + COOKIE_SECONDS)
        if len(self._wrong) == MOST_WRONG and now < (again := self._wrong[0] + WRONG_SECONDS):
            raise Guessed(math.ceil(again - now))
        self._wrong.append(now)
        return None

    def recognises(self, cookie: str) -> bool:
        """Whether this is a cookie of ours that still holds."""
        until, _, _ = cookie.partition(".")
        if not (until.isdecimal() and len(until) < 16):
            return False
        good = hmac.compare_digest(cookie.encode("utf-8", "replace"), self._cookie(int(until)).encode())
        return good and int(until) > time.time()

    def _cookie(self, until: int) -> str:
        return f"{until}.{hmac.new(self._token.encode(), f'cookie {until}'.encode(), sha256).hexdigest()}"


def _digest(code: str) -> bytes:
    # How long it takes to look for a code tells nothing of those there are.
    return sha256(code.encode("utf-8", "replace")).digest()
