// Frames of a clip in a row, each with what is said of it; one that is clicked is played from there.

import { html, useRef } from "../vendor/preact.js";
import { clock } from "./files.js";
import { Player } from "./player.js";
import { Still } from "./stills.js";

/**
 * `source` is the input (see files.js) or null; `frames` are {seconds, words, notes}: text, and what else is shown.
 * `about` draws what is said of the whole, given a way to seek (null for a picture).
 */
export function Strip({ source, frames, about }) {
  const media = useRef(null);
  const seek = (second) => play(media.current, second);
  const still = source?.kind === "picture";
  return html`
    <div class="stack">
      <div class="seen">
        ${source ? html`<${Player} key=${source.address} side=${source} media=${media} />` : html`<p class="muted">The input is not where it was any more.</p>`}
        <div class="stack">${about(still ? null : seek)}</div>
      </div>
      ${!(still && frames.length < 2) && html`<ol class="strip">${frames.map((one) => html`<${Frame} key=${one.seconds} one=${one} source=${source} seek=${still ? null : seek} />`)}</ol>`}
    </div>
  `;
}

function Frame({ one, source, seek }) {
  const at = clock(one.seconds, 1);
  return html`
    <li>
      <button class="frame" aria-label="Play from ${at}: ${one.words}" disabled=${!source || !seek} onClick=${() => seek(one.seconds)}>
        ${source && html`<${Still} side=${source} seconds=${one.seconds} words=${one.words} />`}
        <span class="at">${at}</span>
      </button>
      ${one.notes}
    </li>
  `;
}

/** Show a second of a clip; one that plays goes on from there. */
function play(media, second) {
  if (!media) return;
  media.currentTime = second;
  media.scrollIntoView({ block: "nearest" });
}
