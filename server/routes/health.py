"""That the server serves."""

from __future__ import annotations

from importlib.metadata import version
from typing import Annotated

from fastapi import APIRouter, Depends

from server import problems
from server.desk import Desk, desk
from server.schemas import Health

router = APIRouter(prefix="/v1", tags=["server"])


@router.get("/health", response_model=Health, operation_id="health", responses=problems.refusals())
def health(at: Annotated[Desk, Depends(desk)]) -> Health:
    """The server's version, and how many jobs are not over."""
    with at.broker() as broker:
        return Health(version=version("offload-broker"), open_jobs=broker.journal.totals.open_jobs())
