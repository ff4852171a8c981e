"""The hazards of the command cgpu, one by one: what it does, and that it costs nothing."""

from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from executors.base import Gone, Lost, NoQuota, NotInstalled, Refused, Span, TransferFailed, Unreachable
from executors.colab import CgpuExecutor, Colab
from executors.colab.address import Address
from executors.colab.cgpu import Cgpu as Called
from executors.colab.way import SAID
from tests.colab.double import Double, double
from tests.colab.double.asking import comes
from tests.executors.cgpu_double import Cgpu, cgpu
from tests.offload.background import words

DEADLINE = 60.0
TELLS = b"one\n\n\n\x1b[31mred\x1b[0m\rtwo\r\n\nAuthenticated as nobody\n"


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cgpu]:
    """The command, for an account that has a runtime."""
    folder = tmp_path_factory.mktemp("cgpu") / "google"
    with pytest.MonkeyPatch.context() as patch, double(folder) as google, cgpu(google, patch) as command:
        yield command


@pytest.fixture
def command(cloud: Cgpu, tmp_path: Path) -> Cgpu:
    """The same, logged in, with nothing asked of it so far."""
    cloud.connect()
    cloud.start_seconds, cloud.lose, cloud.spoil = 0.0, 0, 0
    cloud.calls.clear()
    cloud.asked.clear()
    return cloud


@pytest.fixture
def executor(command: Cgpu, tmp_path: Path) -> CgpuExecutor:
    """Not entered, with a state of its own."""
    return at(command.google, tmp_path)


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Cgpu]:
    """The command, for an account that has nothing yet, and may have two machines, one after the other."""
    folder = tmp_path / "google"
    with pytest.MonkeyPatch.context() as patch, double(folder, warm=2) as google, cgpu(google, patch) as command:
        command.connect()
        yield command


def at(google: Double, state: Path, **options: object) -> CgpuExecutor:
    return CgpuExecutor("colab", google.options(url="colab+cgpu://", state=state / "state", client_file="", **options))


def called(command: Cgpu, tmp_path: Path) -> Called:
    return Called(Address.of("colab", command.google.options(url="colab+cgpu://", state=tmp_path / "state")))


def assert_intact(command: Cgpu, session: bytes) -> None:
    """The session's file is as it was, for its owner only, with no copy of it left."""
    assert command.session.read_bytes() == session
    assert stat.S_IMODE(command.session.stat().st_mode) == 0o600
    folder = command.session.parent
    assert sorted(path.name for path in folder.rglob("*") if path.is_file()) == ["cold", "lock", "session.json"]


def processes() -> list[psutil.Process]:
    """The commands that run."""
    return [one for one in psutil.Process().children() if "cgpu_double/cgpu" in " ".join(words(one))]


def there(seconds: str) -> list[psutil.Process]:
    """The commands `sleep` that run on machines, which are all entered from here."""
    return [one for one in psutil.Process().children(recursive=True) if words(one) == ["sleep", seconds]]


# What it prints


def test_the_stand_in_has_the_hazards_that_cgpu_has(command: Cgpu) -> None:
    words = ["env", f"CGPU_CONFIG_DIR={command.folder}", "cgpu", "run", "--"]
    who = b"Authenticated as somebody@example.com\n"
    printf = subprocess.run([*words, "printf", "a\\n\\n\\033[1mb\\033[0m\\r\\n"], capture_output=True)
    assert (printf.stdout, printf.returncode) == (who + b"a\nb\n", 0)
    assert subprocess.run([*words, "ls", "/no/such"], capture_output=True).returncode == 2
    swallows = subprocess.run([*words, "cat"], capture_output=True)
    assert (swallows.stdout.startswith(who), swallows.returncode) == (True, 1)
    assert b"exit 5" in swallows.stdout
    command.google.oauth.revoke()
    with subprocess.Popen(words, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL) as waits:
        assert waits.stdout and waits.stdout.readline() == b"Starting OAuth login...\n"
        assert waits.poll() is None
        assert not command.session.exists()
        waits.kill()


def test_blank_lines_escapes_and_returns_arrive_and_streams_are_apart(executor: CgpuExecutor) -> None:
    code = f"import os; os.write(1, {TELLS!r}); os.write(2, b'\\n\\nwoe\\n')"
    with executor:
        done = executor.run([executor.python, "-c", code])
    assert (done.status, done.stdout, done.stderr) == (0, TELLS, b"\n\nwoe\n")


def test_each_command_comes_after_two_dashes_in_words_that_no_shell_changes(
    command: Cgpu, executor: CgpuExecutor
) -> None:
    with executor:
        executor.run(["echo", "$HOME `id` ; --help", "\n"], stdin=b"x" * 10_000)
    runs = [words for words in command.asked if words[0] == "run"]
    assert runs
    assert all(words[1] == "--" for words in runs)
    letters = set("".join(word for words in runs for word in words[2:]))
    assert letters <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._=@-")


