"""The models of the catalogue."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query

from broker.models import catalogue
from broker.targets import LOCAL
from server import problems
from server.desk import Desk, desk
from server.schemas import Model
from services.base.overview import model_rows

router = APIRouter(prefix="/v1", tags=["models"])

Service = Annotated[str, Query(max_length=100, examples=["transcribe"])]


@router.get("/models", response_model=list[Model], operation_id="list_models", responses=problems.refusals())
def list_models(at: Annotated[Desk, Depends(desk)], service: Service = "") -> list[Model]:
    """The models that a job may name, of one service if it is given, and whether this machine has all of each."""
    offered = {entry.source for entry in catalogue.entries()}
    with at.broker() as broker:
        rows = [*model_rows(at.settings, service, broker.targets[LOCAL])]
    return [Model.model_validate({**row, "here": row["here"] == "yes"}) for row in rows if row["source"] in offered]
