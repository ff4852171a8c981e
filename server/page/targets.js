// The places a job can run.

import { html, useState } from "./vendor/preact.js";
import { LONG_MS, read, tell } from "./api.js";
import { bytes } from "./format.js";
import { jobs, returns } from "./live.js";
import { Act, Title, Trouble } from "./parts.js";
import { called } from "./plan.js";
import { useAnswer, useValue } from "./value.js";

/** The view of all targets. */
export function Targets() {
  const [round, setRound] = useState(0);
  const { told, problem, asking } = useAnswer((signal) => read("/v1/targets", signal), [round, useValue(returns)]);
  const busy = working([...useValue(jobs).values()]);
  return html`<div class="head"><${Title}>Targets<//>
      <button type="button" class="push" disabled=${asking} onClick=${() => setRound(round + 1)}>${asking ? "Asking" : "Ask again"}</button>
    </div>
    <${Trouble} problem=${problem} />
    <p class="muted">In the order in which they are tried, where nothing is known of how long a job takes.</p>
    <ul class="stack targets">${(told ?? []).map((target) => html`<${Target} key=${target.name} target=${target} jobs=${busy.get(target.name) ?? []} />`)}</ul>`;
}

/** Jobs that are not over, by the target of their latest attempt. */
function working(all) {
  const found = new Map();
  for (const job of all) {
    const last = job.attempts?.at(-1);
    if (!job.over && last && last.seconds === null) found.set(last.target, [...(found.get(last.target) ?? []), job]);
  }
  return found;
}

function Target({ target, jobs: here }) {
  const look = target.reachable ? "good" : "warn";
  const facts = [target.kind, target.gpu, target.cpus && `${target.cpus} processors`, target.disk_free_bytes !== null && `${bytes(target.disk_free_bytes)} free`];
  return html`<li class="panel"><div class="body stack">
    <div class="head">
      <h2>${called(target.name)}</h2>
      <span class="state ${look}">${target.state}</span>
      <span class="muted small">${facts.filter(Boolean).join(", ")}</span>
    </div>
    <p>${target.reason}</p>
    ${target.holds && html`<p>Holds ${target.holds}</p>`}
    ${here.length > 0 && html`<ul class="row small">${here.map((job) => html`<li key=${job.job}><a href="#/jobs/${encodeURIComponent(job.job)}">${job.service} <bdi>${job.first}</bdi></a></li>`)}</ul>`}
    <${Test} name=${target.name} />
  </div></li>`;
}

/** A small job sent there and back, step by step. */
function Test({ name }) {
  const [told, setTold] = useState(null);
  const [problem, setProblem] = useState(null);
  const test = () => {
    setTold(null);
    return tell("POST", `/v1/targets/${encodeURIComponent(name)}/test`, { limit: LONG_MS }).then(setTold);
  };
  return html`<div class="stack" role="status">
    <div><${Act} act=${test} onProblem=${setProblem}>Test<span class="unseen"> ${called(name)}</span><//></div>
    ${told && html`<ol class="steps small">${told.steps.map((step) => html`<li key=${step.name} >
      <span class=${step.ok ? "good" : "bad"} aria-hidden="true">${step.ok ? "✓" : "✗"}</span><div><span class="unseen">${step.ok ? "good: " : "failed: "}</span>${step.name} <span class="muted">${step.said}</span>
      ${step.hint && html`<p><code>${step.hint}</code></p>`}</div></li>`)}</ol>`}
    <${Trouble} problem=${problem} />
  </div>`;
}
