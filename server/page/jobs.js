// All jobs, live.

import { html, useLayoutEffect, useRef, useState } from "./vendor/preact.js";
import { Actions } from "./actions.js";
import { many, percent } from "./format.js";
import { jobs, link, older, tellOlder } from "./live.js";
import { Act, Ago, Progress, State, Title, Trouble } from "./parts.js";
import { called } from "./plan.js";
import { useValue, Value } from "./value.js";

const shown = new Value("all");
const STEP = 100;
const WHICH = [["all", "All"], ["open", "Open"]];

/** The view of all jobs. */
export function Jobs() {
  const which = useValue(shown);
  const all = [...useValue(jobs).values()].sort((one, other) => other.created - one.created);
  const [most, setMost] = useState(STEP);
  const [first, setFirst] = useState(null); // of those that were asked for last
  const list = useRef(null);
  const unseen = useValue(older);
  const told = which === "open" ? all.filter((job) => !job.over) : all;
  const shows = first !== null && told.length > first && most > first;
  useLayoutEffect(() => {
    if (!shows) return;
    list.current.children[first].querySelector("a").focus(); // the button has gone further down, or away
    setFirst(null);
  }, [shows]);
  const more = (from) => {
    setMost(from + STEP);
    setFirst(from);
  };
  return html`<div class="head"><${Title}>Jobs<//>
      <div class="choice push" role="group" aria-label="Which jobs">
        ${WHICH.map(([value, words]) => html`<button type="button" key=${value} aria-pressed=${which === value} onClick=${() => shown.set(value)}>
          ${words} <span class="muted">${value === "open" ? all.filter((job) => !job.over).length : `${all.length}${unseen ? "+" : ""}`}</span></button>`)}
      </div>
    </div>
    ${told.length ? html`<ul class="panel jobs" ref=${list}>${told.slice(0, most).map((job) => html`<${Line} key=${job.job} job=${job} />`)}</ul>` : html`<${None} which=${which} />`}
    ${told.length > most
      ? html`<button type="button" onClick=${() => more(most)}>Show ${Math.min(told.length - most, STEP)} more</button>`
      : which === "all" && unseen && html`<${Older} onTold=${() => more(told.length)} />`}`;
}

function Line({ job }) {
  const where = job.attempts?.at(-1)?.target;
  const said = job.why || job.error || job.items.find?.(({ error }) => error)?.error;
  const count = job.count ?? job.items;
  return html`<li>
    <div class="what">
      <a href="#/jobs/${encodeURIComponent(job.job)}"><bdi class="clip">${job.first}</bdi></a>
      <span class="muted small">${job.service}${count > 1 ? `, ${many(count, "file")}` : ""}</span>
    </div>
    <div class="how"><${State} state=${job.state} />${!job.over && job.progress > 0 && html`<span class="small muted">${percent(job.progress)}</span>`}</div>
    <div class="track">${job.over || (job.why && !job.progress)
      ? html`<p class="small clip muted" title=${said}>${said}</p>`
      : html`<${Progress} share=${job.progress} name=${`Progress of ${job.first}`} />`}</div>
    <div class="when small muted">${where && html`<span>${called(where)}</span>`}<${Ago} time=${job.created} /></div>
    <${Actions} job=${job} kind="plain small" />
  </li>`;
}

function None({ which }) {
  if (useValue(link) === "connecting") return html`<p class="empty">Asking the server</p>`;
  return html`<div class="panel empty">
    <p>${which === "open" ? "No job is open." : "No jobs yet."}</p>
    <p><a href="#/new">Start one</a>, or type <code>offload stabilize clip.mp4</code>: it is seen here, too.</p>
  </div>`;
}

function Older({ onTold }) {
  const [problem, setProblem] = useState(null);
  return html`<div class="row"><${Act} act=${() => tellOlder().then(onTold)} onProblem=${setProblem}>Show older jobs<//><${Trouble} problem=${problem} /></div>`;
}
