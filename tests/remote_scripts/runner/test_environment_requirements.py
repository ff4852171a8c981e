"""What a header asks for, and whether an interpreter has it."""

from __future__ import annotations

import pytest
from _runner import interpreters, requirements


def lacking(needs: list[str]) -> list[str]:
    """What this interpreter lacks of these."""
    asked = {"requires_python": "", "dependencies": needs}
    return requirements.lacking(asked, interpreters.here(requirements.names(asked)))


class TestRequirements:
    @pytest.mark.parametrize(
        ("version", "specifier", "met"),
        [
            ("3.10.4", ">=3.10", True),
            ("3.9.18", ">=3.10", False),
            ("3.10", ">=3.10.0", True),
            ("3.10", "==3.10.0", True),
            ("18.1.0", "==18.1", True),
            ("18.1.1", "==18.1", False),
            ("2.9", ">=2.10", False),
            ("2.5.1+cu121", ">=2.4,<3", True),
            ("2.5.1+cu121", "==2.5.1", True),
            ("3.0", ">=2.4, <3", False),
            ("1.0", "!=1.0", False),
            ("1.0", ">1.0", False),
            ("1.0.1", ">1.0", True),
            ("1.0", "<=1.0", True),
            ("4.12.0.88", ">= 4.12", True),
            ("3.13.0rc1", ">=3.11", True),
            ("1.0", "", True),
        ],
    )
    def test_versions(self, version: str, specifier: str, met: bool) -> None:
        assert requirements.satisfies(version, specifier) is met

    @pytest.mark.parametrize("specifier", ["~=1.0", "==1.*", "===1.0", "1.0", ">=a", ">=1.0 <2"])
    def test_a_clause_that_is_not_understood_is_not_taken_for_met(self, specifier: str) -> None:
        with pytest.raises(ValueError, match="clause"):
            requirements.satisfies("1.0", specifier)

    def test_packages_are_looked_up_by_name_and_version(self) -> None:
        assert lacking(["pytest", "pytest>=1", "pytest >= 1, < 1000"]) == []
        assert lacking(["pytest<1", "no-such-package>=2"]) == [
            f"pytest<1 is needed, {pytest.__version__} is installed",
            "no-such-package>=2 is not installed",
        ]

    @pytest.mark.parametrize("requirement", ["", "a[b]>=1", "a; python_version<'3'", ">=1"])
    def test_a_requirement_that_is_not_understood_is_refused(self, requirement: str) -> None:
        with pytest.raises(ValueError, match="not a"):
            lacking([requirement])
