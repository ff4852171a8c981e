"""Logging in: a one-time code for a cookie."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Response

from server import problems, running
from server.access import COOKIE_SECONDS, Guessed
from server.desk import Desk, desk
from server.guard import cookie_name
from server.schemas import Link
from server.wishes import Code

router = APIRouter(prefix="/v1", tags=["session"])

ASK_AGAIN = "offload serve --link prints a new one"


@router.post("/session", status_code=204, operation_id="log_in", responses=problems.refusals(429))
def log_in(code: Code, response: Response, at: Annotated[Desk, Depends(desk)]) -> None:
    """Log in: a code, which is good once, for a cookie."""
    try:
        cookie = at.access.redeem(code.code)
    except Guessed as error:
        raise problems.Refusal(429, str(error), ASK_AGAIN, {"Retry-After": str(error.seconds)}) from error
    if cookie is None:
        raise problems.Refusal(401, "this login link was used, or is too old", ASK_AGAIN)
    response.set_cookie(
        cookie_name(at.port), cookie, max_age=COOKIE_SECONDS, path="/", httponly=True, samesite="strict"
    )


@router.delete("/session", status_code=204, operation_id="log_out", responses=problems.refusals())
def log_out(response: Response, at: Annotated[Desk, Depends(desk)]) -> None:
    """Log out: forget the cookie."""
    response.delete_cookie(cookie_name(at.port), path="/", httponly=True, samesite="strict")


@router.post("/links", response_model=Link, status_code=201, operation_id="make_link", responses=problems.refusals())
def make_link(at: Annotated[Desk, Depends(desk)]) -> Link:
    """Make a login link, to be opened in a browser within ten minutes."""
    return Link(link=running.link(at.port, at.access.code()))
