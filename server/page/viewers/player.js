// One file, played or shown as it is; and what is said where the browser cannot.

import { html, useEffect, useState } from "../vendor/preact.js";
import { bytes } from "../format.js";

/**
 * A player of a file (see files.js). `media` is a ref to its element, `at` the second it begins at. Each file has one
 * of its own: `key` is its address.
 */
export function Player({ side, media, at = 0 }) {
  const [broken, setBroken] = useState(false);
  useReleased(media, broken);
  if (broken) return html`<${Unplayable} sides=${[side]} />`;
  const fail = () => setBroken(true);
  if (side.kind === "picture") return html`<img class="shown" src=${side.address} alt=${side.file} onError=${fail} />`;
  const ready = (event) => at && (event.currentTarget.currentTime = at);
  const all = { ref: media, src: side.address, controls: true, preload: "metadata", onError: fail, "aria-label": side.file };
  return side.kind === "sound"
    ? html`<audio class="shown" ...${all} onLoadedMetadata=${ready} />`
    : html`<video class="shown" playsinline ...${all} onLoadedMetadata=${ready} />`;
}

/** Has a player give its connection back when it goes: a browser has six of them for a server. */
export function useReleased(media, ...deps) {
  useEffect(() => {
    const element = media.current;
    return () => element && release(element);
  }, deps);
}

/** Ends what a player loads. */
export function release(element) {
  if (!element.removeAttribute || !element.load) return;
  element.pause();
  element.removeAttribute("src");
  element.load();
}

/** Says which files this browser cannot show, and offers them. */
export function Unplayable({ sides }) {
  if (!sides.length) return null;
  const names = sides.map((side) => side.file).join(" and ");
  return html`
    <div class="unplayable" role="status">
      <p>This browser cannot show ${names}: its format or codec is not one it plays.</p>
      <p class="row">${sides.map((side) => html`<${Download} key=${side.address} side=${side} />`)}</p>
    </div>
  `;
}

/** A link that saves a file under its own name. */
export function Download({ side }) {
  return html`<a class="button" href=${side.address} download=${side.file}>Download ${side.file} (${bytes(side.size)})</a>`;
}
