// Small things that several views are made of.

import { html, useEffect, useLayoutEffect, useRef, useState } from "./vendor/preact.js";
import { ago, moment, percent } from "./format.js";
import { useValue, Value } from "./value.js";

const LOOKS = { done: "good", partly: "warn", failed: "bad", interrupted: "warn", running: "running", detached: "running" };
const WORDS = { detached: "running" };

/** The state of a job in a word. */
export function State({ state }) {
  return html`<span class="state ${LOOKS[state] ?? ""}">${WORDS[state] ?? state}</span>`;
}

/** A bar from nothing to all. `name` is what it is about, for who cannot see it. */
export function Progress({ share, name }) {
  const done = Math.min(Math.max(share, 0), 1);
  return html`<div class="progress" role="progressbar" aria-label=${name} aria-valuemin="0" aria-valuemax="100"
    aria-valuenow=${Math.floor(done * 100)} aria-valuetext=${percent(done)}>
    <div style=${{ transform: `scaleX(${done})` }}></div>
  </div>`;
}

const ROUTE = /^([A-Z]+ )?\/v1\//; // a hint for programs

/** What went wrong, and what to do next. */
export function Trouble({ problem, children }) {
  if (!problem) return null;
  return html`<div class="problem" role="alert">
    <p>${problem.message}</p>
    ${problem.hint && !ROUTE.test(problem.hint) && html`<p>${hint(problem.hint)}</p>`}
    ${children}
  </div>`;
}

/** A hint whose command can be told from its words. */
function hint(text) {
  return /^offload \S+( -\S+| [a-z-]+)*$/.test(text) ? html`<code>${text}</code>` : text;
}

/** A command to type, with a button that copies it. */
export function Command({ text }) {
  return html`<div class="command"><code>${text}</code><${Copy} text=${text} /></div>`;
}

/** A button that copies `text`. */
export function Copy({ text, children = "Copy" }) {
  const [said, setSaid] = useState("");
  useEffect(() => {
    if (!said) return undefined;
    const over = setTimeout(() => setSaid(""), 2000);
    return () => clearTimeout(over);
  }, [said]);
  const copy = () => navigator.clipboard.writeText(text).then(() => setSaid("Copied"), () => setSaid("Select it to copy"));
  return html`<button type="button" class="plain small" onClick=${copy} aria-live="polite">${said || children}</button>`;
}

/** A button that does something which takes a moment; it cannot be pressed twice, and what goes wrong is told below. */
export function Act({ act, children, kind = "", onProblem }) {
  const [busy, setBusy] = useState(false);
  const press = () => {
    setBusy(true);
    onProblem?.(null);
    act().catch(onProblem).finally(() => setBusy(false));
  };
  return html`<button type="button" class=${kind} disabled=${busy} onClick=${press}>${children}</button>`;
}

/** A question over the page. `onAnswer` gets true or false. */
export function Confirm({ title, children, yes, onAnswer }) {
  const dialog = useRef(null);
  useLayoutEffect(() => dialog.current.showModal(), []);
  const answer = (event) => {
    event.preventDefault();
    dialog.current.close();
    onAnswer(event.submitter?.value === "yes");
  };
  return html`<dialog ref=${dialog} aria-labelledby="asked" onCancel=${() => onAnswer(false)}>
    <form method="dialog" onSubmit=${answer}>
      <h2 id="asked">${title}</h2>
      <div class="stack">${children}</div>
      <div class="row">
        <button value="no" autofocus>Keep</button>
        <button value="yes" class="danger">${yes}</button>
      </div>
    </form>
  </dialog>`;
}

/** Something that is shown, and asked for, only when it is opened. */
export function Fold({ title, open = false, children }) {
  const [shown, setShown] = useState(open);
  return html`<details open=${shown} onToggle=${(event) => setShown(event.currentTarget.open)}>
    <summary>${title}</summary>
    <div>${shown && (typeof children === "function" ? children() : children)}</div>
  </details>`;
}

/** A clock that ticks twice a minute. */
export const minute = new Value(0);
setInterval(() => minute.set(Date.now()), 30_000);

/** How long ago something was; it goes on with the clock. */
export function Ago({ time }) {
  useValue(minute);
  return html`<time title=${moment(time)}>${ago(time)}</time>`;
}

/** The title of a view: it gets the focus when the view is entered, and names the window, with `before` in front. */
export function Title({ before = "", children }) {
  const heading = useRef(null);
  useLayoutEffect(() => {
    // The title of what is still loaded had the focus, and is gone.
    if (document.activeElement === document.body) heading.current.focus({ preventScroll: true });
  }, []);
  useEffect(() => {
    document.title = [before, heading.current.textContent, "offload"].filter(Boolean).join(" · ");
  });
  return html`<h1 ref=${heading} tabindex="-1">${children}</h1>`;
}
