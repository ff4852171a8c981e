"""Services: what can be asked for, and with which parameters."""

from __future__ import annotations

from fastapi import APIRouter

import services
from server import parameters, schemas
from server.problems import refusals

router = APIRouter(prefix="/v1", tags=["services"])


@router.get(
    "/services",
    response_model=list[schemas.Service],
    operation_id="list_services",
    summary="What can be asked for",
    responses=refusals(),
)
def every() -> list[schemas.Service]:
    """Every service, with the JSON schema of its parameters: what a form can be made of."""
    return [_told(services.find(name)) for name in services.names()]


def _told(service: services.Service) -> schemas.Service:
    return schemas.Service(
        name=service.name,
        summary=service.summary,
        accepts=sorted(service.accepts),
        makes=list(service.makes),
        contract="bytes" if service.contract == "bytes" else "close",
        params=parameters.schema(service),
    )
