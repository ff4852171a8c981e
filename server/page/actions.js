// What can be done with a job: cancel, retry, remove.

import { html, useState } from "./vendor/preact.js";
import { ask, at } from "./api.js";
import { bytes, many } from "./format.js";
import { forget } from "./live.js";
import { Act, Confirm, Trouble } from "./parts.js";

const AGAIN = new Set(["failed", "partly", "cancelled", "interrupted"]);

/** The buttons of a job. `kind` is how they look; `onRemoved` is called when the job is gone. */
export function Actions({ job, kind = "", onRemoved }) {
  const [problem, setProblem] = useState(null);
  const [asking, setAsking] = useState(false);
  const named = (words) => html`${words}<span class="unseen"> ${job.service} ${job.first}</span>`;
  const retry = () => ask("POST", at(job.job, "retry"));
  const cancel = () => ask("DELETE", `${at(job.job)}?while=open`); // what ended meanwhile must not be removed
  const removed = () => {
    forget(job.job);
    onRemoved?.();
  };
  const answered = (yes) => {
    setAsking(false);
    if (yes) ask("DELETE", at(job.job)).then(removed, setProblem);
  };
  return html`<div class="row actions">
    ${!job.over && html`<${Act} kind=${kind} act=${cancel} onProblem=${setProblem}>${named("Cancel")}<//>`}
    ${AGAIN.has(job.state) && html`<${Act} kind=${kind} act=${retry} onProblem=${setProblem}>${named("Retry")}<//>`}
    ${job.over && html`<button type="button" class=${kind} onClick=${() => setAsking(true)}>${named("Remove")}</button>`}
    ${asking && html`<${Confirm} title="Remove this job?" yes="Remove" onAnswer=${answered}><${Goes} job=${job} /><//>`}
    <${Trouble} problem=${problem} />
  </div>`;
}

/** What goes with a job that is removed. */
function Goes({ job }) {
  const outputs = (job.items?.flatMap?.((item) => item.outputs) ?? []).length;
  const size = job.items?.flatMap?.((item) => item.outputs.map((output) => output.size)).reduce((sum, one) => sum + one, 0);
  const results = outputs ? `${many(outputs, "result")}, ${bytes(size)}` : "its results";
  return html`<p><bdi>${job.first}</bdi>, ${job.service}.</p>
    <p>Its receipt and log go. If it was started here, so do the uploaded files and ${results}: download what you want to
    keep first.</p>
    <p class="muted">Of a job that was typed in a terminal, the files stay where they are.</p>`;
}
