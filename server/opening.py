"""Brokers of the server: what one has to say before all else goes to the server's log, once."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

from broker.broker import Broker
from broker.settings import Settings

MOST_SAID = 1000

log = logging.getLogger("offload.server")


@contextmanager
def opened(settings: Settings) -> Iterator[Broker]:
    """An open broker, for one thread."""
    with Broker(settings) as broker:
        for notice in broker.notices:
            say(notice)
        yield broker


@lru_cache(MOST_SAID)
def say(notice: str) -> None:
    """Have a sentence in the server's log, however often it comes up."""
    log.warning("%s", notice)
