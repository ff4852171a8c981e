// A file on its way to the server: hashed here, then sent in pieces. What broke goes on where it was.

import { ask, Problem, tell } from "./api.js";

const PIECE = 8 * 2 ** 20;
const AGAIN_MS = [500, 1000, 2000, 4000];
const CHANGED = 460;

/** Send a file that the server does not have yet, and return its sha256.
 *
 * `told` is called with (phase, bytes): phase is "reading" or "sending". A server that is away is waited for, until
 * `signal` ends it. Throws a Problem.
 */
export async function upload(file, told, signal) {
  const sha256 = await hashed(file, (done) => told("reading", done), signal);
  let blob = await begun(file, sha256, signal);
  while (!blob.known && blob.offset < file.size) {
    told("sending", blob.offset);
    blob = (await piece(file, blob, signal)) ?? (await begun(file, sha256, signal));
  }
  told("sending", file.size);
  return sha256;
}

/** The sha256 of a file, made by a worker: the page stays quick. */
export function hashed(file, told, signal) {
  return new Promise((resolve, reject) => {
    const worker = new Worker("hasher.js", { type: "module" });
    const end = (settle, value) => {
      worker.terminate();
      settle(value);
    };
    signal?.addEventListener("abort", () => end(reject, signal.reason), { once: true });
    worker.onerror = () => end(reject, new Problem(0, `${file.name} cannot be read: its hash was not made.`));
    worker.onmessage = ({ data }) => {
      if (data.sha256) end(resolve, data.sha256);
      else if (data.error) end(reject, new Problem(0, `${file.name} cannot be read: ${data.error}`, "Choose it again."));
      else told(data.done);
    };
    worker.postMessage({ file });
  });
}

/** Where the upload of a file stands, begun or found again: the server knows it by its sha256. */
function begun(file, sha256, signal) {
  return patient(() => tell("POST", "/v1/blobs", { json: { size: file.size, sha256 }, signal }), signal);
}

/** Send the next piece. null when the server has to be asked again where it stands. */
async function piece(file, blob, signal) {
  const headers = { "Content-Type": "application/offset+octet-stream", "Upload-Offset": String(blob.offset) };
  const end = Math.min(blob.offset + PIECE, file.size);
  try {
    const path = `/v1/blobs/${encodeURIComponent(blob.upload)}`;
    await ask("PATCH", path, { body: file.slice(blob.offset, end), headers, signal, limit: null });
    return { ...blob, offset: end };
  } catch (error) {
    if (error.status === CHANGED) throw new Problem(CHANGED, `${file.name} changed while it was sent.`, "Choose it again.");
    if (!passing(error) && ![404, 409].includes(error.status)) throw error;
    await rest(AGAIN_MS[0], signal);
    return null;
  }
}

/** Try again, ever more slowly, while the server does not answer. */
async function patient(attempt, signal) {
  for (let tries = 0; ; tries += 1) {
    try {
      return await attempt();
    } catch (error) {
      if (!passing(error)) throw error;
      await rest(AGAIN_MS[Math.min(tries, AGAIN_MS.length - 1)], signal);
    }
  }
}

function passing(error) {
  return error instanceof Problem && [0, 502, 503, 504].includes(error.status);
}

function rest(ms, signal) {
  return new Promise((resolve, reject) => {
    const over = setTimeout(resolve, ms);
    signal?.addEventListener("abort", () => (clearTimeout(over), reject(signal.reason)), { once: true });
  });
}
