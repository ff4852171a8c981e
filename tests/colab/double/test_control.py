"""The account: each sentence that is known of the control plane, seen by a plain client."""

from __future__ import annotations

import math
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from executors.colab.places import new_hash
from tests.colab.double import Double, double
from tests.colab.double.asking import GUARD, T4, TUNNEL, comes, get, post, read, run, taken
from tests.colab.double.runtime import HEADER


class TestUsage:
    def test_what_the_account_may_have(self, pages: Double, me: httpx.Client) -> None:
        pages.control.quota, pages.control.refill = 4000, time.time() + 100
        assert read(me.get("/tun/m/ccu-info")) == {
            "currentBalance": 0,
            "consumptionRateHourly": 0,
            "assignmentsCount": 0,
            "eligibleGpus": ["T4"],
            "ineligibleGpus": ["L4", "A100"],
            "eligibleTpus": ["V5E1"],
            "freeCcuQuotaInfo": {"remainingTokens": "4000", "nextRefillTimestampSec": int(pages.control.refill)},
        }
        assert read(me.get("/tun/m/assignments")) == {"assignments": []}

    def test_quota_is_filled_up_again(self, pages: Double, me: httpx.Client) -> None:
        pages.control.quota, pages.control.refill = 0, time.time()
        free = read(me.get("/tun/m/ccu-info"))["freeCcuQuotaInfo"]
        assert free["remainingTokens"] == "36000"
        assert free["nextRefillTimestampSec"] > time.time()

    def test_who_pays_has_a_balance_and_no_free_quota(self, pages: Double, me: httpx.Client) -> None:
        pages.control.balance = 12.5
        told = read(me.get("/tun/m/ccu-info"))
        assert told["currentBalance"] == 12.5
        assert "freeCcuQuotaInfo" not in told


class TestEveryCall:
    @pytest.mark.parametrize("header", ["", "Bearer nonsense", "token {}", "Bearer {}x"])
    def test_demands_a_login(self, pages: Double, me: httpx.Client, header: str) -> None:
        me.headers["Authorization"] = header.format(pages.oauth.access())
        answer = me.get("/tun/m/ccu-info")
        assert answer.status_code == 401
        assert answer.text.startswith(GUARD)

    def test_refuses_a_login_that_expired(self, pages: Double, me: httpx.Client) -> None:
        pages.oauth.expire()
        assert me.get("/tun/m/assignments").status_code == 401
        pages.oauth.expires_in = 0
        me.headers["Authorization"] = f"Bearer {pages.oauth.access()}"
        assert me.get("/tun/m/assignments").status_code == 401

    def test_demands_authuser_and_a_client_agent(self, pages: Double, me: httpx.Client) -> None:
        me.params = {}
        assert me.get("/tun/m/ccu-info").status_code == 400
        assert me.get("/tun/m/ccu-info", params={"authuser": "0"}).status_code == 200
        del me.headers["X-Colab-Client-Agent"]
        assert me.get("/tun/m/ccu-info", params={"authuser": "0"}).status_code == 400

    def test_is_counted(self, pages: Double, me: httpx.Client) -> None:
        me.get("/tun/m/ccu-info")
        me.headers["Authorization"] = ""
        me.get("/tun/m/ccu-info")
        assert pages.faults.calls == {"ccu-info": 2}

    def test_can_answer_any_status_with_a_page(self, pages: Double, me: httpx.Client) -> None:
        pages.faults.fail["ccu-info"] = 502
        answer = me.get("/tun/m/ccu-info")
        assert (answer.status_code, answer.headers["content-type"]) == (502, "text/html; charset=utf-8")
        assert me.get("/tun/m/assignments").status_code == 200
        del pages.faults.fail["ccu-info"]
        assert me.get("/tun/m/ccu-info").status_code == 200

    def test_can_be_slow(self, pages: Double, me: httpx.Client) -> None:
        pages.faults.slow["ccu-info"] = 0.3
        started = time.monotonic()
        assert me.get("/tun/m/ccu-info").status_code == 200
        assert time.monotonic() - started >= 0.3

    def test_can_stay_silent_and_does_what_it_was_asked(self, pages: Double, me: httpx.Client) -> None:
        pages.control.quota, pages.control.refill = 0, time.time()
        pages.faults.silent.add("ccu-info")
        with pytest.raises(httpx.ReadTimeout):
            me.get("/tun/m/ccu-info", timeout=0.2)
        comes(lambda: pages.control.quota == pages.control.full)
        assert me.get("/tun/m/assignments").status_code == 200

    def test_cannot_be_reached_offline(self, pages: Double, me: httpx.Client) -> None:
        with pages.offline(), pytest.raises(httpx.ConnectError):
            me.get("/tun/m/ccu-info")
        assert me.get("/tun/m/ccu-info").status_code == 200

    def test_is_answered_when_the_double_ends_though_it_is_silent(self, pages: Double, me: httpx.Client) -> None:
        pages.faults.silent.add("ccu-info")
        with ThreadPoolExecutor(1) as pool:
            asked = pool.submit(me.get, "/tun/m/ccu-info")
            comes(lambda: pages.faults.calls["ccu-info"] == 1)
            with pages.offline():
                assert asked.result().status_code == 200


