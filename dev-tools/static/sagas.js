// Sagas as they run: phases, messages with their sizes and signers, and why one was refused.

import { get } from "./api.js";
import { onEvent } from "./events.js";
import { addrChip, byId, bytes, clock, duration, empty, fill, h, number, plural, problem, table, update } from "./dom.js";
import { waterfall } from "./waterfall.js";

// The way a connection usually goes; turns visit some of these again.
const PHASES = ["hello", "connect", "idle", "plan", "receive", "merge", "send", "commit"];

// Identities that were not let in, which never came as far as a connection.
const REFUSALS_SHOWN = 5;

const cards = new Map();

export function buildSagas(panel) {
  fill(
    panel,
    h("p", { class: "muted" }, "Connections to this server and to the rows' as they run: those that failed, then the newest."),
    h("ul", { id: "refusals", "aria-label": "refused identities" }),
    h("div", { id: "sagas-list" }, empty("loading …")),
  );
  onEvent((event) => {
    if (event.kind !== "refused") return;
    const list = byId("refusals");
    const { identity, code, message } = event.detail;
    list.prepend(h("li", { class: "reason" }, `${clock(event.at_ms)} refused `, addrChip(identity), ` ${code}: ${message}`));
    while (list.children.length > REFUSALS_SHOWN) list.lastChild.remove();
  });
}

export async function loadSagas() {
  const view = byId("sagas-list");
  let sagas;
  try {
    sagas = await get("/sagas");
  } catch (error) {
    cards.clear();
    fill(view, problem(error, loadSagas));
    return;
  }
  if (sagas.length === 0) {
    cards.clear();
    fill(view, empty("No sagas yet: press 3B Setup, then 3B Sync."));
    return;
  }
  // The server answers the newest first.
  sagas.sort((a, b) => (b.state === "failed") - (a.state === "failed"));
  // A card is drawn anew only when its saga changed: what is open or has the focus stays.
  const wanted = sagas.map((saga) => {
    const text = JSON.stringify(saga);
    const held = cards.get(saga.connection);
    if (held?.text === text) return held.element;
    const element = card(saga, held?.element.querySelector("details")?.open ?? false);
    cards.set(saga.connection, { text, element });
    return element;
  });
  for (const key of [...cards.keys()]) if (!sagas.some((saga) => saga.connection === key)) cards.delete(key);
  update(view, wanted);
}

function card(saga, open) {
  // Drawn once somebody looks: there may be hundreds of cards.
  const draw = (details) => {
    if (details.open && messages.length > 0 && !details.querySelector("figure")) details.querySelector("summary").after(waterfall(saga));
  };
  const took = saga.ended_ms ? saga.ended_ms - saga.opened_ms : null;
  const messages = saga.messages ?? [];
  const total = messages.reduce((sum, m) => sum + (m.bytes ?? 0), 0);
  const left = saga.messages_left_out;
  return h(
    "article",
    { class: "card item", "data-connection": saga.connection, "data-state": saga.state },
    h(
      "div",
      { class: "bar" },
      h("h3", {}, `#${saga.connection}`),
      h("strong", { class: `tag state-${saga.state}` }, saga.state),
      h("span", { class: "tag" }, saga.space === "rows" ? "row" : saga.space),
      h("span", { class: "muted" }, `${clock(saga.opened_ms)} · ${took === null ? "running" : duration(took)}`),
      h("span", {}, "identity ", saga.identity ? addrChip(saga.identity) : h("span", { class: "muted" }, "not proved")),
    ),
    saga.error && h("p", { class: "reason" }, `refused or failed: ${saga.error.code}: ${saga.error.message}`),
    strip(saga),
    saga.done &&
      h("p", {}, h("strong", { class: "pass" }, "committed"), ` ${plural(saga.done.turns, "turn")}, ${number(saga.done.nodes_received)} nodes received, ${number(saga.done.nodes_sent)} sent · saga `, h("code", {}, saga.done.saga)),
    h(
      "details",
      { open, ontoggle: (event) => draw(event.target) },
      h("summary", {}, `${plural(messages.length + (left || 0), "message")}, ${bytes(total)}`),
      table(
        ["after", "", "type", "bytes", "signer"],
        messages.map((m) => [
          duration(m.at_ms - saga.opened_ms),
          m.way === "in" ? "→ in" : "← out",
          m.type,
          h("span", { class: "num" }, number(m.bytes)),
          m.signer ? addrChip(m.signer) : h("span", { class: "muted" }, "unsigned"),
        ]),
        `messages of connection ${saga.connection}`,
      ),
      left > 0 && h("p", { class: "muted" }, `${plural(left, "message")} more, not kept.`),
    ),
  );
}

function strip(saga) {
  const visits = new Map();
  for (const { phase, at_ms } of saga.phases ?? []) visits.set(phase, [...(visits.get(phase) ?? []), at_ms]);
  const names = [...PHASES.filter((p) => p !== "idle" || visits.has(p)), ...[...visits.keys()].filter((p) => !PHASES.includes(p))];
  return h(
    "ol",
    { class: "strip", "aria-label": "phases" },
    names.map((name) => {
      const times = visits.get(name) ?? [];
      const now = saga.state === "open" && saga.phase === name;
      const kind = now ? "now" : times.length === 0 ? "" : name === "failed" ? "failed" : "seen";
      return h(
        "li",
        { class: kind, title: times.map((at) => `after ${duration(at - saga.opened_ms)}`).join(", ") || "not reached", "aria-current": now ? "step" : null },
        times.length > 1 ? `${name} ×${times.length}` : name,
      );
    }),
  );
}
