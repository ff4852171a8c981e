// Single pictures of clips, drawn where they are seen.
//
// A player per picture would take a connection each, of the six that a browser has for a server. Here one player goes
// through all that is wanted of a clip, two at a time at most, and is let go of.

import { html, useEffect, useRef, useState } from "../vendor/preact.js";
import { release } from "./player.js";

const AT_ONCE = 2;
const WIDTH = 320; // pixels that a picture is drawn with
const PATIENCE = 20_000; // milliseconds for one picture
const NEARBY = "200px"; // how far out of sight a picture is drawn already

const wanted = new Set();
const open = new Set();

/** A picture of a clip at a second (or a picture itself), drawn when it comes into sight. `words` say what it shows. */
export function Still({ side, seconds, words }) {
  const place = useRef(null);
  const [failed, setFailed] = useState(false);
  const picture = side.kind === "picture";
  useEffect(() => (picture || failed ? undefined : whileSeen(place.current, side.address, seconds, () => setFailed(true))), [side.address, seconds, failed]);
  if (failed) return html`<span class="still none" role="img" aria-label=${words}>no picture</span>`;
  if (picture) return html`<img class="still" loading="lazy" src=${side.address} alt=${words} onError=${() => setFailed(true)} />`;
  return html`<canvas class="still" ref=${place} width="0" height="0" role="img" aria-label=${words}></canvas>`;
}

function whileSeen(canvas, address, seconds, fail) {
  const wish = { canvas, address, seconds, fail };
  const seen = new IntersectionObserver(([entry]) => (entry.isIntersecting ? ask(wish) : drop(wish)), { rootMargin: NEARBY });
  seen.observe(canvas);
  return () => {
    seen.disconnect();
    drop(wish);
  };
}

function ask(wish) {
  wanted.add(wish);
  next();
}

/** What is out of sight takes neither turn nor memory. */
function drop(wish) {
  wanted.delete(wish);
  wish.canvas.width = wish.canvas.height = 0;
}

function next() {
  for (const { address } of wanted) {
    if (open.size >= AT_ONCE) return;
    if (!open.has(address)) serve(address);
  }
}

const of = (address) => [...wanted].find((wish) => wish.address === address);

/** Draw all that is wanted of one clip. */
async function serve(address) {
  open.add(address);
  const player = Object.assign(document.createElement("video"), { muted: true, playsInline: true, preload: "auto" });
  try {
    await event(player, "loadeddata", () => (player.src = address));
    for (let wish = of(address); wish; wish = of(address)) await draw(player, wish);
  } catch {
    for (let wish = of(address); wish; wish = of(address)) giveUp(wish);
  } finally {
    release(player);
    open.delete(address);
    next();
  }
}

function giveUp(wish) {
  wanted.delete(wish);
  wish.fail();
}

async function draw(player, wish) {
  if (!player.videoWidth) throw new Error("there is no picture in it");
  const last = Math.max(0, player.duration - 0.05);
  await event(player, "seeked", () => (player.currentTime = Math.min(wish.seconds, last)));
  if (!wanted.delete(wish)) return;
  const { canvas } = wish;
  canvas.width = WIDTH;
  canvas.height = Math.round((WIDTH * player.videoHeight) / player.videoWidth);
  canvas.getContext("2d").drawImage(player, 0, 0, canvas.width, canvas.height);
}

/** An event of a player that `act` brings about. Rejects where it fails, and where nothing comes. */
function event(player, name, act) {
  const stop = new AbortController();
  const came = new Promise((resolve, reject) => {
    const end = setTimeout(() => reject(new Error("nothing came")), PATIENCE);
    stop.signal.addEventListener("abort", () => clearTimeout(end));
    player.addEventListener(name, resolve, { signal: stop.signal });
    player.addEventListener("error", () => reject(new Error("it cannot be played")), { signal: stop.signal });
    act();
  });
  return came.finally(() => stop.abort());
}
