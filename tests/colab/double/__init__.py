"""What stands in for Google in tests: login pages and a control plane, and real Jupyter servers behind them.

    with double(tmp_path / "google") as google:
        google.log_in()
        with ColabExecutor("colab", google.options(gpu="T4")) as executor: ...

A machine is started with the double, so that the first runtime is there at once; `warm` says how many. The control
plane is on one port, and each runtime on its own: `google.url`, `google.options(**changed)`.

- `google.log_in()` saves a login of ours, `google.log_in_cgpu()` one of the command cgpu
- `google.client()`: an httpx client for the control plane, logged in
- `google.control`: the account, with its quota, GPUs, limits and times, and the runtimes it has and had. See `Control`
- `google.oauth`: the user, the client and the tokens: `denies`, `grants`, `expires_in`, `expire()`, `revoke()`,
  `asked`, `exchanged`. See `OAuth`
- `google.faults`: `calls`, `fail`, `slow` and `silent`, by the name of a call. See `Faults`. The names are ccu-info,
  assignments, assign-token and assign (its GET and POST), unassign-token and unassign, runtime-proxy-token,
  keep-alive, login-page, token-page
- `google.offline()`: a `with` in which nothing listens where the pages are
- `google.runtimes`: machines, by endpoint. See `Runtime`: `content`, `home` and `disk` are its folders;
  `expire_tokens()`; `cut()` and `mend()`, a link that is silent for a while; `drop()`, which breaks connections;
  `processes()`. In a double that is `wired`, `wire` leads there, and can be jammed in the middle of a transfer
- `google.vanish(endpoint)`: a machine is gone, with its processes and its disk; `forget=False`: the control plane has
  not noticed
"""

from __future__ import annotations

from tests.colab.double.server import Double, double

__all__ = ["Double", "double"]
