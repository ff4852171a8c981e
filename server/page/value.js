// A value that views watch.

import { useEffect, useState } from "./vendor/preact.js";

/** A value, and who is told when it changes. `now` is what it is. */
export class Value {
  #listeners = new Set();

  constructor(now) {
    this.now = now;
  }

  set(now) {
    if (now === this.now) return;
    this.now = now;
    for (const listener of [...this.#listeners]) listener(now);
  }

  /** Set what `change` makes of it. */
  update(change) {
    this.set(change(this.now));
  }

  /** Tell `listener` of each change; what is returned ends that. */
  watch(listener) {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }
}

/** What `value` is, in a component that is drawn again when it changes. */
export function useValue(value) {
  const [now, setNow] = useState(value.now);
  useEffect(() => {
    setNow(value.now); // it may have changed between the first drawing and this
    return value.watch(setNow);
  }, [value]);
  return now;
}

/** What `ask` answered: { told, problem, asking }, asked again when one of `on` changes. An older answer never wins. */
export function useAnswer(ask, on) {
  const [answer, setAnswer] = useState({ asking: true });
  useEffect(() => {
    const asked = new AbortController();
    setAnswer((before) => ({ ...before, asking: true }));
    ask(asked.signal).then(
      (told) => asked.signal.aborted || setAnswer({ told, asking: false }),
      (problem) => asked.signal.aborted || setAnswer({ problem, asking: false }),
    );
    return () => asked.abort();
  }, on);
  return answer;
}
