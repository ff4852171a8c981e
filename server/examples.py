"""Examples for the API's description: of what the server tells, and of why it refuses.

Each is one that a server gave. The models of `schemas` take theirs from here, by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

CLIP, STEADY = (
    "338868e45cc5cbb192c5e7874c6ce2957b7db5b77b300baa5e3f0af01cf89b80",
    "ec191d263db19d7c27418d7b2039432d31682ea2d017036ae2cdb91f1c9f6109",
)
FOLDER = "/home/me/.local/state/offload/server/jobs/cb7cc3cb039713c5b478f2ce500c9a9f"

OUTPUT = {"name": "0-stabilized.mp4", "file": "clip.stabilized.mp4", "kind": "video/mp4", "size": 1678300}
MEASURED = {"frames": 250, "seconds": 10.0, "jitter_px": {"before": 15.9, "after": 0.004}}

BLOB = {"upload": f"{CLIP}-4357700", "sha256": CLIP, "size": 4357700, "offset": 1048576, "known": False}

ITEM = {
    "index": 0,
    "name": "clip.mp4",
    "size": 4357700,
    "sha256": CLIP,
    "kind": "video/mp4",
    "state": "done",
    "progress": 1.0,
    "speed": 1.2,
    "eta": 0.0,
    "error": None,
    "measured": MEASURED,
    "summary": "camera jitter 15.90 -> 0.00 px",
    "viewable": True,
    "outputs": [OUTPUT | {"sha256": STEADY}],
}

ATTEMPT = {
    "number": 1,
    "target": "local",
    "prepares": False,
    "items": None,
    "reason": "no other target to choose from",
    "state": "done",
    "error": None,
    "seconds": 9.013,
}

JOB = {
    "job": "16d5ad00804f",
    "revision": "5999aa826e17fac7",
    "service": "stabilize",
    "state": "done",
    "over": True,
    "why": "",
    "error": None,
    "hint": "",
    "exit_code": 0,
    "progress": 1.0,
    "created": 1795324840.748,
    "seconds": 9.51,
    "params": {"smoothing": 30, "zoom": "auto", "crf": 18},
    "command": f"cd {FOLDER} && offload stabilize --smoothing=30 -o out/ in/clip.mp4",
    "items": [ITEM],
    "attempts": [ATTEMPT],
}

ROW = {
    "job": "16d5ad00804f",
    "service": "stabilize",
    "state": "done",
    "over": True,
    "why": "",
    "progress": 1.0,
    "created": 1795324840.748,
    "first": "clip.mp4",
    "items": 1,
}

RECEIPT = {name: JOB[name] for name in ("job", "service", "state", "error", "params", "created", "seconds")} | {
    "items": [
        {
            "index": 0,
            "input": f"{FOLDER}/in/clip.mp4",
            "sha256": CLIP,
            "size": 4357700,
            "payload": None,
            "state": "done",
            "kind": None,
            "error": None,
            "measured": MEASURED,
            "checkpoints": [],
            "outputs": [{"path": f"{FOLDER}/out/clip.stabilized.mp4", "size": 1678300, "sha256": STEADY, "attempt": 1}],
        }
    ],
    "attempts": [
        ATTEMPT
        | {
            "timings": {"stage_in": 0.0, "run": 8.738, "stage_out": 0.058},
            "forecast": {"upload": 0.0, "start": 0.5, "prepare": 0.0, "run": 8.5, "download": 0.0},
            "versions": {"python": "3.11.7", "av": "18.1.0"},
        }
    ],
}

PLACE = {
    "target": "local",
    "state": "ready",
    "reachable": True,
    "send_bytes": 0,
    "seconds": 9.0,
    "phases": {"upload": 0.0, "start": 0.5, "prepare": 0.0, "run": 8.5, "download": 0.0},
    "known": {
        "upload": "nothing to do",
        "start": "estimated",
        "prepare": "nothing to do",
        "run": "measured",
        "download": "nothing to do",
    },
    "link": "nothing to do",
    "reason": "no other target to choose from",
}

MODEL = {
    "id": "tiny",
    "object": "model",
    "name": "tiny",
    "service": "transcribe",
    "engine": "whisper",
    "licence": "MIT",
    "size_bytes": 75000000,
    "default": False,
    "gated": False,
    "here": False,
}

EXAMPLES: Mapping[str, Mapping[str, Any]] = {
    "Job": JOB,
    "Jobs": {"jobs": [ROW], "more": True, "before": "1"},
    "Gone": {"job": "16d5ad00804f"},
    "Removed": {"job": "16d5ad00804f", "did": "cancelled", "silent": []},
    "Blob": BLOB,
    "Service": {
        "name": "stabilize",
        "summary": "Steady a shaky clip.",
        "accepts": [".mkv", ".mov", ".mp4"],
        "makes": [".mp4", ".mov", ".mkv"],
        "contract": "bytes",
        "params": {
            "type": "object",
            "properties": {"smoothing": {"default": 30, "maximum": 1000, "minimum": 0, "type": "integer"}},
            "additionalProperties": False,
        },
    },
    "Target": {
        "name": "local",
        "kind": "local",
        "state": "up",
        "reachable": True,
        "cpus": 8,
        "gpu": None,
        "disk_free_bytes": 32128512000,
        "reason": "no other target to choose from",
        "holds": None,
    },
    "Checkup": {
        "target": "local",
        "ok": True,
        "steps": [
            {"name": "Python", "ok": True, "said": "3.11.7 at /usr/bin/python3", "hint": ""},
            {"name": "1 MB there and back", "ok": True, "said": "379.8 MB/s up, 3156.7 MB/s down", "hint": ""},
        ],
    },
    "Plan": {"targets": [PLACE], "why": "", "cached": []},
    "Model": MODEL,
    "Models": {"object": "list", "data": [MODEL]},
    "Found": {
        "moments": [
            {"job": "0a1b2c3d4e5f", "item": 0, "name": "trip.mp4", "seconds": 12.5, "score": 0.31, "viewable": True}
        ],
        "left_out": [],
    },
    "Health": {"version": "0.1.0", "open_jobs": 1, "notices": []},
    "Link": {"link": "http://127.0.0.1:8765/#code=a7Jc0bWn5m2Q"},
}
"""What the server tells, by the name of its model."""

LOG = "--- attempt 1 on local: done\n[info] Input #0, mov,mp4,m4a,3gp,3g2,mj2, from 'file:input':\n"
EVENT = 'event: gone\ndata: {"job":"16d5ad00804f"}\n\n'
METRICS = """# HELP offload_jobs Jobs in the journal.
# TYPE offload_jobs gauge
offload_jobs{service="stabilize",state="done"} 1.0
"""
SPEECH: Mapping[str, Any] = {
    "application/json": {"text": "And so my fellow Americans"},
    "text/plain": "And so my fellow Americans\n",
    "application/x-subrip": "1\n00:00:00,000 --> 00:00:04,000\nAnd so my fellow Americans\n\n",
    "text/vtt": "WEBVTT\n\n00:00.000 --> 00:04.000\nAnd so my fellow Americans\n\n",
}


def answer(description: str, kind: str, example: Any) -> dict[int | str, dict[str, Any]]:
    """How a route whose answer has no model describes it, with an example."""
    schema = {"type": "string" if isinstance(example, str) else "object"}
    return {200: {"description": description, "content": {kind: {"schema": schema, "example": example}}}}


PROBLEMS: Mapping[int, tuple[str, str]] = {
    400: ("There was an error parsing the body", ""),
    401: ("the token is missing, or wrong", "offload serve --link prints a link to log in by"),
    403: ("a page of another site may not ask this", "open the server's own page"),
    404: ("no job is named '0123456789ab'", "GET /v1/jobs"),
    408: ("nothing came for 60 s: what had come is kept", "go on where HEAD tells"),
    409: ("this upload goes on at byte 1048576, not at 0", "ask where it goes on with HEAD"),
    410: ("the job was removed before it was done", "ask again for a new one"),
    413: ("a request has 2000000 bytes at most here", "upload files with /v1/blobs"),
    415: ("this takes JSON", "say so: Content-Type: application/json"),
    416: ("there are 1678300 bytes, and what was asked for is beyond them", ""),
    422: ("smoothing 1001: it takes a whole number, 0 to 1000", ""),
    424: ("tiny (75 MB) is not here, and no network may be used (--offline)", "offload models prefetch tiny"),
    429: ("too many wrong codes; try again in 42 s", "offload serve --link prints a new one"),
    460: (f"what came is not the 4357700 bytes of sha256 {CLIP}: nothing of it is kept", "send it again"),
    500: ("something unexpected went wrong; the server's log says what", ""),
    503: ("job 16d5ad00804f is in somebody's hands", "ask again in a moment"),
    507: ("the disk that holds /home/me/.local/state/offload/server is full", "make room there"),
}
"""Why the server refuses, and what to do then, by status."""
