"""What stands in for the command cgpu in tests: an executable on PATH, over the Colab double.

    with double(tmp_path / "google") as google, cgpu(google, monkeypatch) as command:
        with CgpuExecutor("colab", google.options(url="colab+cgpu://", state=...)) as executor: ...

It behaves as cgpu 0.1 does, hazards included. See `Cgpu` for its knobs.
"""

from tests.executors.cgpu_double.double import Cgpu, cgpu

__all__ = ["Cgpu", "cgpu"]
