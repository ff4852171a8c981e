// One job: how it goes, what came of it, and what is told afterwards.

import { html, useEffect, useState } from "./vendor/preact.js";
import { Actions } from "./actions.js";
import { ask, at } from "./api.js";
import { bytes, duration, many, percent } from "./format.js";
import { jobs, link, tellJob } from "./live.js";
import { Ago, Command, Fold, Progress, State, Title, Trouble } from "./parts.js";
import { called } from "./plan.js";
import { Receipt } from "./receipt.js";
import { Later } from "./later.js";
import { useAnswer, useValue } from "./value.js";

const LOG_MS = 2000;

const viewer = () => import("./viewers/viewer.js").then(({ Viewer }) => Viewer);

/** The view of one job. */
export function JobView({ id }) {
  const found = useValue(jobs).get(id);
  const job = found?.revision ? found : null;
  const [problem, setProblem] = useState(null);
  const state = useValue(link);
  useEffect(() => {
    if (job) return undefined;
    const asked = new AbortController();
    tellJob(id, asked.signal).then(() => setProblem(null), (error) => asked.signal.aborted || setProblem(error));
    return () => asked.abort();
  }, [id, !job, state]);
  if (!job) return html`<${Title}>${problem?.status === 404 ? "No such job" : "Job"}<//><${Trouble} problem=${problem} /><p><a href="#/jobs">All jobs</a></p>`;
  return html`<${Head} job=${job} />
    <${Standing} job=${job} />
    <${Items} job=${job} />
    <section class="panel"><div class="body stack">
      <${Attempts} job=${job} />
      <${Fold} title="Receipt">${() => html`<${Receipt} job=${job} />`}<//>
      <${Fold} title="Log">${() => html`<${Log} job=${job} />`}<//>
      <${Fold} title="The same on the command line">${() => html`<${Command} text=${job.command} />`}<//>
    </div></section>`;
}

function Head({ job }) {
  const others = job.items.length > 1 ? ` and ${job.items.length - 1} more` : "";
  return html`<div class="stack">
    <p class="small"><a href="#/jobs">Jobs</a></p>
    <div class="head">
      <${Title} before=${job.over ? "" : percent(job.progress)}>${job.service} <bdi>${job.first}</bdi>${others}<//>
      <${State} state=${job.state} />
      <div class="push"><${Actions} job=${job} onRemoved=${() => (location.hash = "#/jobs")} /></div>
    </div>
    <p class="muted small">started <${Ago} time=${job.created} />${job.seconds === null ? "" : `, took ${duration(job.seconds)}`}
      ${where(job)}, <span class="mono">${job.job}</span></p>
    <p class="unseen" role="status">${job.over ? `The job is ${job.state}.` : `${Math.floor(job.progress * 10) * 10} percent`}</p>
  </div>`;
}

function where(job) {
  const targets = [...new Set(job.attempts.filter(({ prepares }) => !prepares).map(({ target }) => called(target)))];
  return targets.length ? `, on ${targets.join(", then ")}` : "";
}

/** What it waits for, why it failed, how far it is. */
function Standing({ job }) {
  const failed = job.state !== "cancelled" && failure(job);
  const logs = `offload jobs logs ${job.job}`;
  if (job.over && !failed) return null;
  return html`<div class="stack">
    ${job.why && html`<p class="waits" role="status">${job.why}</p>`}
    <${Trouble} problem=${failed && { message: failed, hint: job.hint !== logs && job.hint }}>${job.over && html`<p>The log says more; in a terminal:</p><${Command} text=${logs} />`}<//>
    ${!job.over && html`<div class="whole">
      <${Progress} share=${job.progress} name="Progress of the job" />
      <span>${percent(job.progress)}</span>
      ${job.items.length === 1 && html`<p class="muted small pace">${pace(job.items[0])}</p>`}
    </div>`}
  </div>`;
}

function failure(job) {
  const bad = job.items.filter(({ state }) => state === "failed").length;
  return job.error || (job.over && bad ? `${bad} of ${many(job.items.length, "file")} failed.` : "");
}

