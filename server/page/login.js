// Who is not known yet.

import { html } from "./vendor/preact.js";
import { Act, Command, Title, Trouble } from "./parts.js";

const USED = { message: "This link was used already, or is too old.", hint: "Each is good once, for ten minutes." };

/** How to be let in. `problem` is why the link that brought us here was no good. */
export function Door({ problem, again }) {
  const told = problem?.status === 401 ? USED : problem;
  return html`<main class="door">
    <div class="row"><img src="icon.svg" alt="" width="32" height="32" /></div>
    <${Title}>${told ? "Log in again" : "Log in"}<//>
    <${Trouble} problem=${told} />
    <p>On the machine where the server runs, this prints a link. Open it in this browser.</p>
    <${Command} text="offload serve --link" />
    ${problem?.status === 0 && html`<${Act} act=${again}>Try again<//>`}
  </main>`;
}
