// What was said, beside what it was said in: a click seeks, and what is heard is lit.

import { html, useEffect, useMemo, useRef, useState } from "../vendor/preact.js";
import { Copy } from "../parts.js";
import { clock, firstOf, input, output } from "./files.js";
import { useFollowing } from "./follow.js";
import { Pending, useText } from "./load.js";
import { Player } from "./player.js";
import { FORMATS } from "./subtitles.js";

/** The best transcript there is of an item. */
export function Transcript({ job, item }) {
  const format = Object.keys(FORMATS).find((one) => firstOf(item, `.${one}`));
  const side = output(job, firstOf(item, `.${format}`));
  const answer = useText(side, FORMATS[format]);
  if (!answer.told) return html`<${Pending} answer=${answer} side=${side} />`;
  return html`<${Said} source=${input(job, item)} segments=${answer.told.segments} />`;
}

/** Whether there is one. */
export const isTranscribed = (item) => Object.keys(FORMATS).some((one) => firstOf(item, `.${one}`));

function Said({ source, segments }) {
  const [media, list] = [useRef(null), useRef(null)];
  const [wanted, setWanted] = useState("");
  const shown = useMemo(() => matching(segments, wanted), [segments, wanted]);
  const [follows, setFollows] = useFollowing(media, list, segments);
  const seek = (second) => go(media.current, second, setFollows);
  if (!segments.length) return html`<p class="muted">Nothing was said that could be heard.</p>`;
  return html`
    <div class="transcript">
      ${source ? html`<${Player} key=${source.address} side=${source} media=${media} />` : html`<p class="muted">The recording is not where it was any more.</p>`}
      <div class="row">
        <input type="search" placeholder="Find in the transcript" aria-label="Find in the transcript" value=${wanted} onInput=${(event) => setWanted(event.currentTarget.value)} />
        <span class="muted small" role="status">${wanted && `${shown.size} of ${segments.length}`}</span>
        ${source && !follows && html`<button onClick=${() => setFollows(true)}>Follow along</button>`}
        <${Copy} text=${segments.map((one) => one.text).join("\n")}>Copy the text<//>
      </div>
      <${Segments} list=${list} segments=${segments} shown=${shown} seek=${source && seek} />
    </div>
  `;
}

function matching(segments, wanted) {
  const sought = wanted.trim().toLowerCase();
  return new Set(segments.filter(({ text }) => text.toLowerCase().includes(sought)));
}

function go(media, second, setFollows) {
  if (!media) return;
  media.currentTime = second;
  setFollows(true);
}

/** Drawn once, for there may be thousands: what is lit, and what is not shown, is marked on it. */
function Segments({ list, segments, shown, seek }) {
  useEffect(() => segments.forEach((one, index) => (list.current.children[index].hidden = !shown.has(one))), [segments, shown]);
  return useMemo(
    () => html`
      <ol class="segments" ref=${list} tabindex="-1" onClick=${(event) => seek && clicked(event, seek)} onKeyDown=${walk}>
        ${segments.map((one, index) => html`<${Segment} key=${index} one=${one} />`)}
      </ol>
    `,
    [segments, Boolean(seek)],
  );
}

function Segment({ one }) {
  const timed = one.start !== null;
  const words = one.words.map((word) => html`<span class="word" data-at=${word.start}>${word.text}</span> `);
  return html`
    <li data-at=${timed ? one.start : undefined}>
      ${timed && html`<button class="plain at" aria-label="${clock(one.start)}: ${one.text}">${clock(one.start)}</button>`}
      <span class="said">${words.length ? words : one.text}</span>
    </li>
  `;
}

/** A word seeks to itself, anything else in a segment to its begin; marking text to copy it is no click. */
function clicked(event, seek) {
  const at = event.target.closest("[data-at]")?.dataset.at;
  if (at !== undefined && getSelection().isCollapsed) seek(Number(at));
}

/** Up and down go from segment to segment. */
function walk(event) {
  const way = { ArrowDown: "nextElementSibling", ArrowUp: "previousElementSibling" }[event.key];
  let row = way && event.target.closest("li");
  if (!row) return;
  do row = row[way];
  while (row?.hidden);
  row?.querySelector("button")?.focus();
  event.preventDefault();
}

