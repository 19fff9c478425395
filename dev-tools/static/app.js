// The page: a column of rows to press, and beside it what they do. No framework, no build step.

import { get, getIbGibGraph, hasToken, link } from "./api.js";
import { addrChip, byId, bytes, duration, fill, h, number, say, soon } from "./dom.js";
import { buildConflicts, loadConflicts } from "./conflicts.js";
import { buildDoors, loadDoors } from "./doors.js";
import { buildEvents, followEvents, onEvent, restartEvents } from "./events.js";
import { buildFaults, loadFaults, showFaults } from "./faults.js";
import { checkNode, computeGib } from "./hash.js";
import { buildKeystones, loadKeystones } from "./keystones.js";
import { loadNames } from "./names.js";
import { loadRows, startRows } from "./rows.js";
import { buildSagas, loadSagas } from "./sagas.js";
import { buildSpaces, choose as chooseSpace, loadSpaces } from "./spaces.js";
import { buildTimelines, loadTimelines, search } from "./timelines.js";
import { loadTrouble } from "./trouble.js";

const TABS = [
  { id: "sagas", title: "Sagas", build: buildSagas, load: loadSagas, live: true },
  { id: "timelines", title: "Timelines", build: buildTimelines, load: loadTimelines },
  { id: "keystones", title: "Keystones", build: buildKeystones, load: loadKeystones, live: true },
  { id: "conflicts", title: "Conflicts", build: buildConflicts, load: loadConflicts },
  { id: "spaces", title: "Spaces", build: buildSpaces, load: loadSpaces, live: true },
  { id: "doors", title: "Doors", build: buildDoors, load: loadDoors },
  { id: "events", title: "Events", build: buildEvents, load: () => {} },
  { id: "faults", title: "Faults", build: buildFaults, load: loadFaults },
];

let shown = TABS[0];

function buildTabs() {
  for (const tab of TABS) {
    const button = h("button", { type: "button", role: "tab", id: `tab-${tab.id}`, "aria-controls": `panel-${tab.id}` }, tab.title);
    button.addEventListener("click", () => choose(tab));
    const panel = h("div", { role: "tabpanel", id: `panel-${tab.id}`, "aria-labelledby": `tab-${tab.id}` });
    byId("tabs").append(button);
    byId("panels").append(panel);
    tab.build(panel);
  }
  byId("tabs").addEventListener("keydown", (event) => {
    const at = TABS.indexOf(shown);
    const to = { ArrowRight: at + 1, ArrowLeft: at - 1 + TABS.length, Home: 0, End: TABS.length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    choose(TABS[to % TABS.length]);
    byId(`tab-${shown.id}`).focus();
  });
  mark();
}

function mark() {
  for (const tab of TABS) {
    const on = tab === shown;
    const button = byId(`tab-${tab.id}`);
    button.setAttribute("aria-selected", String(on));
    // One stop for the Tab key, arrows from there.
    button.tabIndex = on ? 0 : -1;
    byId(`panel-${tab.id}`).hidden = !on;
  }
}

function choose(tab) {
  shown = tab;
  mark();
  tab.load();
}

/** Shows a panel, in a space if that matters there. */
function open(id, space) {
  if (space) chooseSpace(space);
  choose(TABS.find((tab) => tab.id === id));
  byId(`tab-${id}`).focus();
}

const lookForTrouble = () => loadTrouble(open);

/** Looks for what stands in the field above the panels. */
function startSearch() {
  const field = byId("search");
  const timelines = TABS.find((tab) => tab.id === "timelines");
  const look = soon(() => {
    if (shown === timelines) return search(field.value);
    shown = timelines;
    mark();
    return search(field.value);
  }, 150);
  field.addEventListener("input", look);
  addEventListener("keydown", (event) => {
    const typing = document.activeElement?.matches("input, select, textarea");
    if (event.key !== "/" || typing || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    field.focus();
    field.select();
  });
}

// Where both columns do not fit beside each other, the panels come before the rows, for the eye as for the Tab key.
const narrow = matchMedia("(max-width: 1079px)");

function place() {
  const [phases, inspect] = [byId("phases"), byId("inspect")];
  if (narrow.matches) phases.before(inspect);
  else inspect.before(phases);
}

// Which run of the server we talk to, told by when it started.
let startedAt = 0;

async function loadOverview() {
  const o = await get("/overview");
  const started = Date.now() - o.uptime_ms;
  // Both clocks may wander a little; a restart is more than that.
  const restarted = startedAt !== 0 && started - startedAt > 1500;
  if (startedAt === 0 || restarted) startedAt = started;
  if (restarted) {
    restartEvents();
    loadAll();
  }
  showFaults(o.faults);
  const tips = o.tips ?? {};
  const facts = [
    ["server", `${o.version} · ${o.protocol}`],
    ["space", addrChip(o.space, `${String(o.space).slice(0, 8)}…`)],
    ["policy", o.policy],
    ["address", o.url],
    ["nodes", `${number(o.nodes)} · revision ${number(o.revision)}`],
    ["tips", `${number(tips.living)} living, ${number(tips.keystone)} identities, ${number(tips.saga)} transcripts`],
    ["up", duration(o.uptime_ms)],
  ];
  const limits = Object.entries(o.limits ?? {});
  const open = byId("limits")?.open ?? false;
  const signature = JSON.stringify([o, 0]);
  if (byId("overview").dataset.seen !== signature && !byId("overview").contains(document.activeElement)) {
    byId("overview").dataset.seen = signature;
    fill(
      byId("overview"),
      facts.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))),
      limits.length > 0 &&
        h("div", { class: "limits" }, h("dt", { class: "offscreen" }, "limits"), h("dd", {}, h("details", { id: "limits", open }, h("summary", {}, "limits"),
          h("dl", { class: "facts" }, limits.map(([name, value]) => [h("dt", {}, name), h("dd", {}, limitText(name, value))]))))),
    );
  }
}

