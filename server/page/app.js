// The page: who is let in, which view is shown, how the link to the server is.

import { html, render, useEffect, useLayoutEffect, useState } from "./vendor/preact.js";
import { known, login, logout, read, recognise, version } from "./api.js";
import { New } from "./compose.js";
import { DropAnywhere } from "./dropping.js";
import { JobView } from "./job.js";
import { Jobs } from "./jobs.js";
import { follow, jobs, leave, link } from "./live.js";
import { Later } from "./later.js";
import { Door } from "./login.js";
import { Targets } from "./targets.js";
import { Command, minute } from "./parts.js";
import { useAnswer, useValue, Value } from "./value.js";

const search = () => import("./search.js").then(({ Search }) => Search);
const SearchView = () => html`<${Later} load=${search} />`;
const VIEWS = { new: New, jobs: Jobs, targets: Targets, search: SearchView };
const TABS = [["new", "New"], ["jobs", "Jobs"], ["targets", "Targets"], ["search", "Search"]];
const LINKS = { live: "live", connecting: "connecting", lost: "link lost" };

/** The parts of the address: #/jobs/ID is ["jobs", "ID"]. */
function route() {
  const [view, id] = location.hash.replace(/^#\/?/, "").split("/").map(decoded);
  return VIEWS[view] ? [view, id] : ["new"];
}

function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part; // an address somebody typed
  }
}

function useRoute() {
  const [now, setNow] = useState(route);
  useEffect(() => {
    const changed = () => setNow(route());
    addEventListener("hashchange", changed);
    return () => removeEventListener("hashchange", changed);
  }, []);
  return now;
}

/** Why nobody was let in. */
const refused = new Value(null);

/** A login link's code is used, and taken out of the address before anything else. */
async function enter() {
  const code = location.hash.startsWith("#code=") ? location.hash.slice(6) : "";
  if (code) history.replaceState(null, "", "#/new");
  refused.set(null);
  try {
    if (code) await login(code);
    await recognise();
  } catch (problem) {
    if (code || problem.status !== 401) refused.set(problem);
    if (code && problem.status === 401) await recognise().catch(() => {}); // an old link, but the cookie may still hold
    if (!known.now) known.set(false);
  }
}

function Tab({ to, name, current, count }) {
  return html`<a href="#/${to}" aria-current=${current ? "page" : undefined}>${name}
    ${count > 0 && html`<span class="count" title="${count} open">${count}</span>`}</a>`;
}

function Bar({ view }) {
  const open = [...useValue(jobs).values()].filter((job) => !job.over).length;
  const state = useValue(link);
  return html`<header class="bar"><div>
    <a class="mark" href="#/new" aria-label="offload"><img src="icon.svg" alt="" /><span>offload</span></a>
    <nav class="tabs" aria-label="Views">
      ${TABS.map(([to, name]) => html`<${Tab} to=${to} name=${name} current=${view === to} count=${to === "jobs" ? open : 0} />`)}
    </nav>
    <div class="link ${state}" role="status" title=${LINKS[state]}><span>${LINKS[state]}</span></div>
  </div></header>`;
}

function Lost() {
  if (useValue(link) !== "lost") return null;
  return html`<div class="banner" role="status">
    <p>The server does not answer. Jobs go on without it. This page comes back by itself; <code>offload serve</code> starts the server.</p>
  </div>`;
}

/** What a person should see to. It may come up while the page is open. */
function Notices() {
  const state = useValue(link);
  const clock = useValue(minute);
  const [hidden, setHidden] = useState("");
  const { told } = useAnswer((signal) => (state === "live" ? read("/v1/health", signal) : Promise.resolve()), [state, clock]);
  const found = told?.notices ?? [];
  const all = JSON.stringify(found);
  if (!found.length || hidden === all) return null;
  return html`<section class="notices" aria-label="To be seen to" role="status">
    ${found.map(({ said, command }) => html`<div class="notice" key=${said}><p>${sentence(said)}</p><${Command} text=${command} /></div>`)}
    <button type="button" class="plain small" onClick=${() => setHidden(all)}>Hide</button>
  </section>`;
}

function sentence(said) {
  return `${said.charAt(0).toUpperCase()}${said.slice(1)}.`;
}

function Inside() {
  const [view, id] = useRoute();
  useEffect(() => {
    follow();
    return leave;
  }, []);
  useLayoutEffect(() => {
    scrollTo(0, 0);
    document.querySelector("main h1")?.focus({ preventScroll: true });
  }, [view, id]);
  const View = view === "jobs" && id ? JobView : VIEWS[view];
  return html`<div>
    <a class="skip" href="#main" onClick=${toMain}>To the content</a>
    <${Bar} view=${view} />
    <${Lost} />
    <${DropAnywhere} />
    <${Notices} />
    <main id="main" tabindex="-1" key=${`${view}/${id ?? ""}`}><${View} id=${id} /></main>
    <${Foot} />
  </div>`;
}

function Foot() {
  return html`<footer class="muted small"><span>offload ${useValue(version)}</span>
    <button type="button" class="plain small" onClick=${logout}>Log out</button></footer>`;
}

/** The address is ours: a link into the page must not change it. */
function toMain(event) {
  event.preventDefault();
  document.querySelector("main h1, main")?.focus();
}

function App() {
  const inside = useValue(known);
  const problem = useValue(refused);
  if (inside === null) return null;
  return inside ? html`<${Inside} />` : html`<${Door} problem=${problem} again=${enter} />`;
}

addEventListener("hashchange", () => location.hash.startsWith("#code=") && enter()); // a link opened in this very tab
render(html`<${App} />`, document.getElementById("app"));
enter();
