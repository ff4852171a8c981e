"""Logging in to Google in a browser: PKCE (RFC 7636), with the answer sent to a port of this machine (RFC 8252)."""

from __future__ import annotations

import base64
import hashlib
import queue
import secrets
import socketserver
import threading
import webbrowser
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from urllib.parse import parse_qsl, urlencode, urlsplit

from executors.base import Refused
from executors.colab.address import Address
from executors.colab.client import Client, Denied, Granted, ask
from executors.colab.login import Key, needs_login, save
from executors.colab.places import LOGIN, SCOPES

LIMIT_SECONDS = 300.0
"""How long a person may take."""

POLL_SECONDS = 0.05

IN_THE_TERMINAL = frozenset({"www-browser", "links", "elinks", "lynx", "w3m"})
"""Browsers that would take the terminal, and could not show Google's page."""

Say = Callable[[str], None]
Answer = Mapping[str, str]


def log_in(address: Address, say: Say, *, show: bool = True, limit: float = LIMIT_SECONDS) -> str:
    """Let a person log in, and save the login. Returns the account's address, empty where Google does not tell it.

    The page's url is said, and opened in a browser if `show`. Raises Refused when the person, or Google, did not agree
    within `limit` seconds, Unreachable when Google's token page cannot be asked. A login of before stays until then.
    """
    client = Client.of(address)
    verifier = secrets.token_urlsafe(64)
    with _listening() as listener:
        url = _url(address, client, listener, verifier)
        say("log in to Google on this page:")
        say(url)
        if not (show and _opened(url)):
            port = listener.server_address[1]
            say(f"a browser on another machine has to be led here first: ssh -L {port}:127.0.0.1:{port} THIS-MACHINE")
        code = _code(address, listener.answers, limit)
    granted = _exchange(address, client, code, verifier, listener.place)
    _check(address, granted)
    save(address, Key(client, granted.refresh_token), granted)
    return granted.who


def _url(address: Address, client: Client, listener: _Listener, verifier: str) -> str:
    challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
    query = {
        "client_id": client.client_id,
        "redirect_uri": listener.place,
        "response_type": "code",
        "scope": SCOPES,
        "code_challenge": challenge,
        "code_challenge_method": "S256",
        "state": listener.state,
        "access_type": "offline",  # with a refresh token, ...
        "prompt": "consent",  # ... also when this account has agreed before
    }
    return f"{address.places.login_page}?{urlencode(query)}"


def _opened(url: str) -> bool:
    """Open a page in the user's browser, if there is one that can show it."""
    try:
        browser = webbrowser.get()
    except webbrowser.Error:
        return False
    if getattr(browser, "basename", "") in IN_THE_TERMINAL:
        return False
    # In a thread: some come back only when they are closed.
    threading.Thread(target=browser.open, args=[url], daemon=True).start()
    return True


def _code(address: Address, answers: queue.Queue[Answer], limit: float) -> str:
    try:
        answer = answers.get(timeout=limit)
    except queue.Empty:
        raise needs_login(address, f"nobody logged in within {limit:g} s") from None
    if "code" in answer:
        return answer["code"]
    if answer.get("error") == "access_denied":
        raise needs_login(address, "access was not allowed on Google's page")
    raise needs_login(address, "Google's page sent an error, and no login")


def _exchange(address: Address, client: Client, code: str, verifier: str, place: str) -> Granted:
    try:
        return ask(
            address, client, grant_type="authorization_code", code=code, code_verifier=verifier, redirect_uri=place
        )
    except Denied as error:
        raise needs_login(address, f"Google does not complete the login: it answers {error}") from error


def _check(address: Address, granted: Granted) -> None:
    """See that all was given that the work needs. Google spells the names of an account's scopes in other ways."""
    needed = {scope for scope in SCOPES.split() if scope.startswith("https:")}
    missing = needed - granted.scopes if granted.scopes is not None else set()
    if missing:
        said = f"the login does not give access to {', '.join(sorted(missing))}: leave its box on Google's page ticked"
        raise needs_login(address, said)
    if not granted.refresh_token:
        hint = "https://myaccount.google.com/permissions"
        said = f"{address.name}: Google gave a login for an hour only: remove this client's access there, and try again"
        raise Refused(said, step=LOGIN, hint=hint)


class _Listener(socketserver.ThreadingTCPServer):
    """A port of this machine, to which Google's page sends the browser with its answer to the question `state`."""

    daemon_threads = True  # browsers open connections to be ready, and say nothing on them

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Callback)
        self.state = secrets.token_urlsafe(32)
        self.answers: queue.Queue[Answer] = queue.Queue()
        self.place = f"http://127.0.0.1:{self.server_address[1]}/"

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of a browser that hung up: it, or another, may come again."""


@contextmanager
def _listening() -> Iterator[_Listener]:
    with _Listener() as listener:
        thread = threading.Thread(target=listener.serve_forever, args=[POLL_SECONDS], daemon=True)
        thread.start()
        try:
            yield listener
        finally:
            listener.shutdown()
            thread.join()


class _Callback(BaseHTTPRequestHandler):
    """What the browser meets when Google's page has sent it back to us."""

    server: _Listener

    def do_GET(self) -> None:
        """Show what became of it, then hand the answer on: the command may end at once."""
        url = urlsplit(self.path)
        answer = dict(parse_qsl(url.query))
        if url.path != "/":
            self._show(404, "There is nothing here.")
        elif not self._ours(answer):
            self._show(400, "This is not the answer to a login that was begun here. Begin again in the terminal.")
        else:
            came = "Google has answered" if "code" in answer else "You are not logged in"
            self._show(200, f"{came}. You may close this page, and go back to the terminal.")
            self.server.answers.put(answer)

    def _ours(self, answer: Answer) -> bool:
        """Whether it answers our question: other pages may send a browser here, too."""
        state = secrets.compare_digest(answer.get("state", "").encode(), self.server.state.encode())
        return state and bool(answer.keys() & {"code", "error"})

    def _show(self, status: int, text: str) -> None:
        page = f"<!doctype html><meta charset=utf-8><title>offload</title><p>{text}</p>".encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(page)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(page)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name in the base class
        """Say nothing: a request's path holds the code."""
