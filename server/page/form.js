// A form made from a JSON schema: what the service's parameters are, it says itself.

import { html } from "./vendor/preact.js";
import { bytes, label } from "./format.js";
import { Fold } from "./parts.js";

const EVERYDAY = {
  stabilize: ["smoothing", "zoom", "fast", "report"],
  transcribe: ["model", "language", "format", "word_timestamps", "translate"],
  caption: ["frames", "model", "format"],
  tag: ["top", "fps"],
  upscale: ["model", "scale"],
};
const FIRST = 4;

/** Fields for each property of `schema`. `set` holds what differs from the defaults; `onSet(name, value)` changes it. */
export function Form({ service, schema, set, onSet, models = [] }) {
  const names = Object.keys(schema.properties ?? {});
  const first = (EVERYDAY[service] ?? names.slice(0, FIRST)).filter((name) => names.includes(name));
  const rest = names.filter((name) => !first.includes(name));
  const field = (name) => html`<${Field} key=${`${service}.${name}`} id=${`set-${name}`} name=${name}
    about=${named(name, schema.properties[name], models, set)} value=${set[name]} onSet=${(value) => onSet(name, value)} />`;
  return html`<div class="stack">
    <div class="fields">${first.map(field)}</div>
    ${rest.length > 0 && html`<${Fold} title="More settings" open=${rest.some((name) => name in set)}>
      ${() => html`<div class="fields">${rest.map(field)}</div>`}
    <//>`}
  </div>`;
}

/** A choice of models tells of each how large it is, and whether it has yet to be fetched. */
function named(name, about, models, { engine = "whisper" }) {
  if (name !== "model" || !about.enum) return about;
  const found = (short) => models.find((one) => [short, `${engine}-${short}`].includes(one.name));
  const told = (short, model) => [short, model.size_bytes && bytes(model.size_bytes), model.here ? "" : "not here yet"].filter(Boolean).join(", ");
  const words = Object.fromEntries(about.enum.map((short) => [short, found(short) ? told(short, found(short)) : short]));
  return { ...about, words, description: "what is not here yet is fetched when it is first needed" };
}

/** What a property takes: { kind, options, min, max, whole, optional }. */
export function reading(about) {
  const kinds = (about.anyOf ?? [about]).filter(({ type }) => type !== "null");
  const options = kinds.flatMap((kind) => ("const" in kind ? [kind.const] : (kind.enum ?? [])));
  const number = kinds.find(({ type, enum: listed }) => !listed && (type === "integer" || type === "number"));
  const list = kinds.find(({ type }) => type === "array");
  const bounds = { min: number?.minimum, max: number?.maximum, whole: number?.type === "integer" };
  const optional = about.default === undefined || about.default === null;
  const found = { options, optional, length: kinds.find(({ maxLength }) => maxLength)?.maxLength, ...bounds };
  if (list?.items?.enum) return { ...found, kind: "several", options: list.items.enum };
  if (kinds[0]?.type === "boolean") return { ...found, kind: "yes" };
  if (number) return { ...found, kind: options.length ? "mixed" : "number" };
  return { ...found, kind: options.length ? "one" : list ? "words" : "text" };
}

/** What was typed as a value; undefined for nothing, or what is the default. */
export function typed(text, { kind, options }, fallback) {
  if (text === "") return undefined;
  const number = kind === "number" || (kind === "mixed" && !options.includes(text)) ? Number(text) : NaN;
  const words = kind === "words" ? text.split(",").map((word) => word.trim()).filter(Boolean) : text;
  const value = Number.isNaN(number) ? words : number;
  return value === fallback ? undefined : value;
}

function Field({ id, name, about, value, onSet }) {
  const takes = reading(about);
  const now = value ?? about.default ?? (takes.kind === "several" ? [] : "");
  const shown = { id, now, takes, onSet, fallback: about.default, described: `${id}-about` };
  if (takes.kind === "yes") return html`<${Yes} ...${shown} name=${name} about=${about} />`;
  if (takes.kind === "several") return html`<${Several} ...${shown} name=${name} about=${about} />`;
  return html`<div class="field">
    <label for=${id}>${about.title ?? label(name)}</label>
    ${takes.kind === "one" ? html`<${One} ...${shown} words=${about.words} />` : html`<${Typed} ...${shown} />`}
    <${About} id=${shown.described} about=${about} takes=${takes} changed=${value !== undefined} />
  </div>`;
}

function One({ id, words, now, takes, onSet, fallback, described }) {
  const chosen = ({ currentTarget }) => onSet(typed(currentTarget.value, takes, fallback));
  return html`<select id=${id} value=${now} onChange=${chosen} aria-describedby=${described}>
    ${takes.optional && html`<option value="">not set</option>`}
    ${takes.options.map((option) => html`<option key=${option} value=${option}>${words?.[option] ?? option}</option>`)}
  </select>`;
}

function Typed({ id, now, takes, onSet, fallback, described }) {
  const given = ({ currentTarget }) => onSet(typed(currentTarget.value, takes, fallback));
  const shared = { id, onInput: given, "aria-describedby": described, placeholder: takes.optional ? "not set" : "" };
  if (takes.kind === "number") {
    const step = takes.whole ? 1 : "any";
    return html`<input type="number" ...${shared} value=${now} min=${takes.min} max=${takes.max} step=${step} />`;
  }
  const text = Array.isArray(now) ? now.join(", ") : now;
  const list = takes.kind === "mixed" ? `${id}-list` : undefined;
  return html`<input type="text" ...${shared} value=${text} maxlength=${takes.length} list=${list} spellcheck="false" autocomplete="off" />
    ${list && html`<datalist id=${list}>${takes.options.map((option) => html`<option value=${option} />`)}</datalist>`}`;
}

function Yes({ id, name, now, about, onSet, fallback, described }) {
  const change = ({ currentTarget: { checked } }) => onSet(checked === Boolean(fallback) ? undefined : checked);
  return html`<div class="field yes">
    <input type="checkbox" id=${id} checked=${Boolean(now)} onChange=${change} aria-describedby=${described} />
    <label for=${id}>${about.title ?? label(name)}</label>
    <p class="about" id=${described}>${about.description}</p>
  </div>`;
}

function Several({ id, name, now, about, takes, onSet, described }) {
  const change = (option, on) => {
    const next = takes.options.filter((one) => (one === option ? on : now.includes(one)));
    onSet(next.length ? next : undefined);
  };
  return html`<fieldset class="field" aria-describedby=${described}>
    <legend>${about.title ?? label(name)}</legend>
    <div class="row">${takes.options.map((option) => html`<label class="row" key=${option}>
      <input type="checkbox" checked=${now.includes(option)} onChange=${({ currentTarget }) => change(option, currentTarget.checked)} />${option}
    </label>`)}</div>
    <p class="about" id=${described}>${about.description}</p>
  </fieldset>`;
}

function About({ id, about, takes, changed }) {
  const range = takes.min !== undefined && takes.max !== undefined ? `${takes.min} to ${takes.max}` : "";
  const usual = changed && about.default !== null && about.default !== undefined ? `default ${about.default}` : "";
  return html`<p class="about" id=${id}>${[about.description, range, usual].filter(Boolean).join(" · ")}</p>`;
}
