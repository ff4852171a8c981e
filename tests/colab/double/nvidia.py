"""A stand-in for `nvidia-smi`: it tells of one GPU what scripts ask for, and else its usual table."""

from __future__ import annotations

import sys
from pathlib import Path

CARDS = {
    "T4": ("Tesla T4", 15360),
    "L4": ("NVIDIA L4", 23034),
    "A100": ("NVIDIA A100-SXM4-40GB", 40960),
}
DRIVER, CUDA = "550.54.15", "12.4"

PROGRAM = """#!{python} -I
import sys
card = {card!r}
asked = [word.partition("=")[2] for word in sys.argv if word.startswith("--query-gpu=")]
plain = any("nounits" in word for word in sys.argv)
if asked:
    if not any("noheader" in word for word in sys.argv):
        print(asked[0].replace(",", ", "))
    known = [card[field] for field in asked[0].split(",")]
    print(", ".join(word.partition(" ")[0] if plain and word.endswith(" MiB") else word for word in known))
else:
    print("| NVIDIA-SMI {driver}   Driver Version: {driver}   CUDA Version: {cuda} |")
    print("| " + card["name"] + " | 0MiB / " + card["memory.total"].replace(" ", "") + " |")
"""


def stand_in(path: Path, gpu: str) -> None:
    """Write the program for a GPU of this kind."""
    name, mebibytes = CARDS.get(gpu, (f"NVIDIA {gpu}", 16384))
    card = {
        "index": "0",
        "name": name,
        "memory.total": f"{mebibytes} MiB",
        "memory.free": f"{mebibytes} MiB",
        "memory.used": "0 MiB",
        "driver_version": DRIVER,
    }
    path.write_text(PROGRAM.format(python=sys.executable, card=card, driver=DRIVER, cuda=CUDA))
    path.chmod(0o755)
