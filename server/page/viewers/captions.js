// What a captioner said of a clip or a picture: the whole, and frame by frame.

import { html } from "../vendor/preact.js";
import { firstOf, input, output } from "./files.js";
import { Pending, useText } from "./load.js";
import { Strip } from "./strip.js";

const JSON_NAME = "captions.json";
const TEXT_NAME = "captions.txt";

/** Whether an item was captioned. */
export const isCaptioned = (item) => Boolean(firstOf(item, JSON_NAME, TEXT_NAME));

/** The captions of an item: from JSON, or where there is none the text alone. */
export function Captions({ job, item }) {
  const made = firstOf(item, JSON_NAME, TEXT_NAME);
  const side = output(job, made);
  const answer = useText(side, made.name.endsWith(JSON_NAME) ? JSON.parse : plain);
  if (!answer.told) return html`<${Pending} answer=${answer} side=${side} />`;
  const { captions, description } = answer.told;
  const about = () => html`<p class="description">${description}</p>`;
  return html`<${Strip} source=${input(job, item)} frames=${captions.map(frame)} about=${about} />`;
}

const plain = (text) => ({ captions: [], description: text.trim() });

const frame = ({ seconds, text }) => ({ seconds, words: text, notes: html`<p class="note">${text}</p>` });
