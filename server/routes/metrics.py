"""Figures for Prometheus."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST

from server import problems
from server.desk import Desk, desk
from server.examples import METRICS, answer

router = APIRouter(tags=["server"])


@router.get(
    "/metrics",
    operation_id="metrics",
    response_class=Response,
    responses=answer("Figures", "text/plain", METRICS) | problems.refusals(),
)
def metrics(request: Request, at: Annotated[Desk, Depends(desk)]) -> Response:
    """Figures in Prometheus' text format: jobs, attempts, targets and requests."""
    with at.broker() as broker:
        return Response(request.app.state.metrics.text(broker), media_type=CONTENT_TYPE_LATEST)
