// Transcripts as they are written, read into one shape: segments of {start, end, text, words}, times in seconds.

const TIMES = /^(\S+) --> (\S+)$/;

function readJson(text) {
  const { segments, language } = JSON.parse(text);
  const words = (segment) => segment.words?.map(({ start, end, word }) => ({ start, end, text: word }));
  const read = segments.map((one) => ({ start: one.start, end: one.end, text: one.text, words: words(one) ?? [] }));
  return { segments: read, language };
}

const readVtt = (text) => ({ segments: blocks(text).map((cue) => ({ ...cue, text: unescaped(cue.text) })) });

const readSrt = (text) => ({ segments: blocks(text) });

function readTsv(text) {
  const rows = lines(text).slice(1).map((line) => line.split("\t"));
  return { segments: rows.map(([start, end, ...said]) => cue(start / 1000, end / 1000, said.join("\t"))) };
}

/** The words alone have no times: nothing to seek to. */
const readTxt = (text) => ({ segments: lines(text).map((line) => cue(null, null, line)) });

const cue = (start, end, text) => ({ start, end, text, words: [] });

const lines = (text) => text.split("\n").filter(Boolean);

function blocks(text) {
  const found = [];
  for (const block of text.replaceAll("\r", "").split("\n\n")) {
    const rows = block.split("\n");
    const at = rows.findIndex((row) => TIMES.test(row));
    if (at < 0) continue;
    const [, start, end] = TIMES.exec(rows[at]);
    found.push(cue(seconds(start), seconds(end), rows.slice(at + 1).join(" ").trim()));
  }
  return found;
}

function seconds(told) {
  const parts = told.replace(",", ".").split(":").map(Number);
  const milliseconds = parts.reduce((sum, part) => sum * 60 + part, 0) * 1000;
  return Math.round(milliseconds) / 1000;
}

const unescaped = (text) => text.replaceAll("&lt;", "<").replaceAll("&gt;", ">").replaceAll("&amp;", "&");

/** The formats that are read, the best first: what follows knows less of it. */
export const FORMATS = { json: readJson, vtt: readVtt, srt: readSrt, tsv: readTsv, txt: readTxt };

/** The index of the last that has begun at a second, among things in order of their `start`; -1 before the first. */
export function latest(spans, second) {
  let [low, high] = [0, spans.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (spans[middle].start <= second) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}
