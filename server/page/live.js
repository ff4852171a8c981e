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
const STEP = 200; // the server tells no more at once

let tabs = null;
let stream = null; // of the tab that leads
let silence = null;
let pages = 1; // of the list, that are told
let next = null; // where the page after those begins
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
  pages = 1;
  jobs.set(new Map());
  link.set("connecting");
}

/** Have more of the older jobs told, too. Throws a Problem. */
export async function tellOlder() {
  const told = await page(next);
  pages += 1;
  listed(told);
  change((all) => told.jobs.forEach((row) => put(all, row)));
}

/** Forget a job that was removed: of one that was told long ago, the server does not say so. */
export function forget(id) {
  tell("gone", JSON.stringify({ job: id }));
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
  let told = await page(null);
  const rows = [...told.jobs];
  for (let left = pages - 1; left > 0 && told.more; left -= 1) {
    told = await page(told.before);
    rows.push(...told.jobs);
  }
  listed(told);
  change((all) => {
    const since = rows.at(-1)?.created ?? 0;
    const there = new Set(rows.map((row) => row.job));
    for (const [id, job] of all) if (!there.has(id) && (job.created > since || !told.more)) all.delete(id);
    for (const row of rows) put(all, row);
  });
}

function page(before) {
  return read(before ? `/v1/jobs?limit=${STEP}&before=${encodeURIComponent(before)}` : `/v1/jobs?limit=${FIRST}`);
}

/** That page is the last one that was told. */
function listed({ more, before }) {
  older.set(more);
  next = before;
}

/** What is known in whole is newer than its row. */
function put(all, row) {
  if (!all.get(row.job)?.revision) all.set(row.job, row);
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
