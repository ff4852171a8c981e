// A worker that hashes a file: told { file }, it tells { done } in bytes as it goes, then { sha256 } or { error }.

import { Sha256 } from "./sha256.js";

const PIECE = 4 * 2 ** 20;

onmessage = async ({ data: { file } }) => {
  try {
    const hash = new Sha256();
    for (let at = 0; at < file.size; at += PIECE) {
      hash.add(new Uint8Array(await file.slice(at, at + PIECE).arrayBuffer()));
      postMessage({ done: Math.min(at + PIECE, file.size) });
    }
    postMessage({ sha256: hash.hex() });
  } catch (error) {
    postMessage({ error: error.message });
  }
};
