// An output as text, and what a viewer makes of it.

import { html } from "../vendor/preact.js";
import { ask } from "../api.js";
import { Trouble } from "../parts.js";
import { useAnswer } from "../value.js";

/** What `make` makes of the text of a file (see files.js): { told, problem }. */
export function useText(side, make) {
  return useAnswer((signal) => ask("GET", side.address, { signal }).then((answer) => answer.text()).then(make), [side.address]);
}

/** What is shown until a text is there, and where it cannot be had. */
export function Pending({ answer, side }) {
  if (answer.problem) return html`<${Trouble} problem=${{ message: `${side.file} cannot be shown: ${answer.problem.message}` }} />`;
  return html`<p class="muted" role="status">Reading ${side.file}</p>`;
}
