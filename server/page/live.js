// All jobs, live: one stream serves all tabs of the page.

import { known, read, recognise } from "./api.js";
import { join } from "./tabs.js";
import { Value } from "./value.js";

/** Jobs as they are now: id -> job in whole, or a row of the list where no more was told yet. */
export const jobs = new Value(new Map());

/** Whether there are older jobs than those that are known. */
export const older = new Value(false);

/** How the link to the server is: connecting, live or lost. */
export const link = new Value("connecting");

/** How often the link came back: what was asked for is asked for again then. */
export const returns = new Value(0);

const TOGETHER_MS = 50;
const AGAIN_MS = 1000;
const FIRST = 50;
const SILENCE_MS = 40_000; // the server says every 15 s that it is alive
const MOST = 200; // the server tells no more at once

let tabs = null;
let stream = null; // of the tab that leads
let silence = null;
let asked = FIRST;
let changes = [];
let due = null;

/** What a tab does with what the server told, or another tab. */
const HEARD = {
  opened,
  lost: () => link.set("lost"),
  job: (data) => change((all) => keep(all, JSON.parse(data))),
  gone: (data) => change((all) => all.delete(JSON.parse(data).job)),
  asks: () => stream && change((all) => tabs?.tell("known", { state: link.now, told: whole(all) })),
  known: begun,
};

/** Follow the server's jobs from now on. */
export function follow() {
  tabs = join(lead, (event, data) => HEARD[event](data));
  tabs.tell("asks");
}

/** Stop following, and forget what was told. */
export function leave() {
  tabs?.leave();
  tabs = null;
  jobs.set(new Map());
  link.set("connecting");
}

/** Have the older jobs told, too, as many as the server tells. Throws a Problem. */
export async function tellOlder() {
  asked = MOST;
  await list();
}

/** Have one job told in whole. Throws a Problem. */
export async function tellJob(id, signal) {
  const job = await read(`/v1/jobs/${encodeURIComponent(id)}`, signal);
  change((all) => keep(all, job));
}

/** Follow for all tabs. */
function lead() {
  listen();
  return () => {
    clearTimeout(silence);
    stream.close();
    stream = null;
  };
}

function listen() {
  stream?.close();
  stream = new EventSource("/v1/events");
  stream.onopen = () => tell("opened");
  stream.onerror = broken;
  for (const event of ["job", "gone"]) stream.addEventListener(event, ({ data }) => tell(event, data));
  for (const event of ["open", "still", "job", "gone"]) stream.addEventListener(event, alive);
  alive();
}

/** A server that hangs ends no stream: silence tells it. */
function alive() {
  clearTimeout(silence);
  silence = setTimeout(() => {
    tell("lost");
    listen();
  }, SILENCE_MS);
}

function tell(event, data) {
  HEARD[event](data);
  tabs?.tell(event, data);
}

function opened() {
  if (link.now === "lost") returns.update((times) => times + 1);
  link.set("live");
  list().catch(() => {}); // what comes next is that the stream breaks, too, and both are tried again
}

/** What the tab that leads knew already, for one that was just opened. */
function begun({ state, told }) {
  if (link.now !== "connecting") return;
  change((all) => told.forEach((job) => keep(all, job)));
  if (state === "live") opened();
  else link.set(state);
}

function whole(all) {
  return [...all.values()].filter(({ revision }) => revision);
}

function broken() {
  tell("lost");
  if (stream?.readyState !== EventSource.CLOSED) return; // the browser tries again by itself
  const closed = stream;
  setTimeout(() => {
    if (stream !== closed) return;
    recognise().then(() => known.now && stream === closed && listen(), broken);
  }, AGAIN_MS);
}

/** What was removed while nobody was told is not in the list any more. */
async function list() {
  const told = await read(`/v1/jobs?limit=${asked}`);
  older.set(told.more && asked < MOST);
  change((all) => {
    const since = told.jobs.at(-1)?.created ?? 0;
    const listed = new Set(told.jobs.map((row) => row.job));
    for (const [id, job] of all) if (!listed.has(id) && (job.created > since || !told.more)) all.delete(id);
    for (const row of told.jobs) if (!all.get(row.job)?.revision) all.set(row.job, row);
  });
}

function keep(all, job) {
  all.set(job.job, { ...job, first: job.items[0]?.name ?? "", count: job.items.length });
}

/** Many events that come at once are drawn once. */
function change(how) {
  changes.push(how);
  due ??= setTimeout(() => {
    const all = new Map(jobs.now);
    for (const one of changes) one(all);
    changes = [];
    due = null;
    jobs.set(all);
  }, TOGETHER_MS);
}
