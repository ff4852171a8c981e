"""What stands in for Google in tests: a control plane and login pages over HTTP, and real Jupyter servers behind them.

    with double(tmp_path / "google") as google:
        executor = ColabExecutor("colab", google.options(gpu="T4"))

- `google.url`, `google.options(**changed)`: a target's options that lead here, as text
- `google.client()`: an httpx client that is logged in and carries what each call must; `google.headers()` are those
- `google.control`: knobs and state of the control plane (see `Control`): `quota`, `eligible`, `no_machine`, `most`,
  `outcome`, `idle_seconds`, `life_seconds`, `token_seconds`, `route`, `assignments`, `ended`
- `google.oauth`: knobs and state of the login pages (see `OAuth`): `denies`, `grants`, `expires_in`, `issue()`,
  `access()`, `expire()`, `revoke()`, `asked`, `exchanged`
- `google.faults`: of any call by its name: `calls`, `fail`, `slow`, `silent` (see `Faults`). The names: ccu-info,
  assign-token (GET), assign (POST), assignments, runtime-proxy-token, keep-alive, unassign-token, unassign, login-page,
  token-page
- `google.runtimes`: the machines of all assignments, by endpoint (see `Runtime`): `files` on `disk`, `processes()`,
  `expire_tokens()`, `cut()`, `mend()`, `drop()`, `url`
- `google.vanish(endpoint, forget=True)`: a machine is gone at once; `forget=False`: it stays in the account's list
- `google.offline()`: a with statement in which nothing listens at the control plane's port
- `google.write_cgpu()`: the saved login of the command cgpu
"""

from __future__ import annotations

from tests.colab.double.server import Double, double, needs_namespace

__all__ = ["Double", "double", "needs_namespace"]
