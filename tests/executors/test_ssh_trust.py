"""Whom the SSH executor trusts, and as whom it logs in: known keys only, on every hop, and never a password."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from getpass import getuser
from pathlib import Path

import psutil
import pytest

from executors.base import Refused, Span, Unreachable
from executors.ssh import SSHExecutor, trust
from executors.ssh.address import Address
from tests.executors.sshd import Server, fingerprint, make_key, needs_sshd, public, sshd

pytestmark = needs_sshd


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with sshd(tmp_path_factory.mktemp("target")) as server:
        yield server


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with sshd(tmp_path_factory.mktemp("gate")) as server:
        yield server


@pytest.fixture(autouse=True)
def _no_other_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the agent, nor the keys, nor the known hosts of whoever runs the tests count."""
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    monkeypatch.setattr("executors.ssh.connection.DEFAULT_KEYS", ())
    monkeypatch.setattr(trust, "SYSTEM_FILES", ())


def entered(**options: str) -> str:
    """Enter, do something, leave; returns what a command said."""
    with SSHExecutor("my-box", options) as executor:
        return executor.run(["echo", "hello"]).stdout.decode()


def refusal(options: dict[str, str]) -> str:
    with pytest.raises(Refused) as refused:
        entered(**options)
    return str(refused.value)


def offered(options: dict[str, str]) -> trust.Offer | None:
    return trust.untrusted(Address.of("my-box", options))


def other_key(folder: Path) -> Path:
    return make_key(folder / "other")


def known(path: Path, server: Server, key: Path) -> str:
    path.write_text(f"[127.0.0.1]:{server.port} {public(key)}\n")
    return str(path)


def test_an_unknown_key_is_refused_with_its_fingerprint_and_the_command(server: Server, tmp_path: Path) -> None:
    said = refusal(server.options(known_hosts=tmp_path / "empty"))
    assert fingerprint(server.host_key) in said
    assert f"[127.0.0.1]:{server.port}" in said
    assert "offload targets trust my-box" in said


def test_a_changed_key_is_refused_with_both_fingerprints_and_no_word_of_trying_again(
    server: Server, tmp_path: Path
) -> None:
    old = other_key(tmp_path)
    said = refusal(server.options(known_hosts=known(tmp_path / "known", server, old)))
    assert fingerprint(old) in said
    assert fingerprint(server.host_key) in said
    assert "HAS CHANGED" in said
    assert not {"again", "retry"} & set(said.lower().split())


def test_a_key_once_trusted_is_known_and_its_file_is_private(server: Server, tmp_path: Path) -> None:
    file = tmp_path / "config" / "known_hosts"
    options = server.options(known_hosts=file)
    offer = offered(options)
    assert offer is not None
    assert (offer.fingerprint, offer.known) == (fingerprint(server.host_key), None)
    trust.pin(offer, file)
    assert offered(options) is None
    assert entered(**options) == "hello\n"
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.read_text() == f"[127.0.0.1]:{server.port} {public(server.host_key)}\n"


def test_trust_replaces_a_changed_key_and_keeps_the_others(server: Server, tmp_path: Path) -> None:
    old, file = other_key(tmp_path), tmp_path / "known"
    known(file, server, old)
    with file.open("a") as lines:
        lines.write(f"elsewhere {public(old)}\n")
    offer = offered(server.options(known_hosts=file))
    assert offer is not None
    assert offer.known == f"ssh-ed25519 {fingerprint(old)}"
    trust.pin(offer, file)
    assert entered(**server.options(known_hosts=file)) == "hello\n"
    assert f"elsewhere {public(old)}" in file.read_text()
    assert file.read_text().count("127.0.0.1") == 1
    assert [path.name for path in tmp_path.glob(".known_hosts*")] == []


def test_trust_leaves_no_key_of_another_kind(server: Server, tmp_path: Path) -> None:
    file, old = tmp_path / "known", tmp_path / "rsa"
    subprocess.run(["ssh-keygen", "-q", "-t", "rsa", "-b", "2048", "-N", "", "-f", str(old)], check=True)
    options = server.options(known_hosts=known(file, server, old))
    offer = offered(options)
    assert offer is not None
    assert (offer.known or "").startswith("ssh-rsa SHA256:")
    trust.pin(offer, file)
    assert file.read_text() == f"[127.0.0.1]:{server.port} {public(server.host_key)}\n"
    assert offered(options) is None


