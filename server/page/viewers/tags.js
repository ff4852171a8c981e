// What a tagger found in a clip or a picture: the strongest tags and moods, and the frames that show them.

import { html } from "../vendor/preact.js";
import { clock, firstOf, input, output } from "./files.js";
import { Pending, useText } from "./load.js";
import { Strip } from "./strip.js";

const NAME = "tags.json";
const FAINT = 0.01; // a share below which a word says nothing of a frame
const MOODS = 5; // of all, the strongest

/** Whether an item was tagged. */
export const isTagged = (item) => Boolean(firstOf(item, NAME));

/** The tags of an item. */
export function Tags({ job, item }) {
  const side = output(job, firstOf(item, NAME));
  const answer = useText(side, read);
  if (!answer.told) return html`<${Pending} answer=${answer} side=${side} />`;
  const { tags, moods, frames } = answer.told;
  const about = (seek) => html`
    <${Ranking} title="Tags" words=${tags} seek=${seek} />
    <${Ranking} title="Moods" words=${moods.slice(0, MOODS)} seek=${seek} />
  `;
  return html`<${Strip} source=${input(job, item)} frames=${frames} about=${about} />`;
}

function read(text) {
  const { tags, moods } = JSON.parse(text);
  const named = (words, key) => words.map((one) => ({ ...one, name: one[key], kind: key }));
  const all = { tags: named(tags, "tag"), moods: named(moods, "mood") };
  return { ...all, frames: framesOf([...all.tags, ...all.moods]) };
}

/** Every second that shows something best, in order, with what it shows. */
function framesOf(words) {
  const found = new Map();
  for (const word of words.filter(({ score }) => score >= FAINT)) {
    for (const second of word.seconds) found.set(second, [...(found.get(second) ?? []), word]);
  }
  return [...found].sort(([one], [other]) => one - other).map(([seconds, shown]) => frame(seconds, shown));
}

function frame(seconds, shown) {
  const chips = shown.map(({ name, kind, score }) => html`<li class=${kind}>${name} <small>${percent(score)}</small></li>`);
  return { seconds, words: shown.map(({ name }) => name).join(", "), notes: html`<ul class="chips">${chips}</ul>` };
}

function Ranking({ title, words, seek }) {
  if (!words.length) return null;
  return html`
    <section>
      <h3>${title}</h3>
      <ol class="ranking">${words.map((word) => html`<${Rank} key=${word.name} word=${word} seek=${seek} />`)}</ol>
    </section>
  `;
}

function Rank({ word, seek }) {
  const [first] = word.seconds;
  const name = seek && first !== undefined
    ? html`<button class="plain" title="Strongest at ${clock(first, 1)}" onClick=${() => seek(first)}>${word.name}</button>`
    : html`<span>${word.name}</span>`;
  return html`<li>${name}<span class="share" aria-hidden="true"><span style=${{ width: percent(word.score) }}></span></span><span class="muted small">${percent(word.score)}</span></li>`;
}

const percent = (score) => `${(100 * score).toFixed(1)}%`;
