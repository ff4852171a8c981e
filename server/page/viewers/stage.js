// Two pictures over each other: the border between them, and the region that both show.

import { html, useRef } from "../vendor/preact.js";

const GRASP = 24; // pixels from the border within which a pointer takes hold of it

/** `view` is {cut: percent, zoom, x, y: the middle of the region, 0-1}; `move` takes changes of it. */
export function Stage({ view, move, size, before, after }) {
  const box = useRef(null);
  const [width, height] = size;
  const style = {
    "--shape": width / height,
    "--most": `${width}px`,
    "--cut": `${view.cut}%`,
    "--zoom": view.zoom,
    "--left": `${100 * (0.5 - view.x * view.zoom)}%`,
    "--top": `${100 * (0.5 - view.y * view.zoom)}%`,
  };
  const slide = (event) => move({ cut: Number(event.currentTarget.value) });
  return html`
    <div class="over" style=${style}>
      <div class="stage ${view.zoom > 1 ? "zoomed" : ""}" ref=${box} onPointerDown=${(event) => grasp(event, box.current, view, move)}>
        <div class="side">${after}</div>
        <div class="side upper">${before}</div>
        <span class="tag" aria-hidden="true">before</span>
        <span class="tag right" aria-hidden="true">after</span>
        <div class="border" aria-hidden="true"></div>
      </div>
      <input class="cut" type="range" min="0" max="100" step="0.5" value=${view.cut} onInput=${slide}
        aria-label="Border between before and after" aria-valuetext="${Math.round(view.cut)} % before" />
    </div>
  `;
}

/** Follow a pointer that was put down: it moves the border, or the region of what is zoomed. */
function grasp(event, box, view, move) {
  if (event.button) return;
  event.preventDefault();
  const frame = box.getBoundingClientRect();
  const at = (moved) => (100 * (moved.clientX - frame.left)) / frame.width;
  const holds = view.zoom === 1 || Math.abs(at(event) - view.cut) * frame.width < 100 * GRASP;
  const slide = (moved) => move({ cut: at(moved) });
  let last = event;
  const pan = (moved) => {
    const [right, down] = [(moved.clientX - last.clientX) / frame.width, (moved.clientY - last.clientY) / frame.height];
    last = moved;
    move(({ x, y, zoom }) => ({ x: x - right / zoom, y: y - down / zoom }));
  };
  if (holds) slide(event);
  follow(box, event.pointerId, holds ? slide : pan);
  box.nextElementSibling.focus({ preventScroll: true, focusVisible: false });
}

function follow(box, pointer, action) {
  const stop = new AbortController();
  const mine = (act) => (event) => event.pointerId === pointer && act(event);
  box.setPointerCapture(pointer);
  box.addEventListener("pointermove", mine(action), { signal: stop.signal });
  for (const end of ["pointerup", "pointercancel"]) box.addEventListener(end, mine(() => stop.abort()), { signal: stop.signal });
}
