"""What a person should see to, told until that is done: a journal that was set aside, results whose job is lost.

Neither is ever deleted by itself: each comes with the command that does it, or that tells more.
"""

from __future__ import annotations

from collections.abc import Iterator

from broker.broker import Broker
from server import folders
from server.schemas import Notice
from services.base.text import plain, shell


def notices(broker: Broker) -> list[Notice]:
    """All there are, in short."""
    lost = list(results(broker))
    many = f"{len(lost)} folders in {folders.place(broker.settings)} hold results of jobs that are in no journal"
    return [*journals(broker), *(lost if len(lost) < 2 else [Notice(said=plain(many), command="offload doctor")])]


def journals(broker: Broker) -> Iterator[Notice]:
    """Journals that were damaged. What was over then is known to nobody else."""
    for file in broker.journal.set_aside():
        said = f"the journal was damaged, and a new one begun: jobs that were over then are only in {file}"
        tails = (file.with_name(f"{file.name}{tail}") for tail in ("", "-wal", "-shm"))
        yield Notice(said=plain(said), command=shell(["rm", *(str(one) for one in tails if one.exists())]))


def results(broker: Broker) -> Iterator[Notice]:
    """Folders with results of jobs that are in no journal."""
    for folder in folders.lost(broker):
        said = f"{folder} holds results of a job that is in no journal"
        yield Notice(said=plain(said), command=shell(["rm", "-r", str(folder)]))
