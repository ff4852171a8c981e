"""Plans: where a job would run, and why, before it is asked for."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends

from server import schemas, submission, wishes
from server.desk import Desk, desk
from server.problems import refusals

router = APIRouter(prefix="/v1", tags=["jobs"])


@router.post(
    "/plan",
    response_model=schemas.Plan,
    operation_id="plan_job",
    summary="Where a job would run, and why",
    responses=refusals(409, 413, 415, 424, 503, 507),
)
def plan(sketch: wishes.Sketch, at: Annotated[Desk, Depends(desk)]) -> schemas.Plan:
    """Where a job would run, and why. Nothing is done.

    Inputs need not be uploaded yet: a name and a size will do, and the plan is better once they are.
    """
    with at.broker() as broker:
        return submission.plan(at, broker, sketch)
