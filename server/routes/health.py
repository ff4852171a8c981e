"""That the server serves."""

from __future__ import annotations

from importlib.metadata import version
from typing import Annotated

from fastapi import APIRouter, Depends

from server import problems
from server.desk import Desk, desk
from server.notices import notices
from server.schemas import Health

router = APIRouter(prefix="/v1", tags=["server"])


@router.get("/health", response_model=Health, operation_id="health", responses=problems.refusals())
def health(at: Annotated[Desk, Depends(desk)]) -> Health:
    """The server's version, how many jobs are not over, and what a person should see to."""
    with at.broker() as broker:
        found, open_jobs = notices(broker), broker.journal.totals.open_jobs()
    return Health(version=version("offload-broker"), open_jobs=open_jobs, notices=found)
