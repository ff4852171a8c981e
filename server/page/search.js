// Search by what clips and pictures show, among all that was tagged.

import { html, useEffect, useRef, useState } from "./vendor/preact.js";
import { LONG_MS, read } from "./api.js";
import { Title, Trouble } from "./parts.js";
import { clock, inputAt, kindOf } from "./viewers/files.js";
import { Player } from "./viewers/player.js";
import { Still } from "./viewers/stills.js";

const TOP = 12;
const NOTHING = { text: "", busy: false, error: null, found: null };

let last = NOTHING; // what was found is there again when the view is

/** The view. */
export function Search() {
  const [state, setState] = useState(last);
  const [chosen, setChosen] = useState(null);
  const asked = useRef(null);
  useEffect(() => () => asked.current?.abort(), []);
  const tell = (change) => setState((known) => (last = { ...known, ...change }));
  const search = (event) => {
    event.preventDefault();
    setChosen(null);
    asked.current?.abort();
    asked.current = new AbortController();
    ask(new FormData(event.currentTarget).get("text").trim(), asked.current.signal, tell);
  };
  return html`
    <${Title}>Search<//>
    <form class="searching" role="search" onSubmit=${search}>
      <input type="search" name="text" required maxlength="500" defaultValue=${state.text} placeholder="people on a beach" aria-label="What is to be seen" />
      <button class="primary">Search</button>
    </form>
    <p class="muted" role="status">${said(state)}</p>
    <${Trouble} problem=${state.error} />
    ${chosen && html`<${Chosen} key=${placeOf(chosen)} moment=${chosen} />`}
    <${Moments} moments=${state.found?.moments ?? []} chosen=${chosen} choose=${setChosen} />
    <${LeftOut} sentences=${state.found?.left_out ?? []} />
  `;
}

async function ask(text, signal, tell) {
  if (!text) return;
  tell({ text, busy: true, error: null, found: null });
  try {
    const query = new URLSearchParams({ text, top: TOP });
    tell({ busy: false, found: await read(`/v1/search?${query}`, signal, LONG_MS) });
  } catch (error) {
    if (!signal.aborted) tell({ busy: false, error });
    else if (last.text === text) tell({ busy: false });
  }
}

function said({ busy, found, text }) {
  if (busy) return "Searching … the model is loaded for it, which takes some seconds.";
  if (!found) return "Describe what is to be seen. Everything that was tagged is searched, on this machine alone.";
  const count = found.moments.length;
  return count ? `${count} ${count === 1 ? "moment" : "moments"}, the best first, for “${text}”.` : `Nothing was found for “${text}”.`;
}

const placeOf = ({ job, item, seconds }) => `${job}/${item}/${seconds}`;

const sideOf = ({ job, item, name }) => ({
  label: name, file: name, size: 0, kind: kindOf(name), address: inputAt(job, item),
});

function Moments({ moments, chosen, choose }) {
  return html`<ol class="moments">${moments.map((one) => html`<${Moment} key=${placeOf(one)} moment=${one} chosen=${one === chosen} choose=${choose} />`)}</ol>`;
}

function Moment({ moment, chosen, choose }) {
  const { name, seconds, score, viewable } = moment;
  const at = clock(seconds, 1);
  return html`
    <li>
      <button class="frame" aria-label="Play ${name} from ${at}" aria-pressed=${chosen} disabled=${!viewable} onClick=${() => choose(moment)}>
        ${viewable && html`<${Still} side=${sideOf(moment)} seconds=${seconds} words="${name} at ${at}" />`}
        <span class="at">${at}</span>
      </button>
      <p class="clip" title=${name}>${name}</p>
      <p class="muted small">${score.toFixed(3)}${viewable ? "" : ", the file is not where it was"}</p>
    </li>
  `;
}

function Chosen({ moment }) {
  const media = useRef(null);
  const box = useRef(null);
  useEffect(() => box.current.scrollIntoView({ block: "nearest" }), []);
  return html`
    <section class="panel found" ref=${box} aria-label="${moment.name} at ${clock(moment.seconds, 1)}">
      <div class="body stack">
        <${Player} side=${sideOf(moment)} media=${media} at=${moment.seconds} />
        <p class="row"><strong>${moment.name}</strong> <a href="#/jobs/${moment.job}">The job that tagged it</a></p>
      </div>
    </section>
  `;
}

function LeftOut({ sentences }) {
  return html`<ul class="muted small">${sentences.map((one) => html`<li key=${one}>${one}</li>`)}</ul>`;
}
