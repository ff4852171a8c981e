"""The application: routes, errors and guard, put together."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path

from fastapi import FastAPI
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from broker.settings import Settings
from server import problems
from server.access import Access
from server.desk import Desk
from server.guard import Guard, cookie_name
from server.routes import routers

PAGE = Path(__file__).with_name("page")


def create(settings: Settings, access: Access, port: int) -> ASGIApp:
    """The server's application, to be reached at 127.0.0.1 and localhost on `port`."""
    desk = Desk(settings, access, port)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        with desk.open():
            yield

    app = FastAPI(
        title="offload",
        version=version("offload-broker"),
        description="Run a heavy media job on the best machine you can reach, or here: same script, same output.",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
    )
    app.state.desk = desk
    problems.install(app)
    for router in routers():
        app.include_router(router)
    app.mount("/", StaticFiles(directory=PAGE, html=True))
    names = [f"{host}:{port}" for host in ("127.0.0.1", "localhost")]
    return Guard(app, access, names, cookie_name(port))
