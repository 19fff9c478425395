// The rows: one per phase with its three buttons, one for the full sync, and "run all".

import { get, post, link } from "./api.js";
import { addrChip, byId, clock, copyButton, duration, bytes, empty, fill, h, number, plural, problem, say } from "./dom.js";
import { compareGraphs } from "./graphs.js";

const STEPS = ["setup", "sync", "check"];
const WAITING = { setup: "Setup", sync: "Sync", check: "Check" };
const DONE = { setup: "Setup Complete", sync: "Sync Run", check: "All Passed" };
const BUSY = { setup: "Setting up …", sync: "Syncing …", check: "Checking …" };

/** @type {Map<string, any>} id → {id, label, info, steps, views, busy} */
const rows = new Map();
let running = false;

const labelOf = (id) => id.toUpperCase().replaceAll("-", ".");

/** Adds a line to the page's log, newest last. */
export function log(text, kind = "") {
  const list = byId("log");
  list.append(h("li", { class: kind }, h("time", {}, clock(Date.now())), " ", text));
  while (list.children.length > 500) list.firstChild.remove();
  list.scrollTop = list.scrollHeight;
}

/** The text with every secret masked, should one ever slip through. */
function showState(next) {
  if (!next) return;
  const mask = (name, value) => (/secret/i.test(name) && value ? "••••••" : value);
  say(byId("debug-state"), JSON.stringify(next, mask, 2));
}

/** Rows of which a step is red. */
export const failedRows = () => [...rows.values()].filter((row) => !row.busy && STEPS.some((step) => row.steps[step] && !passed(row.steps[step])));

/** Loads all rows anew; what the page found out itself stays as long as the server's result is the same. */
export async function loadRows() {
  let infos;
  try {
    infos = await get("/rows");
  } catch (error) {
    if (rows.size === 0) fill(byId("rows"), problem(error, loadRows));
    return;
  }
  if (rows.size === 0) build(infos);
  for (const info of infos) take(info);
  get("/state").then(showState, () => {});
}

function build(infos) {
  const list = fill(byId("rows"), fullSyncRow());
  for (const info of infos) {
    const label = labelOf(info.id);
    const row = { id: info.id, label, info, steps: { setup: null, sync: null, check: null }, busy: "" };
    const buttons = STEPS.map((step) =>
      h("button", { type: "button", id: `btn-${info.id}-${step}`, class: "step", onclick: () => press(info.id, step) }),
    );
    list.append(
      h(
        "section",
        { id: `row-${info.id}`, class: "row", "data-state": "idle", "aria-label": `phase ${label}` },
        h("h3", {}, label, h("small", {}, info.scenario)),
        h("div", { class: "steps" }, buttons),
        h("p", { class: "title" }, info.title),
        h("div", { id: `result-${info.id}`, class: "result", role: "status", "aria-live": "polite" }),
      ),
    );
    rows.set(info.id, row);
    draw(row);
  }
  if (infos.length === 0) list.append(empty("The server has no rows."));
}

function fullSyncRow() {
  return h(
    "section",
    { id: "row-fullsync", class: "row", "data-state": "idle", "aria-label": "full sync" },
    h("h3", {}, "all in one"),
    h("div", { class: "steps" }, h("button", { type: "button", id: "btn-fullsync", class: "step", onclick: fullSync }, "sync - fullsync")),
    h("p", { class: "title" }, "setup, sync and check of row 3B in one press"),
    h("div", { id: "result-fullsync", class: "result", role: "status", "aria-live": "polite" }),
  );
}

const same = (a, b) => JSON.stringify([a.passed, a.duration_ms, a.checks]) === JSON.stringify([b.passed, b.duration_ms, b.checks]);

function take(info) {
  const row = rows.get(info.id);
  if (!row || row.busy) return;
  row.info = info;
  for (const step of STEPS) {
    const result = info.steps?.[step] ?? null;
    const held = row.steps[step];
    if (held?.result && result && same(held.result, result)) continue;
    row.steps[step] = result && { result, seen: null };
  }
  draw(row);
}

/** Whether a step is green: by the server's word and, where graphs were compared, by the page's own eyes. */
const passed = (held) =>
  Boolean(held?.result?.passed && (held.result.checks ?? []).every((c) => c.passed) && (held.seen === null || held.seen.passed));

