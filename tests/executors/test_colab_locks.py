"""Whoever takes a runtime is waited for, but not for ever; and each who waits says for what."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from executors.base import Refused, Unreachable
from executors.colab import cgpu_login, runtime
from executors.colab.address import Address

Turn = Callable[[Address], AbstractContextManager[None]]

TURNS = {
    "a runtime through cgpu": lambda address: cgpu_login.CgpuLogin(address).cold(),
    "its runtime": lambda address: runtime.Runtime(address).locked(),
}
each = pytest.mark.parametrize(("what", "turn"), TURNS.items(), ids=("cgpu", "ours"))


@pytest.fixture
def address(tmp_path: Path) -> Address:
    return Address.of("lab", {"url": "colab://", "state": f"{tmp_path}/state", "cgpu": f"{tmp_path}/cgpu"})


@each
def test_who_is_late_is_told_what_for(what: str, turn: Turn, address: Address, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cgpu_login, "COLD_SECONDS", 0.0)
    monkeypatch.setattr(runtime, "LOCK_SECONDS", 0.0)
    with turn(address):
        said = f"^lab: another command has been taking {what} for very long$"
        with pytest.raises(Unreachable, match=said) as caught, turn(address):
            pytest.fail("two at once")
    assert caught.value.step == "runtime"
    with turn(address):  # it was given back, and who was late has left nothing
        pass


@each
def test_who_waits_comes_next(what: str, turn: Turn, address: Address) -> None:
    order, waits = list[str](), threading.Event()

    def wait() -> None:
        waits.set()
        with turn(address):
            order.append("second")

    second = threading.Thread(target=wait)
    with turn(address):
        second.start()
        waits.wait()
        order.append("first")
    second.join()
    assert order == ["first", "second"]


@each
def test_a_folder_that_cannot_be_used_is_named(what: str, turn: Turn, address: Address, tmp_path: Path) -> None:
    (tmp_path / "cgpu").mkdir()
    for folder in (tmp_path / "state", tmp_path / "cgpu/state"):
        folder.touch()
    with pytest.raises(Refused, match=r"^lab: .* cannot be used: "), turn(address):
        pytest.fail("there is no lock")
