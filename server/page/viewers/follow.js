// The segment and word that are heard, lit and kept in sight.

import { useEffect, useState } from "../vendor/preact.js";
import { latest } from "./subtitles.js";

/** Whether the list follows, and a way to say so: who scrolls it looks elsewhere, and is left there. */
export function useFollowing(media, list, segments) {
  const [follows, setFollows] = useState(true);
  useEffect(() => {
    const player = media.current;
    if (!player || !list.current) return undefined;
    return following(player, list.current, segments, follows);
  }, [segments, follows]);
  useEffect(() => list.current && whenLeft(list.current, () => setFollows(false)), [segments]);
  return [follows, setFollows];
}

/** Calls `leave` when a person scrolls a list, by wheel, touch, its bar, or by going through it with the keyboard. */
function whenLeft(list, leave) {
  const stop = new AbortController();
  const how = { passive: true, signal: stop.signal };
  for (const ask of ["wheel", "touchmove", "focusin"]) list.addEventListener(ask, leave, how);
  list.addEventListener("pointerdown", (event) => event.target === list && leave(), how);
  return () => stop.abort();
}

function following(player, list, segments, follows) {
  let frame = 0;
  const light = lighting(list, segments, follows);
  const look = () => {
    light(player.currentTime);
    frame = player.paused ? 0 : requestAnimationFrame(look);
  };
  const begin = () => frame || look();
  const asks = ["play", "playing", "seeking", "seeked", "timeupdate"];
  for (const ask of asks) player.addEventListener(ask, begin);
  begin();
  return () => {
    cancelAnimationFrame(frame);
    for (const ask of asks) player.removeEventListener(ask, begin);
  };
}

function lighting(list, segments, follows) {
  const lit = {};
  const mark = (name, element) => {
    if (lit[name] === element) return false;
    lit[name]?.classList.remove("lit");
    element?.classList.add("lit");
    lit[name] = element;
    return Boolean(element);
  };
  for (const old of list.querySelectorAll(".lit")) old.classList.remove("lit");
  return (second) => {
    const index = latest(segments, second);
    const row = second < segments[index]?.end ? list.children[index] : undefined;
    if (mark("segment", row) && follows) show(list, row);
    mark("word", row?.querySelectorAll(".word")[latest(segments[index].words, second)]);
  };
}

/** Scrolls the list, and never the page. */
function show(list, row) {
  const [top, bottom] = [row.offsetTop, row.offsetTop + row.offsetHeight];
  const seen = top >= list.scrollTop && bottom <= list.scrollTop + list.clientHeight;
  if (!seen) list.scrollTop = top - list.clientHeight / 3;
}
