"""Settings: environment over file over default, and what is wrong is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from broker import settings
from broker.errors import ConfigError


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "config.toml"


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {"OFFLOAD_CONFIG_DIR": str(tmp_path)}


def test_environment_over_file_over_default(file: Path, environ: dict[str, str]) -> None:
    default = settings.load(environ)
    assert (default.max_pixels, default.cancel_grace) == (40_000_000, 2.0)
    file.write_text('max_pixels = 1000\ncancel_grace = 5\nstate_dir = "/from/file"\n')
    loaded = settings.load({**environ, "OFFLOAD_CANCEL_GRACE": "7", "OFFLOAD_MAX_SECONDS": ""})
    assert (loaded.max_pixels, loaded.cancel_grace, loaded.max_seconds) == (1000, 7.0, default.max_seconds)
    assert loaded.journal == Path("/from/file/journal.sqlite3")
    assert loaded.limits == {"pixels": 1000, "seconds": default.max_seconds}


def test_the_three_folders_are_the_platforms_unless_named(environ: dict[str, str]) -> None:
    loaded = settings.load({})
    assert len({loaded.config_dir, loaded.state_dir, loaded.cache_dir}) == 3
    assert all(folder.name == "offload" for folder in (loaded.config_dir, loaded.state_dir, loaded.cache_dir))


@pytest.mark.parametrize(("name", "value"), [("MAX_PIXELS", "many"), ("MAX_PIXELS", "0"), ("CANCEL_GRACE", "-1")])
def test_a_wrong_variable_is_named(name: str, value: str, environ: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match=name.lower()) as caught:
        settings.load({**environ, f"OFFLOAD_{name}": value})
    assert f"OFFLOAD_{name}" in caught.value.hint


@pytest.mark.parametrize(("size", "bytes_"), [("20G", 20 * 10**9), ("1.5 MB", 1_500_000), ("700", 700), ("0", 0)])
def test_sizes_are_as_people_write_them(size: str, bytes_: int, file: Path, environ: dict[str, str]) -> None:
    assert settings.load({**environ, "OFFLOAD_RESULT_BYTES": size}).result_bytes == bytes_
    file.write_text(f"result_bytes = {size!r}\n")
    assert settings.load(environ).result_bytes == bytes_


@pytest.mark.parametrize("size", ["20X", "-1", "many"])
def test_what_is_no_size_is_said(size: str, environ: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match=f"result_bytes: '{size}' is no size: write 20G, 500M or"):
        settings.load({**environ, "OFFLOAD_RESULT_BYTES": size})


@pytest.mark.parametrize("text", ["max_pixels = 'many'", "max_pixel = 3", "max_pixels = = 3", "\0"])
def test_a_wrong_file_is_named(text: str, file: Path, environ: dict[str, str]) -> None:
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        settings.load(environ)
    assert str(file) in str(caught.value) + caught.value.hint


def test_a_file_that_is_no_text_is_named(file: Path, environ: dict[str, str]) -> None:
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match=r"config\.toml"):
        settings.load(environ)
    file.unlink()
    file.mkdir()
    with pytest.raises(ConfigError, match=r"config\.toml"):
        settings.load(environ)


def test_folders_stay_what_they_are_for_who_starts_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert settings.load({"OFFLOAD_STATE_DIR": "here"}).state_dir == tmp_path / "here"
