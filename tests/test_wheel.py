"""The wheel, installed outside the checkout, stabilises: the remote scripts travel in it."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment with only the wheel in it; what it depends on is taken from the environment of the tests."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    kept = shutil.ignore_patterns(".*", "tests", "examples", "benchmarks", "__pycache__")
    shutil.copytree(ROOT, source, ignore=kept)
    pip = [sys.executable, "-m", "pip"]
    subprocess.run([*pip, "wheel", "-q", "--no-deps", "-w", folder, source], check=True, cwd=folder)
    wheel = next(folder.glob("*.whl"))
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "env"], check=True)
    site = next((folder / "env/lib").glob("python3*/site-packages"))
    subprocess.run([*pip, "install", "-q", "--no-deps", "--target", site, wheel], check=True, cwd=folder)
    theirs = next(path for path in sys.path if path.endswith("site-packages"))
    # The tests' own packages come after the wheel's, without the .pth file of the editable checkout.
    (site / "dependencies.pth").write_text(f"{theirs}\n")
    return folder / "env/bin/python"


def test_the_installed_wheel_stabilises(installed: Path, tmp_path: Path) -> None:
    clip = Path(shutil.copy(ROOT / "examples/handheld.mp4", tmp_path / "clip.mp4"))
    folders = {f"OFFLOAD_{name}_DIR": str(tmp_path / name) for name in ("CONFIG", "STATE", "CACHE")}
    done = subprocess.run(
        [installed, "-m", "services.stabilize", clip, "--json", "--preset", "ultrafast"],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], **folders},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    receipt = json.loads(done.stdout)
    assert (
        receipt["items"][0]["measured"]["jitter_px"]["after"] < receipt["items"][0]["measured"]["jitter_px"]["before"]
    )
    assert (tmp_path / "clip.stabilized.mp4").stat().st_size > 100_000


def test_the_installed_wheel_is_what_runs(installed: Path, tmp_path: Path) -> None:
    found = subprocess.run(
        [installed, "-c", "import broker, services; print(broker.__file__, services.__file__)"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert str(ROOT) not in found
