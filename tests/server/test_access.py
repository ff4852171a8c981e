"""Who may ask: a token that one user can read, codes that are good once, cookies that outlive the server."""

from __future__ import annotations

import ast
import stat
import threading
from pathlib import Path

import pytest

from broker.errors import ConfigError
from server import access
from server.access import COOKIE_SECONDS, MOST_CODES, MOST_WRONG, WRONG_SECONDS, Access, Guessed

TOKEN = "t" * 43


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, to be set."""
    now = [1_000_000.0]
    monkeypatch.setattr(access.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(access.time, "time", lambda: now[0])
    return now


def test_the_token_is_made_once_and_only_its_user_can_read_it(tmp_path: Path) -> None:
    place = tmp_path / "server"
    first = access.token(place)
    assert access.token(place) == first and len(first) >= 43
    assert stat.S_IMODE((place / "token").stat().st_mode) == 0o600
    assert stat.S_IMODE(place.stat().st_mode) == 0o700
    assert [file.name for file in place.iterdir()] == ["token"]


def test_of_servers_that_start_at_once_all_have_the_same_token(tmp_path: Path) -> None:
    ready, found = threading.Barrier(8), []

    def start() -> None:
        ready.wait()
        found.append(access.token(tmp_path / "server"))

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8 and len(set(found)) == 1


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o610])
def test_a_token_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    access.token(tmp_path)
    (tmp_path / "token").chmod(mode)
    with pytest.raises(ConfigError, match="others on this machine can read") as refused:
        access.token(tmp_path)
    assert refused.value.exit_code == 7 and refused.value.hint.startswith(f"rm {tmp_path}/token")


@pytest.mark.parametrize("content", [b"", b"\n", b"short", b"\xff" * 50])
def test_a_file_without_a_token_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "token").write_bytes(content)
    (tmp_path / "token").chmod(0o600)
    with pytest.raises(ConfigError, match="token"):
        access.token(tmp_path)


def test_a_folder_in_its_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "token").mkdir(mode=0o700)
    with pytest.raises(ConfigError, match="cannot be had"):
        access.token(tmp_path)


def test_who_only_reads_the_token_makes_none(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is not there") as refused:
        access.token(tmp_path / "server", make=False)
    assert "start it again" in refused.value.hint and not (tmp_path / "server").exists()
    made = access.token(tmp_path / "server")
    assert access.token(tmp_path / "server", make=False) == made


def test_a_folder_that_cannot_be_made_is_to_be_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"Not a directory$") as refused:
        access.token(tmp_path / "file" / "server")
    assert refused.value.hint == "point OFFLOAD_STATE_DIR of the server elsewhere"


def test_a_code_is_good_once() -> None:
    door = Access(TOKEN)
    code = door.code()
    cookie = door.redeem(code)
    assert cookie is not None and door.recognises(cookie)
    assert door.redeem(code) is None


def test_a_code_is_good_for_ten_minutes(clock: list[float]) -> None:
    door = Access(TOKEN)
    late, later = door.code(), door.code()
    clock[0] += 599
    assert door.redeem(late)
    clock[0] += 2
    assert door.redeem(later) is None


def test_of_many_codes_the_oldest_are_forgotten() -> None:
    door = Access(TOKEN)
    codes = [door.code() for _ in range(MOST_CODES + 1)]
    assert door.redeem(codes[0]) is None
    assert door.redeem(codes[1]) and door.redeem(codes[-1])


def test_who_guesses_codes_has_to_wait_and_keeps_nobody_out(clock: list[float]) -> None:
    door = Access(TOKEN)
    for _ in range(MOST_WRONG):
        assert door.redeem("wrong") is None
        clock[0] += 1
    assert door.redeem(door.code())
    with pytest.raises(Guessed) as refused:
        door.redeem("wrong")
    assert refused.value.seconds == WRONG_SECONDS - MOST_WRONG
    assert door.redeem(door.code())
    clock[0] += refused.value.seconds
    assert door.redeem("wrong") is None


def test_a_cookie_outlives_the_server_and_not_its_token() -> None:
    door = Access(TOKEN)
    cookie = door.redeem(door.code()) or ""
    assert Access(TOKEN).recognises(cookie)
    assert not Access("u" * 43).recognises(cookie)


def test_a_cookie_ends(clock: list[float]) -> None:
    door = Access(TOKEN)
    cookie = door.redeem(door.code()) or ""
    clock[0] += COOKIE_SECONDS - 1
    assert door.recognises(cookie)
    clock[0] += 2
    assert not door.recognises(cookie)


@pytest.mark.parametrize(
    "change",
    [
        lambda until, seal: f"{int(until) + 1}.{seal}",
        lambda until, seal: f"{until}.{seal[:-1]}{'0' if seal[-1] != '0' else '1'}",
        lambda until, seal: f"0{until}.{seal}",
        lambda until, seal: f"{until}.{seal}.",
        lambda until, seal: f"{until}.",
        lambda until, seal: until,
        lambda until, seal: "",
        lambda until, seal: f"{'9' * 5000}.{seal}",
        lambda until, seal: f"-{until}.{seal}",
        lambda until, seal: f"\u0661.{seal}",
        lambda until, seal: f"\udc80.{seal}",
    ],
)
def test_a_cookie_that_was_changed_is_not_recognised(change) -> None:  # type: ignore[no-untyped-def]
    door = Access(TOKEN)
    until, _, seal = (door.redeem(door.code()) or "").partition(".")
    assert door.recognises(f"{until}.{seal}")
    assert not door.recognises(change(until, seal))


@pytest.mark.parametrize("token", ["", "t" * 42, "t" * 44, "T" * 43, "\xff", "\udc80"])
def test_another_token_is_not_known(token: str) -> None:
    assert Access(TOKEN).knows(TOKEN)
    assert not Access(TOKEN).knows(token)


def test_secrets_are_compared_in_constant_time() -> None:
    """What is secret is compared by `hmac.compare_digest`, or looked up by its hash."""
    tree = ast.parse(Path(access.__file__).read_text("utf-8"))
    [door] = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "Access"]
    methods = {node.name: list(ast.walk(node)) for node in door.body if isinstance(node, ast.FunctionDef)}
    for name in ("knows", "recognises"):
        assert "hmac.compare_digest" in [ast.unparse(node.func) for node in methods[name] if isinstance(node, ast.Call)]
        assert not [node for node in methods[name] if isinstance(node, ast.Eq | ast.NotEq | ast.In | ast.NotIn)]
    for name in ("code", "redeem"):
        looked_up = [ast.unparse(node.slice) for node in methods[name] if isinstance(node, ast.Subscript)]
        popped = [ast.unparse(node.args[0]) for node in methods[name] if isinstance(node, ast.Call) and node.args]
        assert "_digest(code)" in looked_up + popped and "code" not in looked_up
