"""A look at an SSH target, which logs nobody in, and what a target's options say of time."""

from __future__ import annotations

import socket
import sys
import threading
from pathlib import Path

import paramiko
import psutil
import pytest

from executors.base import NotInstalled, Refused
from executors.ssh import SSHExecutor, connection
from executors.ssh.address import SILENCE_SECONDS, Address
from tests.executors.sshd import Server, fingerprint, needs_sshd
from tests.executors.test_ssh_breaks import says
from tests.executors.test_ssh_trust import Way, _no_other_keys, entered, gate, known, other_key, refusal, server, way

__all__ = ["_no_other_keys", "gate", "server", "way"]

pytestmark = needs_sshd


def test_without_its_packages_a_target_is_not_away_and_says_what_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "executors.ssh.connection", None)
    monkeypatch.delattr("executors.ssh.connection", raising=False)
    probe = SSHExecutor("box", {"url": "ssh://127.0.0.1:1"}).probe(1.0)
    assert (probe.reachable, probe.away, probe.exit_code) == (False, False, NotInstalled.exit_code)
    assert probe.hint == "pip install 'offload-broker[ssh]'"


def test_a_look_tells_an_untrusted_key_as_entering_does(server: Server, tmp_path: Path) -> None:
    for file in (str(tmp_path / "empty"), known(tmp_path / "known", server, other_key(tmp_path))):
        options = server.options(known_hosts=file)
        probe = SSHExecutor("my-box", options).probe(60.0)
        assert f"my-box: {probe.reason}" == refusal(options)
        assert (probe.step, probe.exit_code, probe.away) == ("host key", Refused.exit_code, False)


def test_a_look_at_a_hop_tells_its_key_by_its_name(way: Way) -> None:
    way.know(way.server)
    probe = SSHExecutor("my-box", way.options).probe(60.0)
    assert (probe.step, probe.exit_code) == ("host key of gate", Refused.exit_code)
    assert fingerprint(way.gate.host_key) in probe.reason


def transports() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if isinstance(thread, paramiko.Transport)}


def test_a_look_logs_nobody_in_and_leaves_nothing_open(server: Server) -> None:
    log = server.folder / "sshd.log"
    entered(**server.options())
    logins = log.read_text().count("Accepted publickey")
    assert logins > 0
    before = transports()
    assert SSHExecutor("my-box", server.options()).probe(60.0).reachable
    assert SSHExecutor("my-box", server.options(identity="")).probe(60.0).reachable
    for thread in transports() - before:
        thread.join(120)
        assert not thread.is_alive()
    assert psutil.wait_procs(server.sessions(), timeout=120)[1] == []
    assert log.read_text().count("Accepted publickey") == logins


def test_a_server_too_far_for_a_look_at_its_key_still_answers(server: Server, tmp_path: Path) -> None:
    with says(b"SSH-2.0-far_away\r\n", hang_up=False) as port:
        url = f"ssh://127.0.0.1:{port}"
        assert SSHExecutor("my-box", server.options(url=url)).probe(5.0).reachable


# What else an address says


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="this system has no such limit")
def test_silence_is_how_long_sent_bytes_may_stay_unanswered_and_something_is_sent_in_time(server: Server) -> None:
    for options, seconds in (({}, SILENCE_SECONDS), ({"silence": "2"}, 2)):
        open_ = connection.connect(Address.of("my-box", server.options(**options)))
        limit = open_.transport.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
        interval = open_.transport.packetizer._Packetizer__keepalive_interval
        connection.close(open_)
        assert (limit, interval) == (seconds * 1000, seconds / 2)


@pytest.mark.parametrize("option", ["silence", "connect_timeout"])
@pytest.mark.parametrize("value", ["soon", "", "0", "-1", "nan", "inf"])
def test_seconds_that_are_none_are_named(option: str, value: str) -> None:
    assert f"{option} is a number of seconds above 0, not {value!r}" in refusal({"url": "ssh://host", option: value})
