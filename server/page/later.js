// Components of modules that are loaded when they are first needed.

import { html } from "./vendor/preact.js";
import { Trouble } from "./parts.js";
import { useAnswer } from "./value.js";

/** What `load` promises, drawn with the other properties. Until then nothing. */
export function Later({ load, ...properties }) {
  const { told: Loaded, problem } = useAnswer(() => load(), [load]);
  if (problem) return html`<${Trouble} problem=${problem} />`;
  return Loaded ? html`<${Loaded} ...${properties} />` : null;
}