function Items({ job }) {
  const [open, setOpen] = useState(null);
  if (job.items.length === 1 && job.items[0].state === "open") return null; // all there is to tell of it stands above
  const first = job.items.find(({ state }) => state === "done")?.index;
  const shown = open ?? first;
  return html`<section class="stack" aria-label="Files">
    ${job.items.map((item) => html`<${Item} key=${item.index} job=${job} item=${item} alone=${job.items.length === 1}
      shown=${item.index === shown} onShow=${(yes) => setOpen(yes ? item.index : -1)} />`)}
  </section>`;
}

function Item({ job, item, alone, shown, onShow }) {
  const done = item.state === "done";
  return html`<article class="panel"><div class="body stack">
    <div class="head">
      <h2><bdi>${item.name}</bdi></h2>
      <span class="muted small">${bytes(item.size)}</span>
      ${!alone && html`<${State} state=${item.state} />`}
      ${done && !alone && html`<button type="button" class="push" aria-expanded=${shown} onClick=${() => onShow(!shown)}>${shown ? "Hide" : "View"}</button>`}
    </div>
    ${item.state === "open" && !job.over && html`<div><${Progress} share=${item.progress} name=${`Progress of ${item.name}`} />
      <p class="muted small pace">${[percent(item.progress), pace(item)].filter(Boolean).join(", ")}</p></div>`}
    <${Trouble} problem=${item.error && item.error !== job.error ? { message: item.error } : null} />
    ${item.summary && html`<p>${item.summary.replace(" -> ", " → ")}</p>`}
    ${item.outputs.length > 0 && html`<ul class="outputs">${item.outputs.map((output) => html`<li key=${output.name}>
      <bdi class="clip">${output.file}</bdi><span class="muted small">${bytes(output.size)}</span>
      <a class="button" href=${`${at(job.job, "outputs", output.name)}?download=1`} download=${output.file}>Download<span class="unseen"> ${output.file}</span></a>
    </li>`)}</ul>`}
    ${done && shown && html`<${Later} load=${viewer} job=${job} item=${item} />`}
  </div></article>`;
}

/** How quick it is, and how long it still takes. */
function pace({ speed, eta }) {
  const words = [];
  if (speed > 0) words.push(`${speed < 10 ? speed.toFixed(1) : Math.round(speed)} × real time`);
  if (eta > 0) words.push(`about ${duration(eta)} left`);
  return words.join(", ");
}

function Attempts({ job }) {
  if (!job.attempts.length) return null;
  const failed = job.attempts.some(({ error }) => error);
  const title = `${many(job.attempts.length, "attempt")}: where, and why there`;
  return html`<${Fold} title=${title} open=${failed}>
    <ol class="stack">${job.attempts.map((one) => html`<li key=${one.number}>
      <p><strong>${called(one.target)}</strong> <span class="muted">${one.prepares ? "prepared the files" : one.state}${one.seconds === null ? "" : `, ${duration(one.seconds)}`}</span></p>
      <p class="muted small">${one.reason}</p>
      ${one.error && html`<p class="bad small">${one.error}</p>`}
    </li>`)}</ol>
  <//>`;
}

function Log({ job }) {
  const [times, setTimes] = useState(0);
  const read = (signal) => ask("GET", at(job.job, "log"), { signal }).then((answer) => answer.text());
  const { told, problem, asking } = useAnswer(read, [job.job, job.state, times]);
  useEffect(() => {
    if (job.over || asking) return undefined;
    const due = setTimeout(() => setTimes(times + 1), LOG_MS);
    return () => clearTimeout(due);
  }, [job.over, asking, times]);
  if (problem && (job.over || problem.status !== 404)) return html`<${Trouble} problem=${problem} />`;
  if (problem || told === "") return html`<p class="muted">${job.over ? "It said nothing." : "Nothing yet."}</p>`;
  return told === undefined ? html`<p class="muted">Reading</p>` : html`<pre tabindex="0" aria-label="Log">${told}</pre>`;
}
