// Files of jobs: where they are, and what a browser may make of them.

import { at } from "../api.js";

const PICTURE = /\.(png|jpe?g|webp|gif|bmp|tiff?)$/i;

/** The input of a job's item: `{label, address, file, size, kind}`, or null when it is no longer there. */
export function input(job, item) {
  if (!item.viewable) return null;
  return { label: "before", address: inputAt(job.job, item.index), file: item.name, size: item.size, kind: kindOf(item.name, item.kind) };
}

/** The address of an input, by the ids of job and item. */
export const inputAt = (job, index) => at(job, "inputs", index);

/** An output of a job's item, as `input` has it. */
export function output(job, made) {
  return { label: "after", address: at(job.job, "outputs", made.name), file: made.file, size: made.size, kind: kindOf(made.file, made.kind) };
}

/** "picture", "sound" or "clip": by media type, and by name where a machine's table of types has other ideas (.ts). */
export function kindOf(name, type = "") {
  if (type.startsWith("image/") || PICTURE.test(name)) return "picture";
  return type.startsWith("audio/") ? "sound" : "clip";
}

/** The first output whose name in addresses ends so, by the order of `endings`. */
export function firstOf(item, ...endings) {
  for (const ending of endings) {
    const found = item.outputs.find((made) => made.name.endsWith(ending));
    if (found) return found;
  }
  return null;
}

/** A time for people: "1:04", or "1:02:03"; with `digits`, parts of a second, too. */
export function clock(seconds, digits = 0) {
  const scale = 10 ** digits;
  const whole = Math.floor(Math.max(0, seconds) * scale + 1e-6);
  const [hours, minutes] = [Math.floor(whole / 3600 / scale), Math.floor(whole / 60 / scale) % 60];
  const rest = ((whole % (60 * scale)) / scale).toFixed(digits).padStart(digits ? digits + 3 : 2, "0");
  return hours ? `${hours}:${String(minutes).padStart(2, "0")}:${rest}` : `${minutes}:${rest}`;
}
