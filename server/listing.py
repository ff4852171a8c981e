"""The list of jobs in pages: each tells where the next one begins, whatever is removed or made in between."""

from __future__ import annotations

from typing import Any

from starlette.datastructures import URL

from broker.broker import Broker
from broker.job import State
from broker.journal import OPEN
from server import schemas, snapshots

MARK = r"^[0-9]{1,18}$"
"""What a place in the list looks like."""

PAGE: dict[str, Any] = {
    "description": "A page of them",
    "headers": {
        "Link": {"schema": {"type": "string"}, "description": "where the next page is (RFC 8288), if there is one"}
    },
}


def page(broker: Broker, limit: int, service: str | None, only: str | None, before: str | None) -> schemas.Jobs:
    """The latest jobs, or those that come after the place `before`: `limit` at most."""
    states = OPEN if only == "open" else (State(only),) if only else ()
    driven = broker.drivers()  # asked first, as `standing.state` wants it
    with broker.journal.looking():
        found = broker.journal.placed(limit + 1, service, states, int(before) if before else None)
        told, more = [*found][:limit], len(found) > limit
        rows = [snapshots.row(broker, found[place], driven) for place in told]
    return schemas.Jobs(jobs=rows, more=more, before=f"{told[-1]}" if more else None)


def links(asked: URL, page: schemas.Jobs) -> dict[str, str]:
    """The headers that lead from a page to the next."""
    after = asked.include_query_params(before=page.before)
    return {"Link": f'<{after.path}?{after.query}>; rel="next"'} if page.more else {}