def test_the_system_s_known_hosts_count_also_when_hashed(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "system"
    known(file, server, server.host_key)
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", str(file)], check=True, capture_output=True)
    assert "127.0.0.1" not in file.read_text()
    monkeypatch.setattr(trust, "SYSTEM_FILES", (str(tmp_path / "absent"), str(file)))
    assert entered(**server.options(known_hosts=tmp_path / "empty")) == "hello\n"


def test_a_key_trusted_here_counts_more_than_the_system_s_old_one(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trust, "SYSTEM_FILES", (known(tmp_path / "system", server, other_key(tmp_path)),))
    assert "HAS CHANGED" in refusal(server.options(known_hosts=tmp_path / "empty"))
    assert entered(**server.options()) == "hello\n"


def test_damaged_known_hosts_are_named(server: Server, tmp_path: Path) -> None:
    (tmp_path / "known").write_text("host ssh-ed25519 AAAAnonsense\n")
    assert str(tmp_path / "known") in refusal(server.options(known_hosts=tmp_path / "known"))


def test_a_key_that_the_server_does_not_take_is_a_refused_login(server: Server, tmp_path: Path) -> None:
    key = other_key(tmp_path)
    said = refusal(server.options(identity=key))
    assert f"login at 127.0.0.1:{server.port} failed" in said
    assert str(key) in said


def test_too_many_keys_are_a_refused_login_too(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = [str(make_key(tmp_path / f"key{number}")) for number in range(8)]  # sshd hangs up after six
    monkeypatch.setattr("executors.ssh.connection.DEFAULT_KEYS", keys)
    assert "key0, " in refusal(server.options(identity=""))


def test_without_any_key_nobody_is_asked_for_a_password(server: Server) -> None:
    assert "there is no key to log in with" in refusal(server.options(identity=""))


def test_a_key_with_a_passphrase_is_passed_over(server: Server, tmp_path: Path) -> None:
    key = shutil.copy(server.user_key, tmp_path / "locked")
    subprocess.run(["ssh-keygen", "-q", "-p", "-N", "secret words", "-f", str(key)], check=True, capture_output=True)
    assert "there is no key" in refusal(server.options(identity=key))


def test_an_identity_that_is_not_there_is_named(server: Server, tmp_path: Path) -> None:
    assert str(tmp_path / "gone") in refusal(server.options(identity=tmp_path / "gone"))


def test_the_default_keys_are_tried(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("executors.ssh.connection.DEFAULT_KEYS", (str(server.user_key),))
    assert entered(**server.options(identity="")) == "hello\n"


def test_the_agent_s_keys_are_tried(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    socket = str(tmp_path / "agent")
    agent = subprocess.Popen(["ssh-agent", "-D", "-a", socket], stdout=subprocess.DEVNULL)
    try:
        monkeypatch.setenv("SSH_AUTH_SOCK", socket)
        while not Path(socket).exists():
            assert agent.poll() is None
        subprocess.run(["ssh-add", "-q", str(server.user_key)], check=True, capture_output=True)
        assert entered(**server.options(identity="")) == "hello\n"
    finally:
        agent.terminate()
        agent.wait()


def test_an_alias_of_ssh_config_says_host_port_user_and_key(server: Server, tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text(
        f"Host My-Alias\n HostName 127.0.0.1\n Port {server.port}\n User {getuser()}\n"
        f" IdentityFile {server.user_key}\n IdentitiesOnly yes\n"
    )
    url = f"ssh://My-Alias{server.folder / 'root'}"
    assert entered(**server.options(url=url, identity="", ssh_config=config)) == "hello\n"


def test_an_ssh_config_that_cannot_be_read_is_a_sentence(server: Server, tmp_path: Path) -> None:
    (tmp_path / "config").write_text("Match nonsense\n")
    options = server.options(ssh_config=tmp_path / "config")
    assert "ssh_config cannot be used" in refusal(options)
    assert not SSHExecutor("my-box", options).probe(1.0).reachable


@pytest.mark.parametrize("url", ["ssh://", "ssh://:22", "ssh://-oProxyCommand=x", "ssh://host:x", "http://host", ""])
def test_a_url_that_names_no_host_is_refused_with_an_example(url: str) -> None:
    assert "ssh://user@host" in refusal({"url": url})
    assert not SSHExecutor("my-box", {"url": url}).probe(1.0).reachable


def test_a_password_in_a_url_is_refused_and_not_repeated() -> None:
    said = refusal({"url": "ssh://user:hunter2@host/folder"})
    assert "no password" in said
    assert "hunter2" not in said


@dataclass(frozen=True)
class Way:
    """A target behind a gate, with a known_hosts of its own."""

    options: dict[str, str]
    file: Path
    gate: Server
    server: Server

    def know(self, *servers: Server) -> None:
        self.file.write_text("".join(each.known_hosts.read_text() for each in servers))


@pytest.fixture
def way(server: Server, gate: Server, tmp_path: Path) -> Way:
    config = tmp_path / "config"
    config.write_text(
        f"Host gate\n HostName 127.0.0.1\n Port {gate.port}\n IdentityFile {gate.user_key}\n"
        f"Host inner\n HostName 127.0.0.1\n Port {server.port}\n IdentityFile {server.user_key}\n ProxyJump gate\n"
    )
    url = f"ssh://inner{server.folder / 'root'}"
    options = server.options(url=url, identity="", ssh_config=config, known_hosts=tmp_path / "known")
    return Way(options, tmp_path / "known", gate, server)


def test_a_hop_whose_key_is_unknown_is_refused_though_the_target_s_is_known(way: Way) -> None:
    way.know(way.server)
    said = refusal(way.options)
    assert fingerprint(way.gate.host_key) in said
    assert f"[127.0.0.1]:{way.gate.port}" in said


def test_a_target_whose_key_is_unknown_is_refused_though_the_hop_s_is_known(way: Way) -> None:
    way.know(way.gate)
    assert fingerprint(way.server.host_key) in refusal(way.options)


def test_a_hop_whose_key_has_changed_is_refused(way: Way, tmp_path: Path) -> None:
    known(way.file, way.gate, other_key(tmp_path))
    said = refusal(way.options)
    assert "HAS CHANGED" in said
    assert fingerprint(way.gate.host_key) in said


def test_trust_goes_from_hop_to_hop_and_then_everything_works_through_them(way: Way) -> None:
    seen = []
    while offer := offered(way.options):
        seen.append(offer.fingerprint)
        trust.pin(offer, way.file)
    assert seen == [fingerprint(way.gate.host_key), fingerprint(way.server.host_key)]
    with SSHExecutor("my-box", way.options) as executor:
        executor.put(way.file, Span(0, 20), "files/through")
        assert executor.get("files/through", Span(0, 99)) == way.file.read_bytes()[:20]
        assert executor.probe(5.0).reachable
    assert psutil.wait_procs(way.gate.sessions(), timeout=30)[1] == []


def test_a_hop_that_lets_us_not_in_hides_the_target_s_key(way: Way, tmp_path: Path) -> None:
    way.know(way.gate)
    config = tmp_path / "config"
    config.write_text(config.read_text().replace(str(way.gate.user_key), str(other_key(tmp_path))))
    with pytest.raises(Refused, match="login at") as refused:
        offered(way.options)
    assert refused.value.step == "login of gate"
    assert "gate" in refused.value.hint


def test_a_hop_that_cannot_reach_the_target_says_so(way: Way, tmp_path: Path) -> None:
    way.know(way.gate, way.server)
    config = tmp_path / "config"
    config.write_text(config.read_text().replace(f"Port {way.server.port}", "Port 1"))
    with pytest.raises(Unreachable, match=r"127\.0\.0\.1:1 cannot be reached from the machine before it"):
        entered(**way.options)