function draw(row) {
  const { id, label, steps, busy } = row;
  for (const [i, step] of STEPS.entries()) {
    const button = byId(`btn-${id}-${step}`);
    const ok = passed(steps[step]);
    const ready = i === 0 || passed(steps[STEPS[i - 1]]);
    say(button, busy === step ? `${label} ${BUSY[step]}` : ok ? `✓ ${label} ${DONE[step]}` : `${label} ${WAITING[step]}`);
    button.disabled = running || busy !== "" || !ready;
    button.dataset.state = busy === step ? "busy" : ok ? "passed" : steps[step] ? "failed" : "idle";
  }
  const last = STEPS.findLast((step) => steps[step]);
  const failed = STEPS.some((step) => steps[step] && !passed(steps[step]));
  byId(`row-${id}`).dataset.state = busy ? "busy" : failed ? "failed" : last === "check" ? "passed" : "idle";
  if (!busy) fill(byId(`result-${id}`), last ? resultView(steps[last], last) : []);
}

function drawAll() {
  for (const row of rows.values()) draw(row);
  byId("btn-fullsync").disabled = running || [...rows.values()].some((r) => r.busy);
  byId("btn-run-all").disabled = running;
}

/** What a press showed: verdict, duration, evidence and the command that does the same. */
function resultView({ result, seen }, step) {
  const ok = passed({ result, seen });
  const checks = [...(result.checks ?? []), ...(seen?.checks ?? [])];
  const failed = checks.filter((c) => !c.passed);
  const sum = result.summary;
  const facts = [
    duration(result.duration_ms),
    seen?.checks.length && `${duration(seen.duration_ms)} in this page`,
    checks.length > 0 && `${checks.length - failed.length} of ${plural(checks.length, "check")}`,
    sum && `${plural(sum.turns, "turn")}`,
    sum && `${number(sum.nodes_sent)} sent, ${number(sum.nodes_received)} received`,
    sum && `${bytes(sum.bytes_sent)} out, ${bytes(sum.bytes_received)} in`,
    sum?.merges > 0 && plural(sum.merges, "merge"),
    sum?.conflicts > 0 && plural(sum.conflicts, "conflict"),
  ].filter(Boolean);
  return [
    h(
      "p",
      { class: "verdict" },
      h("strong", { class: ok ? "pass" : "fail" }, ok ? "PASS" : "FAIL"),
      h("span", {}, `${step} · ${facts.join(" · ")}`),
      result.command && copyButton(result.command, "copy command"),
    ),
    result.error && h("p", { class: "reason" }, `${result.error.code}: ${result.error.message}`),
    failed.map((c) => h("p", { class: "reason" }, `✗ ${c.sentence}: ${c.evidence || "no evidence"}`)),
    (checks.length > 0 || result.command || sum) &&
      h(
        "details",
        { "data-key": `evidence-${step}` },
        h("summary", {}, "evidence"),
        h("ul", { class: "checks" }, checks.map(checkView)),
        sum?.saga && h("p", { class: "muted" }, "saga ", h("code", {}, sum.saga)),
        result.command && h("pre", { class: "command", tabindex: "0" }, result.command),
        step === "check" && seen === null && ok &&
          h("p", { class: "muted" }, "The graphs were not compared since this page was loaded: press the check again."),
      ),
  ];
}

