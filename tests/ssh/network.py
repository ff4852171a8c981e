"""Two machines and a router between them, in network namespaces: a router that can drop every packet, silently."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.executors.sshd import Server

NEAR, FAR = "10.77.1.1", "10.77.2.1"
RATE, SLOW = "200mbit", "10mbit"
"""Of the link, and of one on which 20 MB are for a long time on their way."""

SETUP = """
link add near type veth peer name wire netns {near}
link add far type veth peer name wire netns {far}
addr add 10.77.1.2/30 dev near
addr add 10.77.2.2/30 dev far
link set near up
link set far up
"""
END = """
addr add {address}/30 dev wire
link set wire up
link set lo up
route add default via {router}
"""


class Network:
    """The near machine, where commands are typed, and the far one, at the address FAR."""

    def __init__(self) -> None:
        self.names = {name: f"offload-{os.getpid()}-{name}" for name in ("near", "far", "router")}

    def make(self) -> None:
        """Make the namespaces and the links. Raises CalledProcessError where that is not allowed."""
        for name in self.names.values():
            _ip("netns", "add", name)
        _ip("-n", self.names["router"], "-batch", "-", said=SETUP.format(**self.names))
        self._inside("router", "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")
        for name, address in (("near", NEAR), ("far", FAR)):
            router = address[:-1] + "2"
            lines = (
                f"addr add {address}/30 dev wire\nlink set wire up\nlink set lo up\nroute add default via {router}\n"
            )
            _ip("-n", self.names[name], "-batch", "-", said=lines)
            self._shape("add", name, RATE)

    def remove(self) -> None:
        """Remove what `make` made, as far as it came."""
        for name in self.names.values():
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)

    def on(self, machine: str) -> tuple[str, ...]:
        """The words before a command that make it run on a machine: near or far."""
        return ("ip", "netns", "exec", self.names[machine])

    def drop(self) -> None:
        """Let the router drop every packet from now on."""
        for address in (NEAR, FAR):
            _ip("-n", self.names["router"], "route", "add", "blackhole", f"{address}/32")

    def carry(self) -> None:
        """Let the router do its work again, and the link be fast."""
        for name in ("near", "far"):
            self._shape("change", name, RATE)
        _ip("-n", self.names["router"], "route", "flush", "type", "blackhole")

    def slow(self) -> None:
        """Let the link be slow from now on."""
        for name in ("near", "far"):
            self._shape("change", name, SLOW)

    @property
    def sent(self) -> int:
        """Bytes that the near machine has sent."""
        (link,) = json.loads(_ip("-n", self.names["near"], "-s", "-j", "link", "show", "wire"))
        return int(link["stats64"]["tx"]["bytes"])

    def _shape(self, verb: str, machine: str, rate: str) -> None:
        shape = f"qdisc {verb} dev wire root tbf rate {rate} burst 256k latency 100ms"
        self._inside(machine, "tc", *shape.split())

    def _inside(self, machine: str, *words: str) -> None:
        subprocess.run([*self.on(machine), *words], check=True, capture_output=True)


def _ip(*words: str, said: str = "") -> str:
    return subprocess.run(["ip", *words], check=True, capture_output=True, input=said, text=True).stdout


@contextmanager
def network() -> Iterator[Network]:
    """Make a network; skips, with the reason, where that is not possible."""
    if os.geteuid() != 0 or shutil.which("ip") is None or shutil.which("tc") is None:
        pytest.skip("network namespaces need root, and ip and tc of iproute2")
    made = Network()
    try:
        try:
            made.make()
        except subprocess.CalledProcessError as error:
            pytest.skip(f"no network can be made here: {error.stderr}")
        yield made
    finally:
        made.remove()


class FarServer(Server):
    """An sshd on the far machine."""

    def __init__(self, folder: Path, network: Network, environment: dict[str, str]) -> None:
        super().__init__(folder, environment, network.on("far"), FAR)
