"""What a script's header asks of an interpreter, and what of that is lacking."""

from __future__ import annotations

import operator
import re
from typing import Any, Dict, List, Mapping, Optional, Tuple

from _runner.distributions import normal
from _runner.interpreters import Interpreter

_REQUIREMENT = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)\s*([^;\[]*)")
_CLAUSE = re.compile(r"(==|>=|<=|!=|>|<)\s*([0-9]+(?:\.[0-9]+)*)")
_TESTS = {
    "==": operator.eq,
    "!=": operator.ne,
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}


def names(environment: Dict[str, Any]) -> List[str]:
    """Packages that `environment` asks for: {requires_python, dependencies, ...}."""
    return [_split(requirement)[0] for requirement in environment["dependencies"]]


def takeable(environment: Dict[str, Any]) -> List[str]:
    """Packages asked for that need not be the environment's own: those that it names in `take`, in normal form."""
    named = set(map(normal, environment.get("take") or []))
    return sorted(named & set(map(normal, names(environment))))


def met(environment: Dict[str, Any], found: Interpreter) -> List[str]:
    """Those of `takeable` that an interpreter, which was asked for our `names`, has in a version that will do."""
    unmet = [need for need in environment["dependencies"] if lacking_packages([need], found.packages)]
    others = {normal(_split(need)[0]) for need in unmet}
    return [name for name in takeable(environment) if name not in others]


def lacking(environment: Dict[str, Any], found: Interpreter) -> List[str]:
    """What an interpreter that was asked for our `names` lacks, in words."""
    return lacking_python(environment["requires_python"], found.version) + lacking_packages(
        environment["dependencies"], found.packages
    )


def lacking_python(requires: str, version: str) -> List[str]:
    """Say that another Python is needed, if so."""
    return [] if satisfies(version, requires) else ["Python %s is needed, this is %s" % (requires, version)]


def lacking_packages(requirements: List[str], installed: Mapping[str, Optional[str]]) -> List[str]:
    """Say of each requirement that is not met what is wrong."""
    words = []
    for requirement in requirements:
        name, wanted = _split(requirement)
        version = installed[name]
        if version is None:
            words.append("%s is not installed" % requirement)
        elif not satisfies(version, wanted):
            words.append("%s is needed, %s is installed" % (requirement, version))
    return words


def _split(requirement: str) -> Tuple[str, str]:
    match = _REQUIREMENT.fullmatch(requirement)
    if match is None:
        raise ValueError("not a requirement: %r" % requirement)
    satisfies("0", match.group(2))  # understood, whether it is installed or not: pip will be given it
    return match.group(1), match.group(2)


def satisfies(version: str, specifier: str) -> bool:
    """Whether `version` meets every clause of `specifier` (`>=3.10,<4`). Numeric releases only, as our headers use.

    Raises ValueError for a clause it does not understand, rather than take it for met.
    """
    return all(_meets(version, clause.strip()) for clause in specifier.split(",") if clause.strip())


def _meets(version: str, clause: str) -> bool:
    match = _CLAUSE.fullmatch(clause)
    if match is None:
        raise ValueError("not a version clause this runner understands: %r" % clause)
    found, bound = _aligned(version, match.group(2))
    return bool(_TESTS[match.group(1)](found, bound))


def _aligned(*versions: str) -> List[Tuple[int, ...]]:
    numbers = [[int(n) for n in re.findall(r"\d+", version.split("+")[0])] for version in versions]
    width = max(len(n) for n in numbers)
    return [tuple(n + [0] * (width - len(n))) for n in numbers]
