// What was measured on a result, as a person reads it.

import { html } from "../vendor/preact.js";
import { clock } from "./files.js";

/** The figures of a clip that was steadied or made larger, as far as there are some. */
export function Figures({ measured }) {
  const rows = [...pictures(measured), ...steadied(measured), ...measuredOn(measured.decoded)].filter(([, told]) => told);
  return rows.length ? html`<dl class="facts">${rows.map(([name, told]) => html`<dt>${name}</dt><dd>${told}</dd>`)}</dl>` : null;
}

function pictures({ from, to, width, height, frames, seconds }) {
  const size = (pixels) => pixels?.join(" × ");
  return [
    ["Size", from ? `${size(from)} → ${size(to)}` : width && size([width, height])],
    ["Length", seconds && `${clock(seconds, 1)}, ${frames} frames`],
  ];
}

function steadied({ jitter_px, crop, zoom_percent, analysed }) {
  return [
    ["Camera jitter", pair(jitter_px, 2, "px")],
    ["Left of the picture", crop && `${(100 * crop).toFixed(1)} % of its width`],
    ["Zoomed in", zoom_percent !== undefined && `${zoom_percent.toFixed(1)} %`],
    ["Analysed at", analysed],
  ];
}

/** What a report measured on the pictures themselves. */
function measuredOn(decoded) {
  if (!decoded) return [];
  return [
    ["Jitter, on the pictures", pair(decoded.jitter_px, 2, "px")],
    ["Likeness of neighbouring frames", pair(decoded.itf_db, 1, "dB")],
    ["Black border", pair(decoded.border, 3, "of the picture")],
    ["Left, on the pictures", decoded.crop && `${(100 * decoded.crop).toFixed(1)} % of its width`],
  ];
}

const pair = (values, digits, unit) =>
  values && `${values.before.toFixed(digits)} → ${values.after.toFixed(digits)} ${unit}`;
