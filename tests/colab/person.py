"""Somebody who logs in: a browser that goes to the page it is told, and on to wherever that sends it.

As a program, `person.py URL`, it is a browser for $BROWSER.
"""

from __future__ import annotations

import sys
import threading
from urllib.parse import parse_qs, urlsplit

import httpx


def visit(url: str) -> httpx.Response:
    """Go to a page, and on to where it sends us."""
    with httpx.Client(trust_env=False, timeout=60, follow_redirects=True) as browser:
        return browser.get(url)


class Person:
    """What a login speaks to. `said` is all it said, `pages` are the pages that were shown.

    `first` are paths and queries to visit at the address that the login listens at, before the person logs in.
    """

    def __init__(self, *first: str) -> None:
        self.said: list[str] = []
        self.pages: list[httpx.Response] = []
        self._first = first
        self._threads: list[threading.Thread] = []

    def __call__(self, text: str) -> None:
        self.said.append(text)
        if text.startswith("http"):
            self._threads.append(threading.Thread(target=self._browse, args=[text]))
            self._threads[-1].start()

    def _browse(self, url: str) -> None:
        place = parse_qs(urlsplit(url).query)["redirect_uri"][0]
        for path in self._first:
            self.pages.append(visit(place + path))
        self.pages.append(visit(url))

    def done(self) -> list[httpx.Response]:
        """All pages, once they are shown."""
        for thread in self._threads:
            thread.join()
        return self.pages


if __name__ == "__main__":
    visit(sys.argv[1])