const limitText = (name, value) =>
  /bytes/.test(name) && typeof value === "number" ? `${bytes(value)}` : typeof value === "number" ? number(value) : String(value);

function loadAll() {
  loadNames("server").then(lookForTrouble);
  loadRows();
  shown.load();
}

let timer = 0;
let wait = 1000;
let down = false;

/** Asks the server how it is: often enough to notice a restart, ever more seldom while it is away. */
async function beat() {
  clearTimeout(timer);
  try {
    await loadOverview();
    if (down) loadAll();
    down = false;
    wait = 1000;
    timer = setTimeout(beat, 5000);
  } catch (error) {
    if (error.status === 401) return;
    wait = Math.min(wait * 2, 15_000);
    timer = setTimeout(beat, down ? wait : 5000);
  }
}

function showToken(title) {
  byId("main").hidden = true;
  byId("no-token").hidden = false;
  if (title) say(byId("no-token-title"), title);
}

function start() {
  // The address bar may get a new token without the page being loaded anew.
  addEventListener("hashchange", () => location.reload());
  if (!hasToken) {
    showToken();
    return;
  }
  link.addEventListener("token", () => {
    clearTimeout(timer);
    showToken("The server does not take this page's token");
  });
  link.addEventListener("down", () => {
    down = true;
    wait = 500;
    const banner = byId("net-banner");
    banner.hidden = false;
    say(banner, "server not reachable, trying again");
    clearTimeout(timer);
    timer = setTimeout(beat, wait);
  });
  link.addEventListener("up", () => {
    byId("net-banner").hidden = true;
    say(byId("net-banner"), "");
    // Whoever noticed first, everything is loaded anew once.
    clearTimeout(timer);
    timer = setTimeout(beat, 50);
  });
  byId("main").hidden = false;
  buildTabs();
  byId("jump-phases").addEventListener("click", () => {
    byId("phases").scrollIntoView();
    byId("phases").focus({ preventScroll: true });
  });
  narrow.addEventListener("change", place);
  place();
  startSearch();
  startRows().then(lookForTrouble);
  addEventListener("trouble", soon(lookForTrouble, 100));
  beat();
  loadNames("server").then(() => shown.load());
  const refreshRows = soon(loadRows, 300);
  const refreshShown = soon(() => shown.live && shown.load(), 300);
  const refreshAll = soon(() => shown.load(), 500);
  // Whether the server is there at all is asked by the clock.
  const refreshOverview = soon(() => loadOverview().catch(() => {}), 500);
  const refreshTrouble = soon(lookForTrouble, 500);
  const refreshNames = soon(() => loadNames("server"), 300);
  const big = ["row", "done", "settled"];
  onEvent((event) => {
    if (event.kind === "row") refreshRows();
    if (big.includes(event.kind) || event.kind === "registered") refreshOverview();
    if (event.kind === "done") refreshNames();
    if (big.includes(event.kind) || event.kind === "closed" || event.kind === "forked") refreshTrouble();
    if (big.includes(event.kind)) refreshAll();
    else refreshShown();
  });
  followEvents();
  // For the console of whoever debugs, and for tests: the page's own means, nothing secret.
  Object.assign(window, { ibgibDevTools: { getIbGibGraph, computeGib, checkNode } });
}

start();
