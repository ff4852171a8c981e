// Before and after, one over the other, with a border between them that is moved; clips play in step.

import { html, useEffect, useRef, useState } from "../vendor/preact.js";
import { Controls } from "./controls.js";
import { InStep } from "./in_step.js";
import { Player, Unplayable, useReleased } from "./player.js";
import { Stage } from "./stage.js";

/**
 * `before` and `after` are files (see files.js), or null. `size` is [width, height] of the result, `fps` its frames a
 * second, as far as they are known.
 */
export function Compare({ before, after, size, fps }) {
  const [broken, setBroken] = useState([]);
  const media = useRef(null);
  const sides = [before, after].filter(Boolean);
  const shown = sides.filter((side) => !broken.includes(side.label));
  const fail = (side) => setBroken((known) => [...new Set([...known, side.label])]);
  return html`
    <div class="stack">
      ${before ? null : html`<p class="muted">The input is not where it was any more, so only the result is shown.</p>`}
      <${Unplayable} sides=${sides.filter((side) => broken.includes(side.label))} />
      ${shown.length === 2 && html`<${Both} before=${before} after=${after} size=${size} fps=${fps} fail=${fail} />`}
      ${shown.length === 1 && html`<${Player} key=${shown[0].address} side=${shown[0]} media=${media} />`}
    </div>
  `;
}

function Both({ before, after, size, fps, fail }) {
  const root = useRef(null);
  const [first, second] = [useRef(null), useRef(null)];
  const [view, setView] = useState({ cut: 50, zoom: 1, x: 0.5, y: 0.5 });
  const [natural, setNatural] = useState(size);
  const move = (change) => setView((seen) => within({ ...seen, ...(change instanceof Function ? change(seen) : change) }));
  const clips = after.kind !== "picture";
  const steps = useInStep(clips, first, second);
  const measure = (side) => (event) => {
    const found = extent(event.currentTarget);
    if (!found[0]) fail(side); // sound alone is played of a clip whose codec is not known
    else if (side === after) setNatural(found);
  };
  const shown = (side, ref) => html`<${Shown} side=${side} media=${ref} onReady=${measure(side)} onBroken=${() => fail(side)} />`;
  const keys = (event) => pressed(event, { steps, fps, view, move });
  return html`
    <div class="compare" ref=${root} role="group" aria-label="Before and after" onKeyDown=${keys}>
      <${Stage} view=${view} move=${move} size=${natural} before=${shown(before, first)} after=${shown(after, second)} />
      <${Controls} steps=${steps} fps=${fps} view=${view} move=${move} />
    </div>
  `;
}

function Shown({ side, media, onReady, onBroken }) {
  useReleased(media);
  if (side.kind === "picture") {
    return html`<img ref=${media} src=${side.address} alt="${side.label}: ${side.file}" draggable="false" onLoad=${onReady} onError=${onBroken} />`;
  }
  return html`<video
    ref=${media} src=${side.address} aria-label="${side.label}: ${side.file}" preload="auto" playsinline muted
    disablepictureinpicture onLoadedMetadata=${onReady} onError=${onBroken} />`;
}

function useInStep(clips, first, second) {
  const [steps, setSteps] = useState(null);
  const [, setPlaying] = useState(false);
  useEffect(() => {
    if (!clips) return undefined;
    const made = new InStep(second.current, first.current, setPlaying);
    setSteps(made);
    return () => made.close();
  }, []);
  return steps;
}

const extent = (element) => [
  element.videoWidth ?? element.naturalWidth,
  element.videoHeight ?? element.naturalHeight,
];

/** A view whose region lies within the picture. */
function within({ cut, zoom, x, y }) {
  const edge = 0.5 / zoom;
  const inside = (value) => Math.min(1 - edge, Math.max(edge, value));
  return { cut: Math.min(100, Math.max(0, cut)), zoom, x: inside(x), y: inside(y) };
}

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

function pressed(event, { steps, fps, view, move }) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const { key, target } = event;
  const panned = event.shiftKey && view.zoom > 1 && ARROWS[key];
  if (panned) move({ x: view.x + (0.1 * panned[0]) / view.zoom, y: view.y + (0.1 * panned[1]) / view.zoom });
  else if (steps && key === " " && target.type === "range") steps.playing ? steps.pause() : steps.play();
  else if (steps && key === ",") steps.step(-1, fps);
  else if (steps && key === ".") steps.step(1, fps);
  else return;
  event.preventDefault();
}
