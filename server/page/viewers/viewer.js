// A result to be looked at: which viewer an item has, by its service and what there is of it.

import { html } from "../vendor/preact.js";
import { Captions, isCaptioned } from "./captions.js";
import { Compare } from "./compare.js";
import { Figures } from "./figures.js";
import { firstOf, input, output } from "./files.js";
import { Download } from "./player.js";
import { Tags, isTagged } from "./tags.js";
import { Transcript, isTranscribed } from "./transcript.js";

const REPORT = "report.png";
const RATE = 30; // frames a second, of a clip that nobody counted

const VIEWERS = {
  stabilize: [(item) => Boolean(pictureOf(item)), Pictures],
  upscale: [(item) => Boolean(pictureOf(item)), Pictures],
  transcribe: [isTranscribed, Transcript],
  caption: [isCaptioned, Captions],
  tag: [isTagged, Tags],
};

/** The viewer of one item of a job, both as the server tells of them. */
export function Viewer({ job, item }) {
  const [fits, View] = VIEWERS[job.service] ?? [];
  const chosen = fits?.(item) ? View : Files;
  return html`<div class="viewer" key="${job.job}/${item.index}"><${chosen} job=${job} item=${item} /></div>`;
}

const pictureOf = (item) => item.outputs.find((made) => !made.name.endsWith(REPORT));

function Pictures({ job, item }) {
  const { measured } = item;
  const made = pictureOf(item);
  const after = output(job, made);
  const report = firstOf(item, REPORT);
  const size = measured.to ?? [measured.width || 16, measured.height || 9];
  const fps = measured.frames / measured.seconds || RATE;
  return html`
    <div class="stack">
      <${Compare} before=${input(job, item)} after=${after} size=${size} fps=${fps} />
      <div class="measured">
        <${Figures} measured=${measured} />
        ${report && html`<${Report} side=${output(job, report)} />`}
      </div>
    </div>
  `;
}

function Report({ side }) {
  return html`
    <figure>
      <a href=${side.address} target="_blank" rel="noopener">
        <img src=${side.address} alt="The camera's path: as filmed, and smoothed" width="1000" height="800" />
      </a>
      <figcaption class="muted small">The camera's path in x, y and angle, frame by frame</figcaption>
    </figure>
  `;
}

function Files({ job, item }) {
  if (!item.outputs.length) return html`<p class="muted">There is nothing to look at.</p>`;
  const sides = item.outputs.map((made) => output(job, made));
  return html`<ul class="row">${sides.map((side) => html`<li key=${side.address}><${Download} side=${side} /></li>`)}</ul>`;
}
