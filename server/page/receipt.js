// The receipt of a job, to be read.

import { html } from "./vendor/preact.js";
import { at, read } from "./api.js";
import { bytes, duration, label, moment } from "./format.js";
import { Copy, Trouble } from "./parts.js";
import { called } from "./plan.js";
import { useAnswer } from "./value.js";

/** What is told of a job afterwards: figures, versions, hashes. */
export function Receipt({ job }) {
  const { told, problem } = useAnswer((signal) => read(at(job.job, "receipt"), signal), [job.job, job.revision]);
  if (!told) return problem ? html`<${Trouble} problem=${problem} />` : html`<p class="muted">Reading</p>`;
  return html`<div class="stack small">
    <${Facts} of=${{ started: moment(told.created), ...(told.seconds === null ? {} : { took: duration(told.seconds) }) }} />
    <${Part} title="Parameters" of=${told.params} />
    ${told.items.map((item) => html`<div key=${item.index} class="stack">
      <h3><bdi>${fileName(item.input)}</bdi></h3>
      <${Facts} of=${{ size: bytes(item.size), sha256: item.sha256, ...flat(item.measured) }} />
      ${item.outputs.map((output) => html`<${Facts} key=${output.path} of=${{ output: output.path, size: bytes(output.size), sha256: output.sha256 }} />`)}
    </div>`)}
    ${told.attempts.map((one) => html`<div key=${one.number} class="stack">
      <h3>Attempt ${one.number}, ${called(one.target)}</h3>
      <${Facts} of=${{ state: one.state, why: one.reason, ...flat({ seconds: one.timings }), ...flat({ version: one.versions }) }} />
    </div>`)}
    <div><${Copy} text=${JSON.stringify(told, null, 2)}>Copy as JSON<//></div>
  </div>`;
}

function Part({ title, of }) {
  return html`<div class="stack"><h3>${title}</h3><${Facts} of=${flat(of)} /></div>`;
}

function Facts({ of }) {
  return html`<dl class="facts">${Object.entries(of).map(([name, value]) => html`
    <dt>${label(name)}</dt><dd class=${/sha256|output/.test(name) ? "mono" : ""}>${shown(value)}</dd>`)}</dl>`;
}

/** What is nested, in one level: jitter_px.before is "jitter px, before". */
export function flat(of, before = "") {
  return Object.entries(of ?? {}).reduce((all, [name, value]) => {
    const named = before ? `${before}, ${name}` : name;
    const nested = value && typeof value === "object" && !Array.isArray(value);
    return { ...all, ...(nested ? flat(value, named) : { [named]: value }) };
  }, {});
}

function shown(value) {
  if (value === null) return "not set";
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (typeof value === "number") return Number.isInteger(value) ? String(value) : String(Number(value.toPrecision(4)));
  return Array.isArray(value) ? value.map(String).join(", ") : String(value);
}

function fileName(path) {
  return path.split("/").at(-1);
}
