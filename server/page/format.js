// Figures as people read them.

/** Bytes, in steps of a thousand: 12 MB. */
export function bytes(count) {
  if (count < 1000) return `${count} B`;
  const units = ["kB", "MB", "GB", "TB", "PB"];
  let unit = -1;
  do {
    count /= 1000;
    unit += 1;
  } while (count >= 999.5 && unit < units.length - 1);
  return `${count < 9.95 ? count.toFixed(1) : Math.round(count)} ${units[unit]}`;
}

/** A time that something takes: 0.4 s, 40 s, 9 min, 1 h 5 min. */
export function duration(seconds) {
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
  if (seconds < 99.5) return `${Math.round(seconds)} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 100) return `${minutes} min`;
  const hours = Math.round(minutes / 60);
  return hours < 48 ? `${Math.floor(minutes / 60)} h ${minutes % 60} min` : `${Math.round(hours / 24)} days`;
}

/** A share of one: 43 %. Only what is done is 100 %. */
export function percent(share) {
  return `${Math.floor(Math.min(Math.max(share, 0), 1) * 100)} %`;
}

/** When something was, seen from `now` (both in seconds): 5 min ago, then the day. */
export function ago(time, now = Date.now() / 1000) {
  const past = now - time;
  if (past < 60) return "just now";
  if (past < 3600) return `${Math.floor(past / 60)} min ago`;
  if (past < 86400) return `${Math.floor(past / 3600)} h ago`;
  return new Date(time * 1000).toLocaleDateString(undefined, { day: "numeric", month: "short", year: "numeric" });
}

/** Day and time, for a title or a receipt. */
export function moment(time) {
  return new Date(time * 1000).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "medium" });
}

/** "1 file", "3 files". */
export function many(count, noun) {
  return `${count} ${noun}${count === 1 ? "" : "s"}`;
}

/** A field's name as a label: word_timestamps -> Word timestamps. */
export function label(name) {
  const words = name.replaceAll("_", " ");
  return words.charAt(0).toUpperCase() + words.slice(1);
}

/** The suffix of a file's name, small, with its dot; empty without one. */
export function suffix(name) {
  const dot = name.lastIndexOf(".");
  return dot > 0 ? name.slice(dot).toLowerCase() : "";
}
