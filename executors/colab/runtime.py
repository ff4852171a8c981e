"""The one runtime of a target: found, taken or given back under a lock, and remembered before it is asked for.

state/runtime.lock    held by who takes, finds or gives back
state/runtime.used    its age is that of the last use
state/runtime.reached it has been reached since it was taken
state/runtime.json    the hash that a runtime was or is being taken for: Colab finds the runtime by it, so one that a
                      killed command had just asked for is not lost
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

from executors.base import Gone, NoMachine, NoQuota, Refused, Unreachable
from executors.colab import files, locks
from executors.colab.address import Address
from executors.colab.places import QUOTA, RUNTIME, new_hash

if TYPE_CHECKING:  # it needs httpx, and to remember needs nothing
    from executors.colab.control import Assigned, Control, Usage

LOCK_SECONDS = 300.0
"""Somebody else may be taking the runtime, for as long as that takes."""

SESSIONS = "https://colab.research.google.com (Runtime, Manage sessions)"

BEST = ("A100", "L4", "T4")
"""Kinds of GPU that are known, the best first. What else there may be comes after them."""


@dataclass(frozen=True)
class Record:
    """What is remembered of a runtime. `taken` is in epoch seconds; `endpoint` is empty until Colab has named it."""

    nbh: str
    gpu: str
    taken: float
    endpoint: str = ""


class Runtime:
    """The runtime of the target at `address`."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._file = address.state / "runtime.json"
        self._mark, self._reached = address.state / "runtime.used", address.state / "runtime.reached"

    @property
    def record(self) -> Record | None:
        """What is remembered. Raises Refused when it cannot be read: then a runtime may be held that we cannot name."""
        try:
            said = json.loads(self._file.read_text("utf-8"))
            nbh, gpu, endpoint = (str(said[key]) for key in ("nbh", "gpu", "endpoint"))
            return Record(nbh, gpu, float(said["taken"]), endpoint)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, LookupError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is damaged"
            said = f"{self._address.name}: {self._file}, which says what runtime is held, cannot be read: {why}"
            raise Refused(said, step=RUNTIME, hint=f"end it on {SESSIONS}, then delete that file") from error

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Let nobody else take, find or give back. Raises Unreachable when somebody else does for very long."""
        name = self._address.name
        late = Unreachable(f"{name}: another command has been taking its runtime for very long", step=RUNTIME)
        with locks.alone(locks.opened(self._address.state / "runtime.lock", name, RUNTIME), LOCK_SECONDS, late):
            yield

    def find(self, control: Control) -> Assigned | None:
        """The runtime that was taken, if it is still ours; else it is forgotten. To be called under the lock."""
        record = self.record
        found = self._alive(control, record) if record else None
        if record is None or found is None:
            self.forget()
            return None
        if not record.endpoint:
            self._write(replace(record, endpoint=found.endpoint))
        return found

    def _alive(self, control: Control, record: Record) -> Assigned | None:
        if not record.endpoint:
            return control.find(record.nbh, record.gpu)
        return next((one for one in control.assignments() if one.endpoint == record.endpoint), None)

    def take(self, control: Control) -> Assigned:
        """Take a runtime. To be called under the lock. Raises NoQuota or Refused."""
        kinds = self.kinds(control, control.usage())
        for kind in kinds[:-1]:
            with suppress(NoMachine):  # of that kind at present: a lesser one may do
                return self._take(control, kind)
        return self._take(control, kinds[-1])

    def _take(self, control: Control, gpu: str) -> Assigned:
        record = Record(new_hash(), gpu, time.time())
        self._reached.unlink(missing_ok=True)
        self._write(record)
        try:
            found = control.assign(record.nbh, gpu)
        except (NoQuota, Refused):
            self.forget()  # it was not given
            raise
        self._write(replace(record, endpoint=found.endpoint))
        return found

    def kinds(self, control: Control, usage: Usage) -> Sequence[str]:
        """The kinds of GPU to ask for, one after the other. Raises Refused or NoQuota."""
        if usage.used_up:
            raise control.used_up(usage)
        name, wanted, offered = self._address.name, self._address.gpu, sorted(usage.gpus, key=_rank)
        if wanted and wanted not in offered:
            may = f"it may have {', '.join(offered)}" if offered else "it may have none at present"
            said = f"{name}: this account may not have a {wanted}: {may}"
            raise Refused(said, step=QUOTA, hint=f"set gpu of {name} in targets.toml, or leave it out")
        if not offered:
            raise NoQuota(f"{name}: Colab offers this account no GPU at present", step=QUOTA)
        if wanted:
            return [wanted]
        # Who pays by the hour is not to find the dearest machine taken without having asked for it.
        return offered[::-1] if usage.paid else offered

    @property
    def started(self) -> float:
        """When it was taken, in epoch seconds, while nobody has reached it yet; then 0, as for none."""
        record = self.record
        return 0.0 if record is None or self._reached.exists() else record.taken

    def answers(self) -> None:
        """Remember that it has been reached. Without a mark it is waited for a little longer than it need be."""
        with suppress(OSError):
            self._reached.touch()

    @property
    def used(self) -> float:
        """When it was last used, in epoch seconds; 0 where that is not known."""
        try:
            return self._mark.stat().st_mtime
        except OSError:
            return 0.0

    def use(self) -> None:
        """Remember that it is being used. Without a mark it counts as used when it was taken."""
        with suppress(OSError):
            self._mark.touch()

    def forget(self) -> None:
        """Remember no runtime: there is none."""
        self._file.unlink(missing_ok=True)

    def gone(self, endpoint: str) -> Gone:
        """The error of a runtime that is ours no more; of none where there was none."""
        name = self._address.name
        if not endpoint:
            return Gone(f"{name}: it holds no runtime any more", step=RUNTIME)
        said = f"{name}: Colab has taken the runtime {endpoint} back; what was not downloaded is lost with it"
        return Gone(said, step=RUNTIME)

    def _write(self, record: Record) -> None:
        files.write(self._address, self._file.name, asdict(record), RUNTIME)


def _rank(gpu: str) -> tuple[int, str]:
    return (BEST.index(gpu) if gpu in BEST else len(BEST), gpu)
