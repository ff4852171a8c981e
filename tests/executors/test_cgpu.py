"""The Colab executor by way of cgpu, against its stand-in: it passes what every executor must."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from executors.base import Executor
from executors.colab import CgpuExecutor
from tests.colab.double import Double, double
from tests.executors.cgpu_double import Cgpu, cgpu
from tests.executors.conformance import Blobs, Commands, Endings, ExecutorConformance, Files, Following, Jobs
from tests.executors.test_colab import MOUNT
from tests.executors.test_local import may_mount


def executor_at(google: Double, **options: object) -> CgpuExecutor:
    return CgpuExecutor("colab", google.options(url="colab+cgpu://", client_file="", **options))


class AtCgpu:
    """A runtime behind the stand-in."""

    google: Double
    folder: Path

    @pytest.fixture(scope="class")
    @classmethod
    def command(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cgpu]:
        folder = tmp_path_factory.mktemp("cgpu") / "google"
        with pytest.MonkeyPatch.context() as patch, double(folder) as google, cgpu(google, patch) as command:
            yield command

    @pytest.fixture(scope="class")
    @classmethod
    def executor(cls, command: Cgpu) -> Iterator[Executor]:
        with executor_at(command.google) as executor:
            yield executor

    @pytest.fixture(autouse=True)
    def _google(self, command: Cgpu, tmp_path: Path) -> None:
        self.google, self.folder = command.google, tmp_path

    def unreachable(self) -> Executor:
        return executor_at(self.google, cgpu=self.folder / "nowhere")

    @contextmanager
    def small_disk(self) -> Iterator[Executor]:
        if not may_mount(self.folder):
            pytest.skip("mounting a small tmpfs is not allowed here")
        with pytest.MonkeyPatch.context() as patch, double(self.folder / "google") as google, cgpu(google, patch):
            with executor_at(google) as colab:
                done = colab.run(MOUNT)  # in the mount namespace of the machine, which goes with it
                assert done.status == 0, done.stderr
            with colab:
                yield colab


class TestCgpu(AtCgpu, Files, Commands):
    """What is the executor's own, and one test of each thing that a job does: all of them take minutes."""

    test_start = Jobs.test_a_script_runs_and_leaves_its_outputs
    test_send = Jobs.test_an_input_sent_as_a_blob_lies_where_the_script_looks
    test_fail = Jobs.test_a_killed_script_tells_its_signal
    test_acknowledge = Jobs.test_an_acknowledged_job_is_gone
    test_missing_parts = Blobs.test_a_missing_part_is_named_and_the_others_are_kept
    test_events = Following.test_each_event_comes_once_to_one_who_asks_where_he_stopped
    test_reattach = Following.test_a_job_outlives_the_command_and_the_connection_that_started_it
    test_cancel = Endings.test_cancel_ends_grandchildren_that_ignore_sigterm_in_sessions_of_their_own
    test_cancel_politely = Endings.test_a_polite_script_has_its_time_to_save
    test_kill = Endings.test_a_killed_supervisor_is_noticed_and_its_script_ended
    test_lost = Endings.test_a_lost_job_is_not_started_again_and_can_be_acknowledged


@pytest.mark.soak
class TestCgpuThroughout(AtCgpu, ExecutorConformance):
    """What every executor must do."""


@pytest.mark.cgpu
class TestRealCgpu(ExecutorConformance):
    """The same with the real command, and a real account, where there are both."""

    short_timeout = 20.0

    @pytest.fixture(scope="class")
    @classmethod
    def executor(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Executor]:
        if shutil.which("cgpu") is None:
            pytest.skip("there is no command cgpu on PATH")
        if not (folder := os.environ.get("CGPU_CONFIG_DIR")):
            pytest.skip("CGPU_CONFIG_DIR does not say where its login is")
        state = str(tmp_path_factory.mktemp("state"))
        with CgpuExecutor("colab", {"url": "colab+cgpu://", "state": state, "cgpu": folder}) as executor:
            yield executor

    @pytest.fixture(autouse=True)
    def _folder(self, executor: Executor, tmp_path: Path) -> None:
        self.folder = tmp_path

    def unreachable(self) -> Executor:
        options = {"url": "colab+cgpu://", "state": str(self.folder), "cgpu": str(self.folder / "nowhere")}
        return CgpuExecutor("colab", options)