def test_what_a_command_is_to_read_does_not_come_from_here(executor: CgpuExecutor) -> None:
    with executor:
        assert executor.run(["cat"], stdin=b"meant\n").stdout == b"meant\n"
        assert executor.run(["cat"]).stdout == b""


def test_a_line_lost_on_the_way_is_noticed(command: Cgpu, executor: CgpuExecutor, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(data := os.urandom(5000))
    with executor:
        executor.put(tmp_path / "file", Span(0, 5000), "files/a")
        command.spoil = 1
        with pytest.raises(TransferFailed, match="did not arrive whole"):
            executor.get("files/a", Span(0, 5000))
        assert executor.get("files/a", Span(0, 5000)) == data


def test_a_lost_connection_is_told_apart_from_a_failing_command(command: Cgpu, executor: CgpuExecutor) -> None:
    with executor:
        assert executor.run(["sh", "-c", "exit 1"]).status == 1
        assert executor.run(["sh", "-c", "echo exit 5; exit 5"]).status == 5
        command.lose = 1
        with pytest.raises(Lost, match="exit 5") as caught:
            executor.run(["true"])
        assert not isinstance(caught.value, Gone)
        assert executor.run(["true"]).status == 0


# Its login


def test_offline_it_deletes_its_login_which_is_put_back(command: Cgpu, executor: CgpuExecutor) -> None:
    session = command.session.read_bytes()
    with command.google.offline(), pytest.raises(Unreachable):
        executor.__enter__()
    assert_intact(command, session)


def test_offline_in_a_job_it_is_lost_and_found_again(command: Cgpu, executor: CgpuExecutor) -> None:
    session = command.session.read_bytes()
    with executor:
        with command.google.offline():
            with pytest.raises(Lost):
                executor.run(["true"])
            assert_intact(command, session)
        assert executor.run(["true"]).status == 0


def test_many_calls_that_fail_at_once_lose_no_login(command: Cgpu, executor: CgpuExecutor) -> None:
    session = command.session.read_bytes()
    command.start_seconds = 0.1
    with executor, command.google.offline(), ThreadPoolExecutor(4) as pool:
        calls = [pool.submit(executor.run, ["true"]) for _ in range(8)]
        assert [str(call.exception()) for call in calls if type(call.exception()) is not Lost] == []
    assert_intact(command, session)


def test_a_failing_token_page_deletes_it_too(command: Cgpu, tmp_path: Path) -> None:
    session = command.session.read_bytes()
    command.google.faults.fail["token-page"] = 503
    try:
        with pytest.raises(Unreachable):
            called(command, tmp_path).status(DEADLINE)
    finally:
        del command.google.faults.fail["token-page"]
    assert_intact(command, session)


def test_where_its_client_is_refused_its_login_is_put_back(command: Cgpu, tmp_path: Path) -> None:
    session, config = command.session.read_bytes(), command.folder / "config.json"
    right = config.read_text()
    config.write_text(right.replace("double-secret", "another"))
    try:
        with pytest.raises(Refused, match="invalid_client") as caught:
            called(command, tmp_path).status(DEADLINE)
        assert str(config) in caught.value.hint
    finally:
        config.write_text(right)
    assert_intact(command, session)
    assert called(command, tmp_path).status(DEADLINE) == ("T4",)


def test_a_revoked_login_does_not_wait_for_a_person_and_is_not_put_back(command: Cgpu, executor: CgpuExecutor) -> None:
    command.google.oauth.revoke()
    with pytest.raises(Refused, match="does not take the login of cgpu") as caught:
        executor.__enter__()
    assert caught.value.hint == "cgpu connect"
    assert not command.session.exists()
    assert not processes()
    with pytest.raises(Refused, match="not logged in"):
        executor.__enter__()


def test_who_logs_out_while_a_job_runs_stays_logged_out(command: Cgpu, executor: CgpuExecutor) -> None:
    with executor, ThreadPoolExecutor(1) as pool:
        before = command.calls["run"]
        running = pool.submit(executor.run, ["sh", "-c", "sleep 601; true"])
        comes(lambda: command.calls["run"] > before and bool(command.google.oauth._access))
        comes(lambda: bool(there("601")))
        command.session.unlink()
        for one in there("601"):
            one.kill()
        assert running.result().status == 0
        assert not command.session.exists()
        with pytest.raises(Refused, match="not logged in"):
            executor.run(["true"])


def test_a_login_that_was_deleted_in_a_call_that_was_killed_is_put_back(command: Cgpu, tmp_path: Path) -> None:
    session = command.session.read_bytes()
    copy = command.session.parent / "offload/session.json"
    called(command, tmp_path).status(DEADLINE)
    copy.write_bytes(session)
    command.session.unlink()
    assert called(command, tmp_path).status(DEADLINE) == ("T4",)
    assert_intact(command, session)


def test_nobody_is_logged_in(command: Cgpu, executor: CgpuExecutor) -> None:
    command.session.unlink()
    probe = executor.probe(DEADLINE)
    assert (probe.reachable, probe.exit_code, probe.hint) == (False, 7, "cgpu connect")
    assert not command.calls


# Time


def test_a_call_has_an_end_of_its_own(command: Cgpu, tmp_path: Path) -> None:
    session = command.session.read_bytes()
    command.start_seconds = 30
    with pytest.raises(Unreachable, match=r"no answer within 0\.3 s"):
        called(command, tmp_path).status(0.3)
    assert not processes()
    assert_intact(command, session)


def test_what_a_killed_command_left_there_ends_by_itself(command: Cgpu, executor: CgpuExecutor) -> None:
    with executor, ThreadPoolExecutor(1) as pool:
        running = pool.submit(executor.run, ["sleep", "77"], b"", 15.0)
        comes(lambda: bool(there("77")))
        for one in processes():
            one.kill()
        assert isinstance(running.exception(), Lost)
        comes(lambda: not there("77"))


# Runtimes


def test_a_look_takes_no_runtime(fresh: Cgpu, tmp_path: Path) -> None:
    probe = at(fresh.google, tmp_path).probe(DEADLINE)
    assert (probe.reachable, probe.gpu) == (True, "T4")
    fresh.google.control.eligible = []
    probe = at(fresh.google, tmp_path).probe(DEADLINE)
    assert (probe.reachable, probe.exit_code) == (False, 8)
    assert fresh.google.faults.calls["assign"] == 0


def test_many_at_once_take_one_runtime_and_a_vanished_one_is_known_to_be_gone(fresh: Cgpu, tmp_path: Path) -> None:
    google, many = fresh.google, [at(fresh.google, tmp_path / name) for name in "abc"]
    google.control.most = 3
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda one: one.__enter__(), many))
    assert google.faults.calls["assign"] == 1
    (endpoint,) = google.runtimes
    google.vanish(endpoint)
    for _ in range(2):
        with pytest.raises(Gone):
            many[0].run(["true"])
    assert google.faults.calls["assign"] == 2
    many[0].returning = True
    with pytest.raises(Gone):
        many[0].__enter__()
    assert many[0].held() is None
    many[0].returning = False
    with many[0]:
        assert many[0].run(["true"]).status == 0
    with pytest.raises(Gone):
        many[1].run(["true"])  # of the first machine, on the second
    assert google.faults.calls["assign"] == 2


