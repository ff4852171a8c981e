"""The places a job can run."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Path

from server import problems
from server.desk import Desk, desk
from server.schemas import Checkup, Step, Target
from services.base.checkup import checkup
from services.base.overview import target_row
from services.base.text import plain, typed

router = APIRouter(prefix="/v1/targets", tags=["targets"])

Name = Annotated[str, Path(max_length=200, examples=["local"])]


@router.get("", response_model=list[Target], operation_id="list_targets", responses=problems.refusals())
def list_targets(at: Annotated[Desk, Depends(desk)]) -> list[Target]:
    """The targets in the order they are tried. One that does not answer is asked again after a while only."""
    with at.broker() as broker:
        return [Target.model_validate(target_row(candidate)) for candidate in broker.plan("auto", 0)]


@router.post("/{name}/test", response_model=Checkup, operation_id="test_target", responses=problems.refusals(404))
def test_target(name: Name, at: Annotated[Desk, Depends(desk)]) -> Checkup:
    """Go through all a target needs, and tell what to type at the first thing that fails. This may take a minute."""
    with at.broker() as broker:
        target = broker.targets.get(name)
        if target is None:
            said = f"no target named {plain(name)!r}; there are: {', '.join(broker.targets)}"
            raise problems.NotFound(said, "GET /v1/targets")
        steps = [
            Step(name=step.name, ok=step.ok, said=step.said, hint=typed(step.hint)) for step in checkup(broker, target)
        ]
    return Checkup(target=name, ok=all(step.ok for step in steps), steps=steps)
