// One tab of all follows the server and tells the others: a browser has six connections to a server, for all tabs.

const NAME = "offload";

/** Be one of the tabs. `lead` is called when it is this one's turn to follow, and returns what ends that; `heard` is
 * called with what another tab tells. Returns { tell, leave }. */
export function join(lead, heard) {
  const channel = new BroadcastChannel(NAME);
  const left = new AbortController();
  const turn = () => {
    if (left.signal.aborted) return undefined; // left at the moment its turn came
    const end = lead();
    return new Promise((resolve) => left.signal.addEventListener("abort", () => (end(), resolve()), { once: true }));
  };
  channel.onmessage = ({ data }) => heard(...data);
  navigator.locks.request(NAME, { signal: left.signal }, turn).catch(() => {}); // left before its turn came
  return {
    tell: (...what) => channel.postMessage(what),
    leave: () => {
      left.abort();
      channel.close();
    },
  };
}
