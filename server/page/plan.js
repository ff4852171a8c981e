// Where a job would run, before it is started.

import { html, useEffect, useState } from "./vendor/preact.js";
import { read, tell } from "./api.js";
import { choice, choose, wish } from "./draft.js";
import { bytes, duration } from "./format.js";
import { returns } from "./live.js";
import { Fold, Trouble } from "./parts.js";
import { useAnswer, useValue } from "./value.js";

const SETTLED_MS = 300;

/** What people call a target. */
export function called(target) {
  return target === "local" ? "this machine" : target;
}

/** What the cache answers of so many files, in a sentence; empty where it answers nothing. */
export function before({ cached }, count) {
  if (!cached.length) return "";
  const which = count === 1 ? "This was" : cached.length === count ? "All were" : `${cached.length} of ${count} were`;
  return `${which} made before: the cache answers.`;
}

/** The plan in a sentence: "colab, about 40 s, 12 MB to send; here 9 min". */
export function sentence(plan) {
  const [first] = plan.targets.filter(({ state }) => state === "ready");
  if (!first) return "No target can take it now.";
  const here = plan.targets.find(({ target, seconds }) => target === "local" && seconds !== null);
  const own = first.target === "local" || !here ? "" : `; here ${duration(here.seconds)}`;
  return `${called(first.target)}, ${time(first)}${first.send_bytes ? `, ${bytes(first.send_bytes)} to send` : ""}${own}`;
}

function time({ seconds }) {
  return seconds === null ? "time not known yet" : `about ${duration(seconds)}`;
}

/** The plan for the draft, asked for again when it changes. */
export function PlanView({ chosen }) {
  const asked = useSettled(JSON.stringify([useValue(choice), chosen.map(({ file, sha256 }) => [file.name, file.size, sha256])]));
  const { told, problem, asking } = useAnswer((signal) => tell("POST", "/v1/plan", { json: wish(input), signal }), [asked, useValue(returns)]);
  return html`<div class="stack plan" aria-busy=${asking}>
    <h2>Plan</h2>
    <div role="status">${told ? html`<${Told} plan=${told} count=${chosen.length} />` : !problem && html`<p class="muted sentence">Asking the targets</p>`}</div>
    <${Trouble} problem=${problem} />
    ${told && html`<${Fold} title="All targets"><${Table} plan=${told} /><//>`}
  </div>`;
}

/** What is made before needs no target. */
function Told({ plan, count }) {
  const made = before(plan, count);
  return html`${made && html`<p class="sentence">${made}</p>`}
    ${plan.cached.length < count && html`<p class="sentence">${sentence(plan)}</p>`}`;
}

/** A file that is not sent yet is planned for by its name and size. */
function input({ file, sha256 }) {
  return sha256 ? { blob: sha256, name: file.name } : { name: file.name, size: file.size };
}

function Table({ plan }) {
  return html`<ul class="stack small">${plan.targets.map((one) => html`<li key=${one.target}>
    <strong>${called(one.target)}</strong> <span class="muted">${one.state}, ${time(one)}${one.send_bytes ? `, ${bytes(one.send_bytes)} to send` : ""}</span>
    <p class="muted">${one.reason}</p>
  </li>`)}</ul>
  ${plan.why && html`<p class="small">${plan.why}</p>`}`;
}

/** Where a job may run, and what is done when that fails. */
export function Places({ many }) {
  const { told: targets } = useAnswer((signal) => read("/v1/targets", signal), [useValue(returns)]);
  const { place } = useValue(choice);
  const set = (change) => choose({ place: { ...place, ...change } });
  const check = (name, usual, words) => html`<label class="row">
    <input type="checkbox" checked=${place[name] ?? usual} onChange=${({ currentTarget }) => set({ [name]: currentTarget.checked })} />${words}</label>`;
  const where = place.when === "remote" ? "later" : (place.on ?? "auto");
  const chosen = ({ currentTarget: { value } }) => set(value === "later" ? { on: "remote", when: "remote" } : { on: value, when: "now" });
  const names = (targets ?? []).map(({ name }) => name).filter((name) => name !== "local");
  return html`<${Fold} title="Where it runs" open=${Object.keys(place).length > 0}>${() => html`<div class="fields">
    <div class="field">
      <label for="where">Where</label>
      <select id="where" value=${where} onChange=${chosen}>
        <option value="auto">wherever it is done soonest</option>
        <option value="local">this machine</option>
        <option value="remote">any other machine</option>
        <option value="later">any other machine, as soon as one is there</option>
        ${names.map((name) => html`<option key=${name} value=${name}>${name}</option>`)}
      </select>
    </div>
    <div class="stack">
      ${check("fallback", true, "If it fails there, the next target takes it")}
      ${check("cache", true, "Use what was made before")}
      ${many && check("spread", false, "Spread the files over several targets")}
    </div>
  </div>`}<//>`;
}

function useSettled(now) {
  const [settled, setSettled] = useState(now);
  useEffect(() => {
    const due = setTimeout(() => setSettled(now), SETTLED_MS);
    return () => clearTimeout(due);
  }, [now]);
  return settled;
}
