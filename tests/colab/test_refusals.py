"""Every refusal is a sentence with what to do, in a probe as when entered; nothing is taken on the way to it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from executors.base import ExecutorError, NoQuota, Refused, Unreachable
from executors.colab import ColabExecutor
from executors.colab.hours import T4_RATE
from executors.colab.places import new_hash
from tests.colab.double import Double, double

DEADLINE = 60.0


@pytest.fixture
def google(tmp_path: Path) -> Iterator[Double]:
    with double(tmp_path / "google", warm=0) as google:
        google.log_in()
        yield google


def refused(google: Double, kind: type[ExecutorError], **options: object) -> ExecutorError:
    """The error of entering; a probe must have said the same before, and no runtime is taken or remembered."""
    colab = ColabExecutor("colab", google.options(**options))
    probe = colab.probe(DEADLINE)
    with pytest.raises(kind) as entering:
        colab.__enter__()
    error = entering.value
    assert (probe.reachable, type(probe.error("colab"))) == (False, kind)
    assert (f"colab: {probe.reason}", probe.step, probe.hint) == (str(error), error.step, error.hint)
    assert (google.control.assignments, colab.held()) == ({}, None)
    return error


def refused_late(google: Double, kind: type[ExecutorError], **options: object) -> ExecutorError:
    """The error of taking a runtime, of which no probe can know."""
    colab = ColabExecutor("colab", google.options(**options))
    assert colab.probe(DEADLINE).reachable
    with pytest.raises(kind) as entering:
        colab.__enter__()
    assert colab.held() is None
    return entering.value


def test_who_is_not_logged_in_is_told_how(google: Double) -> None:
    error = refused(google, Refused, state=google.folder / "nobody")
    assert (error.exit_code, error.step) == (7, "login")
    assert error.hint == "offload targets login colab"
    assert google.faults.calls.total() == 0


def test_a_login_that_was_revoked_is_to_be_made_anew(google: Double) -> None:
    google.oauth.revoke()
    error = refused(google, Refused)
    assert "revoked" in str(error)
    assert error.hint == "offload targets login colab"


def test_a_login_that_the_control_plane_does_not_take(google: Double) -> None:
    google.faults.fail["ccu-info"] = 403
    error = refused(google, Refused)
    assert (error.step, error.hint) == ("Colab", "offload targets login colab")


def test_a_quota_that_is_used_up_says_when_it_is_filled_up_again(google: Double) -> None:
    google.control.quota = 0
    google.control.refill = time.mktime((2031, 5, 6, 7, 8, 0, 0, 0, -1))
    error = refused(google, NoQuota)
    assert str(error) == "colab: the account's free quota is used up; it is filled up again on 2031-05-06 07:08"
    assert (error.exit_code, error.step) == (8, "quota")
    assert google.faults.calls["assign"] == 0


@pytest.mark.parametrize("outcome", [1, 2])
def test_a_quota_that_is_refused_at_the_last_moment_says_so_too(google: Double, outcome: int) -> None:
    google.control.outcome = outcome
    assert "quota is used up; it is filled up again on" in str(refused_late(google, NoQuota))


def test_a_gpu_that_this_account_may_not_have(google: Double) -> None:
    google.control.eligible = ["T4", "L4"]
    error = refused(google, Refused, gpu="a100")
    assert str(error) == "colab: this account may not have a A100: it may have L4, T4"
    assert "gpu of colab" in error.hint


def test_an_account_that_may_have_no_gpu(google: Double) -> None:
    google.control.eligible = []
    assert "no GPU at present" in str(refused(google, NoQuota))


def test_an_account_that_is_blocked(google: Double) -> None:
    google.control.outcome = 5
    assert "blocked" in str(refused_late(google, Refused))


def test_no_machine_of_the_kind_that_was_asked_for(google: Double) -> None:
    google.control.no_machine = {"T4"}
    error = refused_late(google, NoQuota, gpu="T4")
    assert str(error) == "colab: Colab has no machine of kind T4 free at present"
    assert google.faults.calls["assign"] == 1


def test_too_many_runtimes_are_named_and_can_be_given_back(google: Double) -> None:
    theirs_hash = new_hash()
    with google.client() as other:
        token = other.get("/tun/m/assign", params={"nbh": theirs_hash}).text.partition('"token":"')[2].partition('"')[0]
        answer = other.post("/tun/m/assign", params={"nbh": theirs_hash}, headers={"X-Goog-Colab-Token": token})
        assert answer.is_success, answer.text
    (theirs,) = google.runtimes
    error = refused_late(google, NoQuota)
    assert str(error) == f"colab: the account has as many runtimes as it may: {theirs} (CPU)"
    assert error.hint == "offload targets release colab RUNTIME"
    colab = ColabExecutor("colab", google.options())
    colab.give_back_other(theirs)
    assert google.control.ended == {theirs: "released"}
    with pytest.raises(Refused, match="has no runtime"):
        colab.give_back_other(theirs)


def test_offline_is_no_refusal(google: Double) -> None:
    with google.offline():
        error = refused(google, Unreachable)
    assert error.exit_code == 5


@pytest.mark.parametrize("call", ["ccu-info", "token-page"])
def test_a_page_instead_of_an_answer_is_no_refusal(google: Double, call: str) -> None:
    google.faults.fail[call] = 200  # as the page of a hotel's network
    assert refused(google, Unreachable).exit_code == 5


def test_a_control_plane_that_is_silent_costs_the_deadline(google: Double) -> None:
    google.faults.silent.add("ccu-info")
    probe = ColabExecutor("colab", google.options()).probe(0.5)
    google.faults.silent.clear()
    assert (probe.reachable, probe.away) == (False, True)
    assert "within 0.5 s" in probe.reason


def test_a_probe_takes_nothing(google: Double) -> None:
    probe = ColabExecutor("colab", google.options()).probe(DEADLINE)
    assert (probe.reachable, probe.gpu) == (True, "T4")
    assert not {"assign", "assign-token"} & google.faults.calls.keys()


@pytest.mark.parametrize(
    ("quota", "balance", "hours"),
    [(36_000, 0.0, 12), (4000, 0.0, 4 / T4_RATE), (0, 99.0, 24)],
    ids=["the free tier", "little quota", "paid"],
)
def test_a_probe_tells_how_long_a_machine_could_be_had(
    google: Double, quota: int, balance: float, hours: float
) -> None:
    google.control.quota, google.control.balance = quota, balance
    assert ColabExecutor("colab", google.options()).probe(DEADLINE).hours == hours


def test_of_a_machine_that_is_held_it_tells_how_long_it_still_can_be(google: Double) -> None:
    with ColabExecutor("colab", google.options()) as colab:
        assert colab.probe(DEADLINE).hours == pytest.approx(12, abs=0.1)
        google.control.price, google.control.quota = 3000, 6000
        assert colab.probe(DEADLINE).hours == pytest.approx(2)
        google.control.quota, record = 36_000, google.folder / "state/runtime.json"
        taken = json.loads(record.read_text())
        record.write_text(json.dumps(taken | {"taken": taken["taken"] - 10.5 * 3600}))
        assert colab.probe(DEADLINE).hours == pytest.approx(1.5, abs=0.1)


@pytest.mark.parametrize(
    ("free", "balance", "taken"),
    [(["T4", "L4", "A100"], 0.0, "A100"), (["L4"], 0.0, "L4"), (["T4", "L4", "A100"], 99.0, "T4")],
)
def test_the_best_that_costs_nothing_is_asked_for(google: Double, free: list[str], balance: float, taken: str) -> None:
    google.control.eligible, google.control.balance = free, balance
    assert ColabExecutor("colab", google.options()).probe(DEADLINE).gpu == taken


def test_where_the_best_is_not_free_the_next_is_taken(google: Double) -> None:
    google.control.eligible, google.control.no_machine = ["T4", "L4", "A100"], {"A100", "L4"}
    with ColabExecutor("colab", google.options()) as colab:
        assert colab.held().what == "a Colab runtime (T4)"
    assert [found.gpu for found in google.control.assignments.values()] == ["T4"]


def test_an_access_token_that_ended_is_renewed_and_nobody_notices(google: Double) -> None:
    colab = ColabExecutor("colab", google.options())
    assert colab.probe(DEADLINE).reachable
    google.oauth.expire()
    assert colab.probe(DEADLINE).reachable
    assert [form["grant_type"] for form in google.oauth.exchanged] == ["refresh_token"] * 2


def test_a_runtime_that_was_taken_and_cannot_be_used_is_given_back(
    google: Double, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise Refused("colab: what is between here and the server does not let websockets through")

    monkeypatch.setattr("executors.jupyter.kernel.Kernel._connect", refuse)
    colab = ColabExecutor("colab", google.options())
    with pytest.raises(Refused, match="websockets"):
        colab.__enter__()
    assert list(google.control.ended.values()) == ["released"]
    assert colab.held() is None


@pytest.mark.parametrize("call", ["assignments", "ccu-info", "assign-token"])
def test_an_answer_that_says_nothing_is_not_taken_for_one(google: Double, call: str) -> None:
    with ColabExecutor("colab", google.options()) as colab:
        (endpoint,) = google.runtimes
    google.faults.fail[call] = 200  # a page
    for act in (colab.give_back, colab.keep_alive, lambda: colab.give_back_other("m-other")):
        if call == "assignments":
            with pytest.raises(Unreachable):
                act()
    assert list(google.runtimes) == [endpoint]
    assert colab.held()


def test_a_record_that_cannot_be_read_is_no_reason_to_think_that_nothing_is_held(google: Double) -> None:
    record = google.folder / "state/runtime.json"
    record.parent.mkdir(exist_ok=True)
    for text in ('{"taken": "yesterday"}', "[]", "{"):
        record.write_text(text)
        with pytest.raises(Refused, match="cannot be read: it is damaged") as refused:
            ColabExecutor("colab", google.options()).held()
        assert "delete that file" in refused.value.hint


def test_an_option_that_is_misspelt_is_said(google: Double) -> None:
    probe = ColabExecutor("colab", google.options(idle_secs="1")).probe(DEADLINE)
    assert (probe.exit_code, probe.step) == (7, "configuration")
    assert "there is no option idle_secs" in probe.reason
