"""The service of the fake work, as a command: `python tests/fakework/fake.py INPUT... [-o OUT] [parameters]`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from pydantic import Field

from services.base.service import Params, Service
from tests.fakework import SIZE


class Work(Params):
    """Parameters of the fake work: see the script."""

    seconds: Annotated[float, Field(ge=0, description="how long an item takes")] = 1.0
    size: Annotated[int, Field(ge=0, description="bytes of the output")] = SIZE
    digest: Annotated[bool, Field(description="make a second output")] = False
    family: Annotated[bool, Field(description="have a child, and a grandchild that is hard to end")] = False
    hold: Annotated[str, Field(description="a folder: an item waits for the file of its number there")] = ""
    noise: Annotated[bool, Field(description="print rubbish")] = False
    steps: Annotated[int, Field(ge=0, description="work in so many pieces, each a checkpoint")] = 0
    trouble: Annotated[str, Field(description="what goes wrong")] = ""


def _outputs(dest: Path, params: Work) -> Mapping[str, Path]:
    return {"worked.bin": dest} | ({"digest.txt": dest.with_suffix(".txt")} if params.digest else {})


SERVICE = Service(
    name="fake",
    summary="Pretend to work.",
    params=Work,
    script=Path(__file__).with_name("work.py").resolve(),
    accepts=frozenset({".dat"}),
    makes=(".bin",),
    label="worked",
    outputs=_outputs,
)


if __name__ == "__main__":
    from services.base.command import main

    main(SERVICE)
