// The job that is being put together. It stays while other views are looked at.

import { ask, at, Problem, tell } from "./api.js";
import { suffix } from "./format.js";
import { upload } from "./upload.js";
import { Value } from "./value.js";

/** Files that were chosen: { key, file, phase, done, sha256, problem }. A phase is waiting, reading, sending, ready or failed. */
export const files = new Value([]);

/** What is asked for beside the files: service name, what was set for each service, and where it may run. */
export const choice = new Value({ service: "", set: {}, place: {} });

/** Whether it is to start as soon as all files are there, and what became of that. */
export const start = new Value({ wanted: false, problem: null });

/** Why something that was dropped last is not among the files. */
export const leftOut = new Value(null);

const USUAL = ["stabilize", "transcribe", "upscale", "caption", "tag"];
const LANES = 2;
const AWAY = [0, 502, 503, 504];
const AGAIN_MS = 1000;
const ends = new Map();
let busy = 0;
let last = 0;
let unsure = null; // { asked, key } of what was asked for, and not answered
let out = null;

/** Choose more files. The server is sent them at once. */
export function add(chosen) {
  const more = [...chosen].map((file) => ({ key: (last += 1), file, phase: "waiting", done: 0 }));
  files.set([...files.now, ...more]);
  start.set({ wanted: false, problem: null });
  leftOut.set(null);
  pump();
}

/** Leave a file out. What was sent of it is kept by the server for some days. */
export function drop(one) {
  ends.get(one)?.abort(new DOMException("left out", "AbortError"));
  files.set(files.now.filter((entry) => entry.key !== one));
}

/** Send a file that failed again. */
export function again(one) {
  mark(one, { phase: "waiting", done: 0, problem: null });
  pump();
}

/** Forget all files; settings stay for the next. */
export function clear() {
  for (const { key: one } of files.now) drop(one);
  start.set({ wanted: false, problem: null });
}

/** Change what is asked for. */
export function choose(change) {
  choice.update((now) => ({ ...now, ...change }));
}

/** Set a parameter of a service; undefined is its default. */
export function setParam(service, name, value) {
  const { [name]: _, ...others } = choice.now.set[service] ?? {};
  const set = value === undefined ? others : { ...others, [name]: value };
  choose({ set: { ...choice.now.set, [service]: set } });
}

/** The services that take all of these files, those that are asked for most first, and the rest. */
export function offered(services, chosen) {
  const place = ({ name }) => (USUAL.includes(name) ? USUAL.indexOf(name) : USUAL.length);
  services = [...services].sort((one, other) => place(one) - place(other));
  const suffixes = [...new Set(chosen.map(({ file }) => suffix(file.name)))];
  const takes = (service) => suffixes.every((one) => service.accepts.includes(one));
  return [services.filter(takes), services.filter((service) => !takes(service))];
}

/** The wish as the API takes it. `input` makes an input of a file. */
export function wish(input = ({ file, sha256 }) => ({ blob: sha256, name: file.name })) {
  const { service, set, place } = choice.now;
  return { service, inputs: files.now.map(input), params: set[service] ?? {}, ...place };
}

/** Start it, once all is sent. Returns the job's id, or null when that was not wanted any more. Throws a Problem. */
export function submit() {
  start.set({ wanted: true, problem: null });
  out ??= submitted().finally(() => (out = null));
  return out;
}

async function submitted() {
  try {
    while (await whole()) {
      const asked = JSON.stringify(wish());
      const job = await post(asked);
      if (!job) continue;
      if (stands(asked)) {
        clear();
        return job;
      }
      await takeBack(job);
    }
    return null;
  } catch (problem) {
    start.set({ wanted: false, problem });
    throw problem;
  }
}

/** Do not start it after all. */
export function wait() {
  start.set({ wanted: false, problem: null });
}

/** Wait for the files: true once all are there, false when it is not to start any more. Throws for one that failed. */
function whole() {
  return new Promise((resolve, reject) => {
    const watching = [files.watch(look), start.watch(look)];
    const end = (settle, value) => (watching.forEach((stop) => stop()), settle(value));
    function look() {
      const failed = files.now.find(({ phase }) => phase === "failed");
      if (!start.now.wanted || !files.now.length) end(resolve, false);
      else if (failed) end(reject, new Problem(0, `${failed.file.name} could not be sent.`, "Try it again, or leave it out."));
      else if (files.now.every(({ phase }) => phase === "ready")) end(resolve, true);
    }
    look();
  });
}

/** Whether what was asked for is still what is wanted. */
function stands(asked) {
  return start.now.wanted && asked === JSON.stringify(wish());
}

/** The job's id. Asked again with the same key while no answer comes: one job, however often. null when it was taken back. */
async function post(asked) {
  if (unsure?.asked !== asked) unsure = { asked, key: crypto.randomUUID() };
  const headers = { "Content-Type": "application/json", "Idempotency-Key": unsure.key };
  const told = await answered(() => tell("POST", "/v1/jobs", { body: asked, headers }), () => stands(asked));
  if (told) unsure = null;
  return told?.job;
}

/** A job that was made when nobody wanted it any more. */
function takeBack(job) {
  return answered(() => ask("DELETE", `${at(job)}?while=open`), () => true).catch(() => {}); // it was over already
}

/** What the server answers to `attempt`, asked again for as long as it is away and `wanted()`; else undefined. */
async function answered(attempt, wanted) {
  while (wanted()) {
    try {
      return await attempt();
    } catch (problem) {
      if (!AWAY.includes(problem.status)) throw problem;
      await new Promise((resolve) => setTimeout(resolve, AGAIN_MS));
    }
  }
  return undefined;
}

/** Two files at a time: while one is read, another is sent. */
function pump() {
  const next = files.now.find(({ phase }) => phase === "waiting");
  if (!next || busy >= LANES) return;
  busy += 1;
  send(next).finally(() => {
    busy -= 1;
    pump();
  });
  pump();
}

async function send({ key: one, file }) {
  const end = new AbortController();
  ends.set(one, end);
  mark(one, { phase: "reading" });
  try {
    const sha256 = await upload(file, (phase, done) => mark(one, { phase, done }), end.signal);
    mark(one, { phase: "ready", sha256 });
  } catch (problem) {
    if (!end.signal.aborted) mark(one, { phase: "failed", problem });
  } finally {
    ends.delete(one);
  }
}

function mark(one, change) {
  files.set(files.now.map((entry) => (entry.key === one ? { ...entry, ...change } : entry)));
}
