"""Taking what is costly from an interpreter that has it: an environment's torch may be the one that is there already.

envs/<hash>/taken/     links to the files of what was taken; it comes last where modules are looked for

Installers find the metadata of what is taken in the environment, as if it had been installed there. So they judge
whether the rest goes with it, download none of it, and replace what it needs where the rest needs another version: that
removes a copy of metadata, and nothing of the interpreter's. Nothing else that the interpreter has can be imported.
"""

from __future__ import annotations

import os
import shutil
from itertools import chain
from pathlib import Path
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Set

from _runner import distributions, interpreters, requirements
from _runner.distributions import Distribution, normal
from _runner.interpreters import Interpreter
from _runner.layout import RunnerError

INSTALLER = "offload"
"""What the metadata of a taken distribution says of who installed it: its mark."""
METADATA = ("METADATA", "WHEEL", "top_level.txt", "entry_points.txt")


class Taken(NamedTuple):
    """What is taken from `python`: the names `chosen`, and all they need that it has."""

    python: Interpreter
    chosen: List[str]
    distributions: List[Distribution]

    @property
    def versions(self) -> Dict[str, str]:
        """Version of each that was chosen."""
        return {one.name: one.version for one in self.distributions if one.name in self.chosen}

    @property
    def fixed(self) -> Dict[str, str]:
        """Version of each that no other may take the place of: the chosen, and what they need in one version alone."""
        known = {one.name: one for one in self.distributions}
        names, waiting = set(), list(self.chosen)
        while waiting:
            name = waiting.pop()
            if name in known and name not in names:
                names.add(name)
                waiting += known[name].pins
        return {name: known[name].version for name in sorted(names)}

    @property
    def identity(self) -> List[Any]:
        """What tells an environment with these from one with others."""
        # Not by which of its names the interpreter was called: where its packages lie says which it is.
        return [self.python.version, *(list(one) for one in self.distributions)]


def find(environment: Dict[str, Any]) -> Optional[Taken]:
    """Look for what may be taken: `environment` names it in `take`. None where nothing suits.

    The runner's own interpreter comes first, then others. It has to be one that the environment can be built on.
    """
    if not requirements.takeable(environment):
        return None
    names = requirements.names(environment)
    found = chain([interpreters.here(names)], interpreters.others(names))
    return next((taken for taken in (_from(python, environment) for python in found) if taken), None)


def _from(python: Interpreter, environment: Dict[str, Any]) -> Optional[Taken]:
    if requirements.lacking_python(environment["requires_python"], python.version) or not _can_build(python):
        return None
    chosen = requirements.met(environment, python)
    if not chosen:
        return None
    pinned = [name for name in requirements.names(environment) if normal(name) not in chosen]
    known = distributions.at(python.path, chosen, pinned)
    chosen = [one.name for one in known if one.name in chosen]
    return Taken(python, chosen, known) if chosen else None


def _can_build(python: Interpreter) -> bool:
    return bool(python.modules or interpreters.program("uv"))


def constraints(taken: Taken, path: Path) -> List[str]:
    """Words that keep an installer from replacing what was chosen. Writes the file `path`."""
    path.write_text("".join("%s==%s\n" % pair for pair in sorted(taken.versions.items())), encoding="utf-8")
    return ["--constraint", str(path)]


def announce(taken: Taken, venv: Path) -> None:
    """Make what is taken look installed in the new environment at `venv`.

    Raises RunnerError, kind `missing`, when the interpreter has changed meanwhile.
    """
    site = _site(venv)
    here = {normal(entry.name.partition("-")[0]) for entry in site.glob("*.dist-info")}
    for one in taken.distributions:
        if one.name not in here:  # else a tool that came with the environment
            _copy_metadata(one, site / one.info)


def _copy_metadata(one: Distribution, folder: Path) -> None:
    files = {name: Path(one.site, one.info, name) for name in METADATA}
    folder.mkdir()
    try:
        for name in [name for name in METADATA if name == "METADATA" or files[name].exists()]:
            shutil.copyfile(str(files[name]), str(folder / name))
    except FileNotFoundError:
        raise _changed(one) from None
    (folder / "INSTALLER").write_text(INSTALLER + "\n", encoding="utf-8")
    names = [*(entry.name for entry in folder.iterdir()), "RECORD"]
    (folder / "RECORD").write_text("".join("%s/%s,,\n" % (one.info, name) for name in names), encoding="utf-8")


def link(taken: Taken, venv: Path) -> None:
    """Make what is taken, and was not replaced, importable in the environment at `venv`.

    By file, not by folder: others may lie in the same one, and Python writes what it compiles beside a source.
    Raises RunnerError, kind `missing`, when the interpreter has changed meanwhile.
    """
    site, folder = _site(venv), venv.with_name("taken")
    folder.mkdir()
    made: Set[Path] = set()
    left = kept(taken, venv)
    for one in [one for one in taken.distributions if one.name in left]:
        for path in _files(one):
            _link(Path(one.site, path), folder / path, made)
    (site / "offload-taken.pth").write_text("%s\n" % folder, encoding="utf-8")


def kept(taken: Taken, venv: Path) -> Dict[str, str]:
    """Versions of all that is taken and that installers did not replace."""
    site = _site(venv)
    return {one.name: one.version for one in taken.distributions if _is_marked(site / one.info / "INSTALLER")}


def _is_marked(path: Path) -> bool:
    return path.exists() and path.read_text(encoding="utf-8").strip() == INSTALLER


def _files(one: Distribution) -> Iterator[str]:
    import csv

    for row in csv.reader(_record(one).split("\n")):
        path = row[0] if row else ""
        top, _, below = path.partition("/")
        outside = path.startswith("/") or ".." in path.split("/")  # programs
        if path and not outside and top != one.info and (below or not path.endswith(".pth")):
            yield path


def _record(one: Distribution) -> str:
    try:
        record = Path(one.site, one.info, "RECORD").read_text(encoding="utf-8")
    except FileNotFoundError:
        raise _changed(one) from None
    import hashlib  # slow to import, and most jobs take nothing

    if hashlib.sha256(record.encode()).hexdigest() != one.digest:
        raise _changed(one)
    return record


def _changed(one: Distribution) -> RunnerError:
    return RunnerError("missing", "%s was changed while it was being taken" % one.name)


def _link(source: Path, path: Path, made: Set[Path]) -> None:
    if path.parent not in made:
        path.parent.mkdir(parents=True, exist_ok=True)
        made.add(path.parent)
    if not os.path.lexists(str(path)):  # several distributions may have the same file, as parts of one package
        path.symlink_to(source)


def modules(taken: Taken) -> List[str]:
    """Modules that the chosen are to be imported by, where that is their name."""
    return sorted({top for one in taken.distributions if one.name in taken.chosen for top in _tops(one)})


def _tops(one: Distribution) -> Iterator[str]:
    for path in _files(one):
        top = path[: -len("/__init__.py")] if path.endswith("/__init__.py") else path[: -len(".py")]
        if path in (top + "/__init__.py", top + ".py") and top.isidentifier() and normal(top) == one.name:
            yield top


def _site(venv: Path) -> Path:
    return next(venv.glob("lib/*/site-packages"))
