"""The models of the catalogue."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query

from broker.models import catalogue
from broker.targets import LOCAL
from server import problems
from server.desk import Desk, desk
from server.schemas import Model, Models
from services.base.overview import model_rows

router = APIRouter(prefix="/v1", tags=["models"])

Service = Annotated[str, Query(max_length=100, examples=["transcribe"])]


@router.get("/models", response_model=Models, operation_id="list_models", responses=problems.refusals())
def list_models(at: Annotated[Desk, Depends(desk)], service: Service = "") -> Models:
    """The models that a job may name, of one service if it is given, and whether this machine has all of each."""
    offered = {entry.source for entry in catalogue.entries()}
    with at.broker() as broker:
        rows = [*model_rows(at.settings, service, broker.targets[LOCAL])]
    return Models(data=[_told(row) for row in rows if row["source"] in offered])


def _told(row: dict[str, Any]) -> Model:
    return Model.model_validate({**row, "id": row["name"], "here": row["here"] == "yes"})
