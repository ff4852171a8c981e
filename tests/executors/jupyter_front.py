"""What may stand between us and a Jupyter server: a proxy that passes on, or answers itself, whatever a test wants."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.executors.jupyter_server import Server


@dataclass
class Request:
    """A request on its way to the server; what is changed in it, the server sees changed."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes = b""

    @property
    def upgrades(self) -> bool:
        """Whether it asks for a websocket."""
        return self.headers.get("Upgrade", "").lower() == "websocket"


@dataclass(frozen=True)
class Reply:
    """An answer in the server's place."""

    status: int
    body: bytes = b""
    kind: str = "text/html"
    location: str = ""


HANG_UP = Reply(0)
"""No answer at all."""

Rule = Callable[[Request], Reply | None]


class Front:
    """A port that leads to a server. `rule` sees each request first, `seen` are those there were."""

    def __init__(self, server: Server, tls: ssl.SSLContext | None = None) -> None:
        self.server = server
        self.rule: Rule = lambda request: None
        self.seen: list[Request] = []
        self.tunnels: list[socket.socket] = []
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._http.daemon_threads = True
        self.scheme = "https" if tls else "http"
        if tls:
            self._http.socket = tls.wrap_socket(self._http.socket, server_side=True)
        self.port = int(self._http.server_address[1])
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def options(self, **changed: object) -> dict[str, str]:
        """A target's options for the server behind."""
        return self.server.options(**{"url": f"jupyter+{self.scheme}://127.0.0.1:{self.port}/", **changed})

    def cut(self) -> None:
        """Break all websockets; new ones can be made."""
        tunnels, self.tunnels = self.tunnels, []
        for end in tunnels:
            with suppress(OSError):  # it may have ended by itself
                end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Take it away."""
        self._http.shutdown()
        self._http.server_close()
        self.cut()
        self._thread.join()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        front = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one_request(self) -> None:
                with suppress(OSError):  # who asked has left
                    super().handle_one_request()
                    return
                self.close_connection = True

            def pass_on(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                request = Request(self.command, self.path, dict(self.headers), body)
                front.seen.append(request)
                reply = front.rule(request)
                if reply is HANG_UP:
                    self.close_connection = True
                elif reply:
                    self.answer(reply)
                elif request.upgrades:
                    front.tunnel(request, self.connection)
                    self.close_connection = True
                else:
                    self.answer_of_server(request)

            do_GET = do_PUT = do_POST = do_DELETE = pass_on  # noqa: N815

            def answer(self, reply: Reply) -> None:
                self.send_response(reply.status)
                self.send_header("Content-Type", reply.kind)
                self.send_header("Content-Length", str(len(reply.body)))
                if reply.location:
                    self.send_header("Location", reply.location)
                self.end_headers()
                self.wfile.write(reply.body)

            def answer_of_server(self, request: Request) -> None:
                connection = HTTPConnection("127.0.0.1", front.server.port)
                connection.request(request.method, request.path, request.body, request.headers)
                answer = connection.getresponse()
                data = answer.read()
                self.send_response_only(answer.status)
                for name, value in answer.getheaders():
                    if name.lower() not in ("transfer-encoding", "connection", "content-length"):
                        self.send_header(name, value)
                if answer.status != 204:
                    self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)
                connection.close()

            def log_message(self, *args: object) -> None:
                """Say nothing."""

        return Handler

    def tunnel(self, request: Request, near: socket.socket) -> None:
        """Carry a websocket until either side ends it."""
        far = socket.create_connection(("127.0.0.1", self.server.port))
        lines = [f"GET {request.path} HTTP/1.1", *(f"{name}: {value}" for name, value in request.headers.items())]
        far.sendall("\r\n".join([*lines, "", ""]).encode())
        self.tunnels += [near, far]
        back = threading.Thread(target=_carry, args=(far, near), daemon=True)
        back.start()
        _carry(near, far)
        back.join()
        far.close()


def _carry(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):  # cut
        while data := source.recv(65536):
            target.sendall(data)
    for end in (source, target):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


@contextmanager
def front(server: Server, tls: ssl.SSLContext | None = None) -> Iterator[Front]:
    """Stand before a server."""
    standing = Front(server, tls)
    try:
        yield standing
    finally:
        standing.close()


def certificate(folder: Path) -> tuple[Path, ssl.SSLContext]:
    """A self-signed certificate of 127.0.0.1: its file, and what a server needs to show it."""
    import datetime
    import ipaddress

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "lab")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .sign(key, hashes.SHA256())
    )
    public, private = folder / "lab.pem", folder / "lab.key"
    public.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    plain = serialization.NoEncryption()
    private.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(public, private)
    return public, context
