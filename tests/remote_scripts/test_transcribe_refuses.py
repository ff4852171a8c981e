"""What cannot be heard, and models that are none: each is told in a sentence, and nothing is left."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from .heard import alone, finish, job, models, sound, transcribe
from .scripted import SCRIPTS

__all__ = ["models"]  # a fixture

LOAD = """
import importlib, json, sys
from pathlib import Path

sys.path.insert(0, {scripts!r})
module = importlib.import_module({module!r})
for folder in sorted(Path().iterdir()):
    try:
        module.Engine(folder, {params!r}, 0)
    except Exception as error:
        print(json.dumps([folder.name, getattr(error, "kind", type(error).__name__), str(error)]))
"""
PARAMS = {"threads": 1, "translate": False, "beam_size": 1, "word_timestamps": False, "compute_type": "float32"}


class Poison:
    """A pickle that runs a program when it is loaded."""

    def __init__(self, proof: Path) -> None:
        self._proof = proof

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self._proof}",)


def load_all(folder: Path, module: str) -> dict[str, tuple[str, str]]:
    """What an engine says of each model in `folder` that it does not take: by name, kind and sentence."""
    code = LOAD.format(scripts=str(SCRIPTS), module=module, params=PARAMS)
    env = {**os.environ, **alone(folder.parent)}
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr
    assert "CONNECTION" not in done.stderr
    return {name: (kind, error) for name, kind, error in map(json.loads, done.stdout.splitlines())}


def test_a_checkpoint_that_is_none_is_named_and_runs_nothing(models: Path, tmp_path: Path) -> None:
    folder, proof = tmp_path / "models", tmp_path / "proof"
    genuine = (models / "tiny.pt").read_bytes()
    contents = {
        "good": genuine,
        "poison": pickle.dumps({"dims": Poison(proof), "model_state_dict": {}}),
        "short": genuine[: len(genuine) // 2],
        "noise": os.urandom(1000),
        "empty": b"",
        "sizes": (models / "sizes.pt").read_bytes(),
    }
    for name, content in contents.items():
        (folder / name).mkdir(parents=True)
        (folder / name / f"{name}.pt").write_bytes(content)
    shutil.copytree(models / "tiny", folder / "other")
    said = load_all(folder, "_whisper")
    assert sorted(said) == ["empty", "noise", "other", "poison", "short", "sizes"]
    assert {kind for kind, _ in said.values()} == {"integrity"}
    assert "--engine faster-whisper" in said.pop("other")[1]
    for name, (_, error) in said.items():
        assert f"{name}.pt cannot be loaded" in error
    assert not proof.exists()


def test_the_poison_is_one(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Poison(tmp_path / "proof")))
    assert (tmp_path / "proof").exists()


def test_a_folder_that_is_no_model_is_named_and_nobody_is_asked_for_the_rest(models: Path, tmp_path: Path) -> None:
    folder = tmp_path / "models"
    for name in ("good", "no-tokenizer", "no-weights", "short", "bands"):
        shutil.copytree(models / "tiny", folder / name)
    (folder / "no-tokenizer/tokenizer.json").unlink()
    (folder / "no-weights/model.bin").unlink()
    weights = (folder / "short/model.bin").read_bytes()
    (folder / "short/model.bin").write_bytes(weights[: len(weights) // 2])
    (folder / "bands/preprocessor_config.json").write_text('{"feature_size": 128}')
    said = load_all(folder, "_faster_whisper")
    assert sorted(said) == ["bands", "no-tokenizer", "no-weights", "short"]
    assert {kind for kind, _ in said.values()} == {"integrity"}
    assert "no tokenizer.json" in said["no-tokenizer"][1]
    assert "no model.bin" in said["no-weights"][1]
    assert "80 bands" in said["bands"][1] and "128" in said["bands"][1]


@pytest.mark.parametrize(("engine", "package"), [("whisper", "whisper"), ("faster-whisper", "faster_whisper")])
def test_a_package_that_is_missing_is_named_with_what_installs_it(
    engine: str, package: str, models: Path, tmp_path: Path
) -> None:
    model = models / ("tiny.pt" if engine == "whisper" else "tiny")
    extra = "transcribe" if engine == "whisper" else "faster-whisper"
    run = finish(job(tmp_path / "job", model, sound(tmp_path / "a.wav", (1, 0.5)), engine=engine), package)
    kind, error = run.failure()
    assert kind == "missing"
    assert f"pip install 'offload-broker[{extra}]'" in error


def test_numbers_that_the_machine_cannot_compute_with_are_named(models: Path, tmp_path: Path) -> None:
    run = transcribe(tmp_path / "job", models / "tiny", sound(tmp_path / "a.wav", (1, 0.5)), compute_type="float8")
    kind, error = run.failure()
    assert kind == "failed"
    assert "cannot compute in float8" in error and "float32" in error


def test_one_bad_input_does_not_take_the_others_with_it(models: Path, tmp_path: Path) -> None:
    good, bad = sound(tmp_path / "good.wav", (12, 0.5)), tmp_path / "bad.wav"
    bad.write_bytes(good.read_bytes()[:100_000])
    text = tmp_path / "text.flac"
    text.write_text("hello " * 1000)
    run = transcribe(tmp_path / "job", models / "tiny", bad, good, text)
    assert run.status == 0
    assert run.failure(0)[0] == run.failure(2)[0] == "bad_input"
    assert "cut short" in run.failure(0)[1]
    assert run.done(1)["measured"]["words"] == 14


def test_a_limit_is_a_limit(models: Path, tmp_path: Path) -> None:
    run = transcribe(tmp_path / "job", models / "tiny", sound(tmp_path / "a.wav", (12, 0.5)), limits={"seconds": 10})
    kind, error = run.failure()
    assert kind == "limit"
    assert "OFFLOAD_MAX_SECONDS" in error


def test_a_gpu_without_room_is_a_want_of_memory() -> None:
    """CTranslate2 says it with an error of no class of its own; the job then begins again with more ease."""
    from .runs import part

    part("_job")
    faster = part("_faster_whisper")
    with pytest.raises(MemoryError), faster._errors():
        raise RuntimeError("CUDA failed with error out of memory")
    with pytest.raises(Exception, match=r"libcublas\.so\.12") as caught, faster._errors():
        raise RuntimeError("Library libcublas.so.12 is not found or cannot be loaded")
    assert caught.value.kind == "missing"  # type: ignore[attr-defined]
    with pytest.raises(RuntimeError, match="other"), faster._errors():
        raise RuntimeError("other")
