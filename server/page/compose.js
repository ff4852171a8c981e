// A new job: files, a service, its settings, where it would run.

import { html, useEffect, useRef } from "./vendor/preact.js";
import { read } from "./api.js";
import { add, again, choice, choose, clear, drop, files, leftOut, offered, setParam, start, submit, wait } from "./draft.js";
import { Form } from "./form.js";
import { bytes, many, percent, suffix } from "./format.js";
import { returns } from "./live.js";
import { Progress, Title, Trouble } from "./parts.js";
import { Places, PlanView } from "./plan.js";
import { useAnswer, useValue } from "./value.js";

const PHASES = { waiting: "waits", reading: "reading", sending: "sending", ready: "ready", failed: "failed" };

/** The view in which a job is put together. */
export function New() {
  const { told: services, problem } = useAnswer((signal) => read("/v1/services", signal), [useValue(returns)]);
  const { told: models } = useAnswer((signal) => read("/v1/models", signal), [useValue(returns)]);
  const chosen = useValue(files);
  const asked = useValue(choice);
  const [fit, others] = offered(services ?? [], chosen);
  const service = fit.find(({ name }) => name === asked.service) ?? (chosen.length ? fit[0] : undefined);
  useEffect(() => {
    if (service && service.name !== asked.service) choose({ service: service.name });
  }, [service, asked.service]);
  const ready = service && service.name === asked.service;
  return html`<${Title}>New job<//>
    <${Trouble} problem=${problem} />
    <div class="compose">
      <form class="stack" id="wish" onSubmit=${begin}>
        <${Files} chosen=${chosen} services=${services ?? []} />
        ${chosen.length > 0 && services && html`<${Services} fit=${fit} others=${others} chosen=${chosen} now=${asked.service} />`}
        ${chosen.length > 0 && ready && html`<section class="panel"><div class="body stack">
          <h2>Settings</h2>
          <${Form} service=${service.name} schema=${service.params} set=${asked.set[service.name] ?? {}}
            models=${(models?.data ?? []).filter((model) => model.service === service.name)}
            onSet=${(name, value) => setParam(service.name, name, value)} />
          <${Places} many=${chosen.length > 1} />
        </div></section>`}
      </form>
      ${chosen.length > 0 && ready && html`<${Start} chosen=${chosen} />`}
    </div>`;
}

function begin(event) {
  event.preventDefault();
  submit().then((job) => job && (location.hash = `#/jobs/${encodeURIComponent(job)}`), () => {}); // told by `start`
}

function Files({ chosen, services }) {
  const input = useRef(null);
  const accepts = [...new Set(services.flatMap((service) => service.accepts))].sort();
  const taken = ({ currentTarget }) => {
    add(currentTarget.files);
    currentTarget.value = ""; // the same file may be chosen again
  };
  return html`<section class="panel">
    <div class="drop ${chosen.length ? "small" : ""}">
      <p>${chosen.length ? many(chosen.length, "file") : "Drop clips, recordings or pictures anywhere on this page"}</p>
      <div class="row">
        <label class="button ${chosen.length ? "" : "lead"}">${chosen.length ? "Add files" : "Choose files"}
          <input class="unseen" type="file" multiple accept=${accepts.join(",")} ref=${input} onChange=${taken} /></label>
        ${chosen.length > 1 && html`<button type="button" class="plain" onClick=${clear}>Remove all</button>`}
      </div>
    </div>
    <${Trouble} problem=${useValue(leftOut)} />
    ${chosen.length > 0 && html`<ul class="files">${chosen.map((one) => html`<${File} key=${one.key} ...${one} one=${one.key} />`)}</ul>`}
  </section>`;
}

function File({ one, file, phase, done, problem }) {
  const moving = phase === "reading" || phase === "sending";
  const share = file.size ? done / file.size : 1;
  return html`<li>
    <div class="file">
      <bdi class="clip" title=${file.name}>${file.name}</bdi>
      <span class="muted small">${bytes(file.size)}</span>
      <span class="small phase ${phase === "ready" ? "good" : phase === "failed" ? "bad" : "muted"}">
        ${PHASES[phase]}${moving ? ` ${percent(share)}` : ""}</span>
      ${phase === "failed" && html`<button type="button" class="plain small" onClick=${() => again(one)}>Try again</button>`}
      <button type="button" class="plain small" aria-label=${`Remove ${file.name}`} onClick=${() => drop(one)}>Remove</button>
    </div>
    <div class="line">${moving && html`<${Progress} share=${share} name=${`${PHASES[phase]} ${file.name}`} />`}</div>
    <${Trouble} problem=${problem} />
  </li>`;
}

function Services({ fit, others, now, chosen }) {
  const names = others.map(({ name }) => name).join(", ");
  return html`<fieldset class="panel"><legend class="unseen">Service</legend><div class="body stack">
    <h2 aria-hidden="true">Service</h2>
    ${fit.length > 0 ? html`<div class="services">${fit.map((one) => html`<label key=${one.name} class="service">
      <input type="radio" name="service" value=${one.name} checked=${one.name === now} onChange=${() => choose({ service: one.name })} />
      <span><strong>${one.name}</strong><span class="muted small">${one.summary}</span></span>
    </label>`)}</div>` : html`<p>${unfit(chosen, others)}</p>`}
    ${others.length > 0 && fit.length > 0 && html`<p class="muted small">Not for these files: ${names}</p>`}
  </div></fieldset>`;
}

/** Why no service takes these files. */
function unfit(chosen, services) {
  const alone = chosen.filter(({ file }) => !services.some(({ accepts }) => accepts.includes(suffix(file.name))));
  const names = alone.map(({ file }) => file.name).slice(0, 5).join(", ");
  return alone.length ? `No service takes ${names}${alone.length > 5 ? ", ..." : ""}.` : "No service takes all of these files together.";
}

function Start({ chosen }) {
  const { wanted, problem } = useValue(start);
  const total = chosen.reduce((sum, { file }) => sum + file.size, 0);
  const sent = chosen.reduce((sum, { file, phase, done }) => sum + (phase === "ready" ? file.size : phase === "sending" ? done : 0), 0);
  const words = chosen.every(({ phase }) => phase === "ready") ? "Starting" : `Starts when all is sent: ${percent(total ? sent / total : 1)}`;
  return html`<aside class="panel start"><div class="body stack">
    <${PlanView} chosen=${chosen} />
    <${Trouble} problem=${problem} />
    <div class="row">
      <button class="primary" form="wish" disabled=${wanted}>${wanted ? words : "Start"}</button>
      ${wanted && html`<button type="button" onClick=${wait}>Not yet</button>`}
    </div>
    <p class="unseen" role="status">${wanted ? words.replace(/:.*/, "") : ""}</p>
  </div></aside>`;
}
