"""Options of targets, as their user wrote them."""

from __future__ import annotations

from pathlib import Path

import pytest

from broker import settings, targets
from executors.options import at_home


def test_home_is_home_and_one_of_nobody_stays_as_it_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert at_home("~/key") == Path("/home/me/key")
    assert at_home("~nobody.here/key") == Path("~nobody.here/key")
    assert at_home("/a/~b") == Path("/a/~b")


@pytest.mark.parametrize(
    "table",
    [
        '[one]\nurl = "ssh://box"\nidentity = "~nobody.here/key"',
        '[one]\nurl = "jupyter+http://127.0.0.1:8888"\ntoken_file = "~nobody.here/token"\nca = "~nobody.here/ca"',
        '[one]\nurl = "colab://"\nclient_file = "~nobody.here/client"',
    ],
)
def test_a_home_of_nobody_costs_no_other_target(table: str, offload_dirs: Path) -> None:
    (offload_dirs / "config/targets.toml").write_text(table + "\n")
    assert list(targets.load(settings.load())) == ["one", "local"]