class TestAssign:
    def test_the_first_answer_is_a_token(self, me: httpx.Client) -> None:
        nbh = new_hash()
        told = read(me.get("/tun/m/assign", params={"nbh": nbh, **T4}))
        assert told.pop("token")
        assert told == {"acc": "T4", "nbh": nbh, "p": False, "variant": "GPU"}

    @pytest.mark.parametrize(
        "wanted",
        [
            {},
            {"nbh": "short"},
            {"nbh": new_hash().replace("_", "-")},
            {"nbh": new_hash(), "variant": "GPU"},
            {"nbh": new_hash(), "accelerator": "T4"},
        ],
    )
    def test_what_makes_no_sense_is_refused(self, me: httpx.Client, wanted: dict[str, str]) -> None:
        assert me.get("/tun/m/assign", params=wanted).status_code == 400

    def test_the_token_is_for_one_post_and_one_notebook(self, pages: Double, me: httpx.Client) -> None:
        pages.control.most = 0  # so that none is taken
        mine, other = ({"nbh": new_hash()} for _ in range(2))
        token = {"X-Goog-Colab-Token": read(me.get("/tun/m/assign", params=mine))["token"]}
        assert me.post("/tun/m/assign", params=mine).status_code == 403
        assert me.post("/tun/m/assign", params=mine, headers=token).status_code == 412
        assert me.post("/tun/m/assign", params=mine, headers=token).status_code == 403
        token = {"X-Goog-Colab-Token": read(me.get("/tun/m/assign", params=mine))["token"]}
        assert me.post("/tun/m/assign", params=other, headers=token).status_code == 403
        assert pages.runtimes == {}

    def test_too_many(self, pages: Double, me: httpx.Client) -> None:
        pages.control.most = 0
        assert post(me, new_hash(), **T4).status_code == 412

    def test_no_machine_of_a_kind(self, pages: Double, me: httpx.Client) -> None:
        pages.control.no_machine = {"T4", ""}
        assert post(me, new_hash(), **T4).status_code == 503
        assert post(me, new_hash()).status_code == 503

    def test_an_accelerator_that_the_account_may_not_have(self, me: httpx.Client) -> None:
        assert post(me, new_hash(), variant="GPU", accelerator="A100").status_code == 400

    @pytest.mark.parametrize("outcome", [1, 2, 5])
    def test_an_outcome_that_is_no_runtime(self, pages: Double, me: httpx.Client, outcome: int) -> None:
        pages.control.outcome = outcome
        assert taken(me, **T4) == {"outcome": outcome}
        assert pages.runtimes == {}

    def test_no_quota_left(self, pages: Double, me: httpx.Client) -> None:
        pages.control.quota = 0
        assert taken(me) == {"outcome": 2}

    def test_a_runtime(self, pages: Double, me: httpx.Client) -> None:
        pages.control.idle_seconds = 5000
        nbh = new_hash()
        told = taken(me, nbh, **T4)
        ((endpoint, machine),) = pages.runtimes.items()
        way = told.pop("runtimeProxyInfo")
        known = {"accelerator": "T4", "endpoint": endpoint, "variant": 1, "machineShape": 0}
        assert told == {**known, "fit": 5000, "sub": 1, "subTier": 0, "outcome": 4}
        assert (way["url"], way["tokenExpiresInSeconds"]) == (machine.url, 3600)
        assert get(f"{way['url']}/api/kernels", headers={HEADER: way["token"]}).json() == []
        assert read(me.get("/tun/m/assignments")) == {"assignments": [known]}
        usage = read(me.get("/tun/m/ccu-info"))
        assert (usage["assignmentsCount"], usage["freeCcuQuotaInfo"]["remainingTokens"]) == (1, "35000")
        again = read(me.get("/tun/m/assign", params={"nbh": nbh, **T4}))
        assert (again["endpoint"], "token" in again) == (endpoint, False)
        assert get(f"{way['url']}/api", headers={HEADER: again["runtimeProxyInfo"]["token"]}).is_success

    def test_many_at_once_for_one_notebook_get_one_runtime(self, pages: Double, me: httpx.Client) -> None:
        nbh = new_hash()
        wanted = {"nbh": nbh, **T4}
        tokens = [read(me.get("/tun/m/assign", params=wanted))["token"] for _ in range(4)]

        def take(token: str) -> str:
            answer = me.post("/tun/m/assign", params=wanted, headers={"X-Goog-Colab-Token": token})
            return str(read(answer)["endpoint"])

        with ThreadPoolExecutor(4) as pool:
            assert len(set(pool.map(take, tokens))) == 1
        assert len(pages.runtimes) == 1
        assert pages.control.quota == 35_000