def test_a_full_quota_is_told(fresh: Cgpu, tmp_path: Path) -> None:
    session = fresh.session.read_bytes()
    fresh.google.control.quota = 0
    with pytest.raises(NoQuota, match="insufficient quota"):
        at(fresh.google, tmp_path).__enter__()
    assert_intact(fresh, session)


def test_cgpu_cannot_give_a_runtime_back_and_says_so(command: Cgpu, executor: CgpuExecutor) -> None:
    with executor:
        holding = executor.held()
    assert holding
    assert "cannot give it back" in holding.what
    executor.keep_alive()
    assert not executor.give_back(unless=lambda: True)
    with pytest.raises(Refused, match="about 90 minutes") as caught:
        executor.give_back()
    assert "Manage sessions" in caught.value.hint
    assert executor.held() is None
    with pytest.raises(Gone):
        executor.keep_alive()


# Which way


def test_without_the_command_it_is_said_how_to_get_it(executor: CgpuExecutor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(NotInstalled, match="no command cgpu on PATH"):
        executor.__enter__()
    assert executor.probe(DEADLINE).exit_code == 4


def test_it_is_used_by_itself_where_colab_turns_our_own_client_away(command: Cgpu, tmp_path: Path) -> None:
    google = command.google
    options = google.options(state=tmp_path / "state")
    colab = Colab("colab", options)
    google.control.barred = {"offload"}
    try:
        probe = colab.probe(DEADLINE)
        assert (probe.reachable, probe.reason) == (True, SAID), probe
        with colab:
            assert colab.run(["echo", "hello"]).stdout == b"hello\n"
        assert command.calls["run"]
        google.log_in(tmp_path / "state")  # with a login of ours, ours is the way
        with pytest.raises(Refused, match="does not take the login"):
            colab.__enter__()
    finally:
        google.control.barred = set()
    assert Colab("colab", google.options(state=tmp_path / "other")).probe(DEADLINE).reason == ""


def test_a_kind_of_gpu_cannot_be_asked_for(tmp_path: Path, cloud: Cgpu) -> None:
    probe = at(cloud.google, tmp_path, gpu="L4").probe(DEADLINE)
    assert (probe.exit_code, "leave gpu out" in probe.reason) == (7, True)
