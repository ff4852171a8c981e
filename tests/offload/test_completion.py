"""Shell completion, through the protocol that the shells' own functions speak."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from services import names
from tests.services.typed import PYTHON, environment, fake, offload, type_

MAIN = (PYTHON, "-c", "import sys; sys.argv[0] = 'offload'; from offload.main import main; main()")


def complete(here: Path, line: str) -> set[str]:
    """What bash would be offered after `line`."""
    words = line.split(" ")
    env = {"_OFFLOAD_COMPLETE": "bash_complete", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
    said = type_(MAIN, here, env)
    assert (said.code, said.err) == (0, "")
    return set(said.lines) - {""}


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("offload st", {"plain,stabilize"}),
        (
            "offload ",
            {
                f"plain,{verb}"
                for verb in (
                    *(
                        "cache",
                        "completion",
                        "doctor",
                        "jobs",
                        "models",
                        "plan",
                        "search",
                        "serve",
                        "targets",
                        "verify",
                    ),
                    *names(),
                )
            },
        ),
        (
            "offload jobs ",
            {f"plain,{verb}" for verb in ("attach", "cancel", "logs", "ls", "retry", "rm", "show", "watch")},
        ),
        ("offload stabilize --skip", {"plain,--skip-existing"}),
        ("offload stabilize --preset very", {"plain,veryfast", "plain,veryslow"}),
        ("offload completion f", {"plain,fish"}),
    ],
)
def test_verbs_and_options(here: Path, line: str, offered: set[str]) -> None:
    assert complete(here, line) == offered


@pytest.mark.parametrize("line", ["offload stabilize cl", "offload stabilize -o cl", "offload stabilize --report cl"])
def test_files_are_left_to_the_shell(here: Path, line: str) -> None:
    assert complete(here, line) == {"file,cl"}


def test_targets(here: Path, offload_dirs: Path) -> None:
    assert complete(here, "offload stabilize --on ") == {"plain,auto", "plain,remote", "plain,local"}
    (offload_dirs / "config" / "targets.toml").write_text('[my-box]\nurl = "local:///x"\n')
    assert complete(here, "offload stabilize --on m") == {"plain,my-box"}
    assert complete(here, "offload stabilize --on my-box,") == {"plain,my-box,my-box", "plain,my-box,local"}


def test_jobs(here: Path, data: Path) -> None:
    assert fake(here, "a.dat").code == 0
    [job] = offload(here, "jobs", "ls", "--json").document
    for verb in ("show", "logs", "cancel", "rm"):
        assert complete(here, f"offload jobs {verb} {job['job'][:3]}") == {f"plain,{job['job']}"}
    assert complete(here, "offload jobs show zzz") == set()


def test_a_broken_configuration_does_not_break_the_prompt(here: Path, offload_dirs: Path) -> None:
    (offload_dirs / "config" / "targets.toml").write_text("[")
    assert complete(here, "offload stabilize --on ") == {"plain,auto", "plain,remote", "plain,local"}
    assert complete(here, "offload jobs show ") == set()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_gets_a_script_it_can_read(here: Path, shell: str) -> None:
    said = offload(here, "completion", shell)
    assert said.code == 0
    assert b"_OFFLOAD_COMPLETE" in said.out
    if shutil.which(shell):
        subprocess.run([shell, "-n"], input=said.out, check=True)


def test_bash_completes_for_real(here: Path) -> None:
    (here / "offload").write_text(f'#!/bin/sh\nexec {PYTHON} -c "{MAIN[2]}" "$@"\n')
    (here / "offload").chmod(0o755)
    asked = 'eval "$(offload completion bash)"; COMP_WORDS=(offload sta); COMP_CWORD=1; _offload_completion offload; '
    path = f"{here}:{environment()['PATH']}"
    done = subprocess.run(
        ["bash", "-c", asked + 'printf "%s\\n" "${COMPREPLY[@]}"'],
        env=environment({"PATH": path}),
        capture_output=True,
        text=True,
    )
    assert done.stdout == "stabilize\n", done.stderr