// The ib before the '^' may hold spaces; shown is only what surely belongs to the address.
const ADDRESS = /([^\s,;:()"^]+\^[0-9A-F]{32,64}(?:\.[0-9A-F]{32,64})*)/;

function checkView(check) {
  const parts = String(check.evidence ?? "").split(ADDRESS);
  return h(
    "li",
    { class: check.passed ? "ok" : "bad" },
    h("span", {}, `${check.passed ? "✓" : "✗"} ${check.sentence}`),
    parts.join("") && h("div", { class: "evidence" }, parts.map((part, i) => (i % 2 ? addrChip(part) : part))),
  );
}

const failedResult = (id, step, error) => ({
  row: id, step, passed: false, duration_ms: null, checks: [], command: "", summary: null, graphs: [],
  error: { code: error.code ?? "page", message: error.message },
});

/** Asks the server for one step; whatever goes wrong is a failed result. */
async function ask(path, id, step) {
  try {
    return await post(path);
  } catch (error) {
    return failedResult(id, step, error);
  }
}

/** Compares the graphs that a result names, from the space that the server says is the row's. */
async function look(result) {
  const graphs = result.graphs ?? [];
  if (!result.passed && graphs.length === 0) return null;
  const infos = await get("/rows").catch(() => []);
  const space = infos.find((info) => info.id === result.row)?.space ?? `row-${result.row}`;
  return compareGraphs(graphs, space);
}

/** Presses one button; true when the step passed. */
async function press(id, step) {
  const row = rows.get(id);
  if (!row || row.busy) return false;
  const focused = document.activeElement?.id;
  row.busy = step;
  for (const later of STEPS.slice(STEPS.indexOf(step))) row.steps[later] = null;
  fill(byId(`result-${id}`), h("p", { class: "muted" }, `${BUSY[step]}`));
  drawAll();
  const result = await ask(`/rows/${id}/${step}`, id, step);
  showState(result.debug_state);
  const seen = step === "check" ? await look(result) : null;
  row.steps[step] = { result, seen };
  row.busy = "";
  drawAll();
  // A disabled button loses the focus; who presses by keyboard goes on from here.
  if (focused === `btn-${id}-${step}` && document.activeElement === document.body) byId(focused).focus({ preventScroll: true });
  const ok = passed(row.steps[step]);
  report(row.label, step, ok, row.steps[step]);
  return ok;
}

function report(label, step, ok, { result, seen }) {
  dispatchEvent(new Event("trouble"));
  if (ok && step !== "check") return log(`${label} ${step} passed in ${duration(result.duration_ms)}`, "ok");
  if (ok) return log(`🎉 ALL PHASE ${label} CHECKS PASSED FLAWLESSLY! ✓`, "ok");
  const first = [...(seen?.checks ?? []), ...(result.checks ?? [])].find((c) => !c.passed);
  const why = result.error ? result.error.message : first ? `${first.sentence}: ${first.evidence}` : "no reason given";
  return log(`${label} ${step} FAILED: ${why}`, "bad");
}

async function fullSync() {
  const row = rows.get("3b");
  if (row?.busy) return;
  const view = byId("row-fullsync");
  view.dataset.state = "busy";
  if (row) row.busy = "setup";
  fill(byId("result-fullsync"), h("p", { class: "muted" }, "Setting up, syncing, checking …"));
  drawAll();
  const result = await ask("/fullsync", "3b", "fullsync");
  showState(result.debug_state);
  const seen = await look({ ...result, row: "3b" });
  const ok = passed({ result, seen });
  view.dataset.state = ok ? "passed" : "failed";
  fill(byId("result-fullsync"), resultView({ result, seen }, "fullsync"));
  if (row) row.busy = "";
  await loadRows();
  // What was seen here holds for the row's own check too.
  if (row?.steps.check) row.steps.check.seen = seen;
  drawAll();
  report("3B", ok ? "check" : "fullsync", ok, { result, seen });
}

async function runAll() {
  if (running) return;
  running = true;
  const count = byId("run-all-result");
  count.dataset.state = "busy";
  const ids = [...rows.keys()];
  let green = 0;
  for (const [i, id] of ids.entries()) {
    say(count, `running ${labelOf(id)}, ${i + 1} of ${ids.length} …`);
    // A row that fails keeps its reason and the next one is pressed all the same.
    if ((await press(id, "setup")) && (await press(id, "sync")) && (await press(id, "check"))) green += 1;
  }
  running = false;
  drawAll();
  say(count, `${green} of ${ids.length} rows passed`);
  count.dataset.state = green === ids.length ? "passed" : "failed";
  log(`run all: ${green} of ${ids.length} rows passed`, green === ids.length ? "ok" : "bad");
}

export function startRows() {
  byId("btn-run-all").addEventListener("click", runAll);
  byId("btn-log-clear").addEventListener("click", () => byId("log").replaceChildren());
  link.addEventListener("down", () => log("server not reachable", "bad"));
  link.addEventListener("up", () => log("server reachable again", "ok"));
  return loadRows();
}
