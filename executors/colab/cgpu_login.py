"""The login of cgpu, kept from cgpu: it deletes its session file whenever Google's token page cannot be asked.

Beside that file, in a folder of ours (cgpu's own is the only one that all who use this login share):

offload/lock          shared by the calls under way, alone for who may conclude that there are none
offload/cold          held by who may be the first to take a runtime, which cgpu takes once for each that is
offload/session.json  a copy from before the calls under way; one that nobody holds is of a process that was killed

It is put back after a call that was not let in, unless Google says that the login is over. cgpu deletes it before it is
let in, and never after: what is gone then was deleted by a person, and stays so.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from executors.base import ExecutorError, NotInstalled, Refused, Unreachable
from executors.colab import locks
from executors.colab.address import Address
from executors.colab.client import Client, Denied, ask, cgpu_config
from executors.colab.places import LOGIN, RUNTIME

CONNECT = "cgpu connect"
WAIT_SECONDS = 120.0
"""The calls of others that are under way: a look at a job's events lasts half a minute."""

COLD_SECONDS = 400.0
"""Somebody else may be taking a runtime, and preparing it."""


OVER = "invalid_grant"
"""What Google says of a login that was revoked or has ended. Another no is about the OAuth client, and not about it."""


class _Over(Refused):
    """The login opens nothing any more."""


class Guard:
    """One call: whether it was let in, or found no login, and what is to be said of its login where it was not."""

    authenticated = False
    found_none = False
    """Another call's cgpu may have deleted it, and that call may have put it back since."""

    verdict: ExecutorError | None = None


class CgpuLogin:
    """The login that cgpu has saved, for the target at `address`. Raises Refused when its configuration is damaged."""

    def __init__(self, address: Address) -> None:
        self._address = address
        config = cgpu_config(address)
        folder = Path(config["storageDir"]) if config.get("storageDir") else address.cgpu / "state"
        self._file, self._ours = folder / "session.json", folder / "offload"
        self._copy = self._ours / "session.json"

    @contextmanager
    def guarded(self) -> Iterator[Guard]:
        """Around a call. Raises Refused when nobody is logged in."""
        guard, lock = Guard(), self._enter()
        try:
            yield guard
        finally:
            try:
                if not guard.authenticated and (guard.found_none or not self._file.exists()):
                    guard.verdict = self._mend()
            finally:
                self._leave(lock)

    @contextmanager
    def cold(self) -> Iterator[None]:
        """Let nobody else be the first to take a runtime. Raises Unreachable when somebody else is for very long."""
        said = f"{self._address.name}: another command has been taking a runtime through cgpu for very long"
        with locks.alone(self._open("cold"), COLD_SECONDS, Unreachable(said, step=RUNTIME)):
            yield

    def _enter(self) -> int:
        if not (self._file.exists() or self._ours.exists()):
            raise self._not_logged_in()
        lock = self._open("lock")
        try:
            said = f"{self._address.name}: other calls of cgpu have been failing for very long"
            locks.wait(partial(self._is_in, lock), WAIT_SECONDS, Unreachable(said, step=LOGIN))
        except BaseException:
            os.close(lock)
            raise
        return lock

    def _is_in(self, lock: int) -> bool:
        """Whether the file is there, or could be put back; not while calls are under way that may do so."""
        if not self._file.exists():
            if not locks.lock_now(lock, fcntl.LOCK_EX):
                return False
            self._restore()  # by the copy of one that was killed in a call
            if not self._file.exists():
                raise self._not_logged_in()
        fcntl.flock(lock, fcntl.LOCK_SH)
        return self._save()

    def _save(self) -> bool:
        """Save a copy, unless there is the same. False where there is nothing to save any more."""
        try:
            session = self._file.read_bytes()
        except FileNotFoundError:
            return False
        with suppress(FileNotFoundError):
            if self._copy.read_bytes() == session:
                return True
        _draft(session, self._copy).replace(self._copy)
        return True

    def _mend(self) -> ExecutorError | None:
        verdict = self._judged()
        if isinstance(verdict, _Over):
            self._copy.unlink(missing_ok=True)
        else:
            self._restore()
        return verdict

    def _judged(self) -> ExecutorError | None:
        """What Google's token page says of the login. It cannot be said to be over by anybody else."""
        name = self._address.name
        try:
            client = Client.of_cgpu(self._address)
            token = json.loads(self._copy.read_bytes())["refreshToken"]
            if client is not None:
                ask(self._address, client, grant_type="refresh_token", refresh_token=str(token))
        except Denied as error:
            said = f"{name}: Google does not take the login of cgpu: {error}"
            if str(error) == OVER:
                return _Over(said, step=LOGIN, hint=CONNECT)
            return Refused(said, step=LOGIN, hint=f"mend its OAuth client in {self._address.cgpu / 'config.json'}")
        except NotInstalled:  # by which it is asked: then nobody knows
            return None
        except ExecutorError as error:
            return Unreachable(str(error), step=error.step)
        except (OSError, ValueError, LookupError):
            return self._not_logged_in()
        return Unreachable(f"{name}: cgpu could not reach Google for a moment", step=LOGIN)

    def _restore(self) -> None:
        """Put the file back, unless somebody has logged in again."""
        with suppress(FileNotFoundError):  # another call has put it back, and was the last
            draft = _draft(self._copy.read_bytes(), self._file)
            try:
                with suppress(FileExistsError):
                    self._file.hardlink_to(draft)
            finally:
                draft.unlink()

    def _leave(self, lock: int) -> None:
        """Who leaves last needs no copy any more: a file that is gone from now on was deleted by a person."""
        try:
            if locks.lock_now(lock, fcntl.LOCK_EX):
                self._copy.unlink(missing_ok=True)
        finally:
            os.close(lock)

    def _open(self, name: str) -> int:
        return locks.opened(self._ours / name, self._address.name, LOGIN)

    def _not_logged_in(self) -> Refused:
        return Refused(f"{self._address.name}: cgpu is not logged in to Colab", step=LOGIN, hint=CONNECT)


def _draft(data: bytes, beside: Path) -> Path:
    """A file of that content beside another, durable and for our eyes only."""
    draft = beside.with_name(f".{beside.name}.{secrets.token_hex(4)}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    return draft
