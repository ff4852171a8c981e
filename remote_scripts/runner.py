"""The one program an executor ever starts on a target: `python runner.py VERB`, a JSON request on stdin.

Runs on any Python >= 3.8 with nothing installed. It lies at `<root>/scripts/<hash>/runner.py`, and everything it
reads or writes is under that root. It answers with JSON lines; the last one is the reply:

    {"v": 1, ...}                                        exit status 0
    {"v": 1, "error": {"kind": "...", "message": "..."}}  exit status 3

    verb       request                                    reply
    facts      {}                                         python, cpus, gpu, memory, disk, tools, platform
    parts      {sha256: [...]}                            for each: whether the blob is here, else its parts
    assemble   {sha256, size, parts}                      joins parts into a blob, after checking its sha256
    prepare    {environment}                              the interpreter a script would get, or, where it is not
                                                          `ready`, the one its environment would be built on
    models     {sha256: [...]}                            for each file of a model: whether it is here
    forget     {sha256: [...]}                            deletes these files of models
    start      {job, script, spec, inputs, environment,   starts the job detached; the same job again is not an error
                client, models, offline}
    events     {job, since, wait, ack}                    event lines from byte `since`, then {next, state, ...};
                                                          with {ending} once it has ended and all has been read, and,
                                                          where `ack` asks for it, {log} when it is deleted as by `ack`
    cancel     {job, grace}                               ends the whole process tree, politely for `grace` seconds
    ack        {job}                                      the results have arrived: deletes the job
    ls         {}                                         jobs, with state, age and the client that started each
    gc         {days, bytes}                              deletes what nobody has asked for in `days`

An input is {index, suffix} with its {blob} or, where files are shared, its {path, size, mtime_ns}; its `checkpoints`
are pieces that an earlier attempt finished, each {name} with the same.

An environment is {requires_python, dependencies, install: the command to tell a person}; `take`
names those that the target's own may serve for; with `build`, what is not
here is installed by the job, for itself and those after it, from the blobs `wheels: [{name, blob}]` where given.

A model is {role, name, source, revision, files: [{path, sha256, size, url}]}, with `paths` to those of them that are a
user's own files on this machine. What is not here is fetched by the job, unless it is `offline`.

Error kinds: bad_request, no_job, no_space, integrity (send it again), changed (an input is not the file it was),
missing (something is not installed; the message names the command that installs it), offline (the same, and wheels
from elsewhere would do: the job's event `wants` tells which), no_model (a model cannot be had; the message says why,
and the job's event `lacks` which files would do), failed.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from pathlib import Path
from typing import Any, Callable, Dict

from _runner import layout

VERSION = 1

MODULES = {
    "facts": "machine",
    "prepare": "environment",
    "parts": "blobs",
    "assemble": "blobs",
    "gc": "blobs",
    "models": "store",
    "forget": "store",
    "start": "jobs",
    "events": "events",
    "cancel": "jobs",
    "ack": "jobs",
    "ls": "jobs",
}


def main() -> int:
    """Answer one request."""
    root = Path(__file__).resolve().parents[2]
    try:
        if sys.argv[1:2] == ["supervise"]:
            return _supervise(root)
        reply = _verb(" ".join(sys.argv[1:]))(root, _request())
    except Exception as error:  # noqa: BLE001 - whatever went wrong must reach the caller as a reply
        _print({"v": VERSION, "error": layout.describe(error)})
        return 3
    _print({"v": VERSION, **reply})
    return 0


def _supervise(root: Path) -> int:
    from _runner.supervisor import supervise

    return supervise(root, sys.argv[2])


def _verb(name: str) -> Callable[[Path, Dict[str, Any]], Dict[str, Any]]:
    # Imported one at a time: a verb is a new process, and should cost what that verb needs.
    if name not in MODULES:
        raise ValueError("no such verb: %r" % name)
    module = importlib.import_module("_runner." + MODULES[name])
    verb: Callable[[Path, Dict[str, Any]], Dict[str, Any]] = getattr(module, name)
    return verb


def _request() -> Dict[str, Any]:
    request = json.loads(sys.stdin.buffer.read() or b"{}")
    if not isinstance(request, dict):
        raise ValueError("a request is a JSON object")
    if request.pop("v", VERSION) != VERSION:
        raise ValueError("this runner speaks version %d" % VERSION)
    return request


def _print(reply: Dict[str, Any]) -> None:
    print(json.dumps(reply, separators=(",", ":")), flush=True)


if __name__ == "__main__":
    os._exit(main())  # all has been said: to take the interpreter apart takes a good part of a verb