class TestEnd:
    def test_a_runtime_that_is_given_back(self, pages: Double, me: httpx.Client) -> None:
        endpoint = taken(me)["endpoint"]
        machine = pages.runtimes[endpoint]
        place = f"/tun/m/unassign/{endpoint}"
        token = {"X-Goog-Colab-Token": read(me.get(place))["token"]}
        assert me.post(place).status_code == 403
        assert endpoint in pages.runtimes
        answer = me.post(place, headers=token)
        assert (answer.status_code, answer.content) == (204, b"")
        assert read(me.get("/tun/m/assignments")) == {"assignments": []}
        assert me.get(place).status_code == 404
        assert pages.control.ended == {endpoint: "released"}
        assert machine.gone

    def test_one_that_nobody_keeps_alive_is_ended(self, tmp_path: Path) -> None:
        with double(tmp_path / "google", warm=2) as google, google.client() as client:
            google.control.most = 2
            kept, left = (taken(client)["endpoint"] for _ in range(2))
            google.control.assignments[kept].kept.append(math.inf)
            google.control.idle_seconds = 0.5
            comes(lambda: left not in google.runtimes)
            assert google.control.ended == {left: "idle"}
            assert kept in google.runtimes
            google.control.life_seconds = 0.5
            comes(lambda: google.control.ended.get(kept) == "life")
            comes(lambda: read(client.get("/tun/m/assignments")) == {"assignments": []})

    def test_one_that_vanishes(self, tmp_path: Path) -> None:
        with double(tmp_path / "google") as google, google.client() as client:
            told = taken(client)
            endpoint, shown = told["endpoint"], {HEADER: told["runtimeProxyInfo"]["token"]}
            machine = google.runtimes[endpoint]
            run(machine, shown, "import subprocess; subprocess.Popen(['sleep', '1000'], start_new_session=True)")
            processes = machine.processes()
            assert any(process.name() == "sleep" for process in processes)
            google.vanish(endpoint)
            assert not any(process.is_running() for process in processes)
            assert not machine.disk.exists()
            with pytest.raises(httpx.ConnectError):
                get(f"{machine.url}/api", headers=shown)
            assert read(client.get("/tun/m/assignments")) == {"assignments": []}
            assert client.get(f"/tun/m/{endpoint}/keep-alive/", headers=TUNNEL).status_code == 404

    def test_one_that_vanishes_and_nobody_has_noticed(self, pages: Double, me: httpx.Client) -> None:
        endpoint = taken(me)["endpoint"]
        pages.vanish(endpoint, forget=False)
        listed = read(me.get("/tun/m/assignments"))["assignments"]
        assert [entry["endpoint"] for entry in listed] == [endpoint]
        way = read(me.get("/tun/m/runtime-proxy-token", params={"endpoint": endpoint, "port": 8080}, headers=TUNNEL))
        with pytest.raises(httpx.ConnectError):
            get(f"{way['url']}/api", headers={HEADER: way["token"]})
        pages.vanish(endpoint)
        assert read(me.get("/tun/m/assignments")) == {"assignments": []}
