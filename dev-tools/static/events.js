// The event stream, read by hand because EventSource cannot send the token in a header, and the event log.

import { ApiError, open } from "./api.js";
import { addrChip, byId, clock, empty, fill, h, number, update } from "./dom.js";

const KEPT = 5000;
const SHOWN = 300;

const listeners = new Set();
let events = [];
let last = 0;
let paused = false;
let held = [];
let draining = 0;

/** Calls back with each event as it comes. */
export const onEvent = (listener) => listeners.add(listener);

/** Forgets what was read: another run of the server counts its events anew. */
export function restartEvents() {
  last = 0;
  events = [];
  held = [];
  schedule();
}

/** Reads the stream for ever, coming back by itself after each break. */
export async function followEvents() {
  let wait = 500;
  for (;;) {
    try {
      const response = await open(`/events?after=${last}`);
      wait = 500;
      await read(response.body.getReader());
    } catch (error) {
      // A token that is not taken will not be taken the next time either.
      if (error instanceof ApiError && error.status === 401) return;
    }
    await new Promise((done) => setTimeout(done, wait));
    wait = Math.min(wait * 2, 10_000);
  }
}

async function read(reader) {
  const decoder = new TextDecoder();
  let text = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    text += decoder.decode(value, { stream: true });
    const blocks = text.split(/\r?\n\r?\n/);
    text = blocks.pop() ?? "";
    for (const block of blocks) take(block);
  }
}

function take(block) {
  const data = block
    .split(/\r?\n/)
    .filter((line) => line.startsWith("data:"))
    .map((line) => line.slice(5).trimStart())
    .join("\n");
  if (data === "") return;
  let event;
  try {
    event = JSON.parse(data);
  } catch {
    return;
  }
  last = event.id;
  (paused ? held : events).push(event);
  if (events.length > KEPT) events = events.slice(-KEPT);
  if (held.length > KEPT) held = held.slice(-KEPT);
  for (const listener of listeners) listener(event);
  schedule();
}

function schedule() {
  // A busy sync sends hundreds of events: one drawing for all of a moment.
  draining ||= setTimeout(() => {
    draining = 0;
    draw();
  }, 120);
}

function matching() {
  const words = byId("events-filter").value.trim().toLowerCase();
  const kind = byId("events-kind").value;
  return events.filter(
    (e) => (kind === "" || e.kind === kind) && (words === "" || JSON.stringify(e).toLowerCase().includes(words)),
  );
}

const lines = new WeakMap();

/** Whether something went wrong: a refusal names its code. */
const failed = (event) => event.kind === "forked" || event.kind === "missed" || event.detail?.code !== undefined;

function line(event) {
  let element = lines.get(event);
  if (!element) {
    const detail = Object.entries(event.detail ?? {});
    const head = [
      h("time", {}, clock(event.at_ms)),
      h("span", { class: "connection" }, event.connection === null ? "" : `#${event.connection}`),
      h("span", { class: `kind kind-${failed(event) ? "failed" : event.kind}` }, event.kind),
      h("span", { class: "text" }, event.text),
    ];
    const value = (v) => (typeof v === "string" && v.includes("^") ? addrChip(v) : typeof v === "string" ? v : JSON.stringify(v));
    element = h(
      "li",
      {},
      detail.length === 0
        ? h("div", { class: "event" }, head)
        : h(
            "details",
            {},
            h("summary", { class: "event" }, head),
            h("dl", { class: "facts" }, detail.map(([name, v]) => [h("dt", {}, name), h("dd", {}, value(v))])),
          ),
    );
    lines.set(event, element);
  }
  return element;
}

function draw() {
  const select = byId("events-kind");
  if (!select) return;
  for (const kind of new Set(events.map((e) => e.kind))) {
    if (![...select.options].some((o) => o.value === kind)) select.append(h("option", { value: kind }, kind));
  }
  const found = matching();
  const shown = found.slice(-SHOWN).reverse();
  const left = found.length - shown.length;
  byId("events-count").textContent =
    `${number(found.length)} of ${number(events.length)} events` +
    (left > 0 ? `, the newest ${SHOWN} are shown` : "") +
    (paused ? `, paused, ${number(held.length)} waiting` : "");
  const list = byId("events-list");
  const none = events.length === 0 ? "No events yet: press 3B Setup, and see here what the server does." : "No event matches the filter.";
  if (shown.length === 0) fill(list, h("li", {}, empty(none)));
  else update(list, shown.map(line));
}

function togglePause() {
  paused = !paused;
  if (!paused) {
    events = [...events, ...held].slice(-KEPT);
    held = [];
  }
  byId("btn-events-pause").textContent = paused ? "resume" : "pause";
  byId("btn-events-pause").setAttribute("aria-pressed", String(paused));
  draw();
}

function save() {
  const text = matching().map((e) => `${JSON.stringify(e)}\n`).join("");
  const url = URL.createObjectURL(new Blob([text], { type: "application/x-ndjson" }));
  const anchor = h("a", { href: url, download: `ibgib-events-${new Date().toISOString().replaceAll(":", "-")}.ndjson` });
  document.body.append(anchor);
  anchor.click();
  anchor.remove();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

/** The view. */
export function buildEvents(panel) {
  fill(
    panel,
    h(
      "div",
      { class: "bar" },
      h("button", { type: "button", id: "btn-events-pause", class: "small", "aria-pressed": "false", onclick: togglePause }, "pause"),
      h("label", {}, "kind ", h("select", { id: "events-kind", onchange: draw }, h("option", { value: "" }, "all"))),
      h("label", { class: "grow" }, "filter ", h("input", { id: "events-filter", type: "search", placeholder: "text, address, number", oninput: schedule })),
      h("button", { type: "button", id: "btn-events-export", class: "small", onclick: save }, "export NDJSON"),
    ),
    h("p", { id: "events-count", class: "muted" }),
    h("ol", { id: "events-list" }),
  );
  draw();
}
