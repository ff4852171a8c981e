// The server's routes. Every answer that is no success becomes a Problem.

import { Value } from "./value.js";

/** Whether this browser is let in: null while that is not known. */
export const known = new Value(null);

/** The server's version. */
export const version = new Value("");

/** An answer that was no success. `status` is 0 when there was no answer at all. */
export class Problem extends Error {
  constructor(status, sentence, hint = "", errors = []) {
    super(sentence);
    this.status = status;
    this.hint = hint;
    this.errors = errors;
  }
}

const LIMIT_MS = 60_000;

/** The limit of what may take long: a model that is loaded, a machine that is rented. */
export const LONG_MS = 600_000;

/** Ask the server. `json` is sent as JSON; `body` as it is. It is waited for `limit` milliseconds. Throws a Problem. */
export async function ask(method, path, { json, body, headers = {}, signal, limit = LIMIT_MS } = {}) {
  const sent = json === undefined ? { body, headers } : { body: JSON.stringify(json), headers: { ...headers, "Content-Type": "application/json" } };
  const late = new AbortController();
  const due = limit && setTimeout(() => late.abort(), limit);
  const answer = await fetch(path, { method, signal: AbortSignal.any([late.signal, ...(signal ? [signal] : [])]), ...sent })
    .catch((error) => {
      throw signal?.aborted ? error : new Problem(0, "The server does not answer.", "offload serve");
    })
    .finally(() => clearTimeout(due));
  if (answer.status === 401) known.set(false);
  if (!answer.ok) throw await problem(answer);
  return answer;
}

/** Ask, and read the answer as JSON. */
export async function tell(method, path, options) {
  return (await ask(method, path, options)).json();
}

/** Read what is at a path. */
export function read(path, signal, limit) {
  return tell("GET", path, { signal, limit });
}

async function problem(answer) {
  const found = await answer.json().catch(() => ({}));
  const sentence = found.detail || `The server answered ${answer.status} ${answer.statusText}.`;
  return new Problem(answer.status, sentence, found.hint, found.errors);
}

/** Where something of a job is: at(job, "outputs", name). */
export function at(job, ...parts) {
  return ["/v1/jobs", ...[job, ...parts].map(encodeURIComponent)].join("/");
}

/** Exchange a one-time code for a cookie. Throws a Problem for one that was used, or is too old. */
export async function login(code) {
  await ask("POST", "/v1/session", { json: { code } });
}

/** Forget the cookie. */
export async function logout() {
  await ask("DELETE", "/v1/session");
  known.set(false);
}

/** Find out whether the cookie holds. Throws a Problem when the server does not answer. */
export async function recognise() {
  try {
    version.set((await read("/v1/health")).version);
    known.set(true);
  } catch (error) {
    if (error.status !== 401) throw error;
  }
}
