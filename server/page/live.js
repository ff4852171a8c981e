// All jobs, live: one stream serves the whole page.

import { known, read, recognise } from "./api.js";
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
const MOST = 200; // the server tells no more at once

let stream = null;
let asked = FIRST;
let changes = [];
let due = null;

/** Follow the server's jobs from now on. */
export function follow() {
  stream?.close();
  stream = new EventSource("/v1/events");
  stream.onopen = opened;
  stream.onerror = lost;
  stream.addEventListener("job", ({ data }) => change((all) => keep(all, JSON.parse(data))));
  stream.addEventListener("gone", ({ data }) => change((all) => all.delete(JSON.parse(data).job)));
}

/** Stop following, and forget what was told. */
export function leave() {
  stream?.close();
  stream = null;
  jobs.set(new Map());
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

function opened() {
  if (link.now === "lost") returns.update((times) => times + 1);
  link.set("live");
  list().catch(() => {}); // what comes next is that the stream breaks, too, and both are tried again
}

function lost() {
  link.set("lost");
  if (stream?.readyState !== EventSource.CLOSED) return; // the browser tries again by itself
  const closed = stream;
  setTimeout(() => {
    if (stream !== closed) return;
    recognise().then(() => known.now && stream === closed && follow(), lost);
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
