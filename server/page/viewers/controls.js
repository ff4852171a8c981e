// What two clips in step are played with.

import { html, useEffect, useState } from "../vendor/preact.js";
import { clock } from "./files.js";

const SPEEDS = [0.25, 0.5, 1];
const ZOOMS = [1, 2, 4];

/** `steps` is an InStep, or null for pictures. */
export function Controls({ steps, fps, view, move }) {
  return html`
    ${steps && html`<${Seek} steps=${steps} />`}
    <div class="row controls">
      ${steps && html`<${Playback} steps=${steps} fps=${fps} />`}
      <label class="row">Zoom <${Choice} values=${ZOOMS} value=${view.zoom} name=${(zoom) => `${zoom}×`} onChoice=${(zoom) => move({ zoom })} /></label>
      <p class="muted small keys">${hint(steps, view)}</p>
    </div>
  `;
}

function hint(steps, view) {
  const parts = ["Arrows move the border"];
  if (steps) parts.push("space plays", ", and . step a frame");
  if (view.zoom > 1) parts.push("Shift and arrows, or dragging, move the region");
  return `${parts.join("; ")}.`;
}

function Playback({ steps, fps }) {
  const [rate, setRate] = useState(1);
  const [loop, setLoop] = useState(false);
  const [sound, setSound] = useState(false);
  const speed = (chosen) => setRate((steps.rate = chosen));
  const toggle = () => (steps.playing ? steps.pause() : steps.play());
  const repeat = (event) => setLoop((steps.loop = event.currentTarget.checked));
  const hear = (event) => setSound(!(steps.leader.muted = !event.currentTarget.checked));
  return html`
    <button class="primary play" onClick=${toggle}>${steps.playing ? "Pause" : "Play"}</button>
    <button aria-label="One frame back" title="One frame back (,)" onClick=${() => steps.step(-1, fps)}>‹</button>
    <button aria-label="One frame on" title="One frame on (.)" onClick=${() => steps.step(1, fps)}>›</button>
    <label class="row">Speed <${Choice} values=${SPEEDS} value=${rate} name=${(value) => `${value}×`} onChoice=${speed} /></label>
    <label class="row"><input type="checkbox" checked=${loop} onChange=${repeat} /> Loop</label>
    <label class="row"><input type="checkbox" checked=${sound} onChange=${hear} /> Sound</label>
  `;
}

function Choice({ values, value, name, onChoice }) {
  return html`<select value=${value} onChange=${(event) => onChoice(Number(event.currentTarget.value))}>
    ${values.map((one) => html`<option key=${one} value=${one} selected=${one === value}>${name(one)}</option>`)}
  </select>`;
}

function Seek({ steps }) {
  const { time, seconds } = useTime(steps);
  const seek = (event) => steps.seek(Number(event.currentTarget.value));
  const said = `${clock(time, 1)} of ${clock(seconds, 1)}`;
  return html`
    <div class="row seek">
      <input type="range" min="0" max=${seconds} step="0.01" value=${time} onInput=${seek} aria-label="Time" aria-valuetext=${said} />
      <span class="muted small time">${clock(time, 1)} / ${clock(seconds, 1)}</span>
    </div>
  `;
}

/** Where the clips are, as often as the screen is drawn while that changes. */
function useTime(steps) {
  const [state, setState] = useState({ time: 0, seconds: 0 });
  useEffect(() => {
    let frame = 0;
    const look = () => {
      const { time, seconds } = steps;
      setState((known) => (known.time === time && known.seconds === seconds ? known : { time, seconds }));
      frame = requestAnimationFrame(look);
    };
    look();
    return () => cancelAnimationFrame(frame);
  }, [steps]);
  return state;
}
