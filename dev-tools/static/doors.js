// Doors: what the server's other protocols keep, as each of them tells it.

import { get } from "./api.js";
import { byId, empty, fill, fillProblem, fillWith, h, number, table } from "./dom.js";

// What happens at a door makes no event of the space that the page follows.
const AGAIN_MS = 3000;
let timer = 0;

export function buildDoors(panel) {
  fill(panel, h("div", { id: "doors-list" }, empty("loading …")));
}

export async function loadDoors() {
  const view = byId("doors-list");
  const hidden = () => view.closest("[role=tabpanel]").hidden || document.hidden;
  try {
    const found = await get("/doors");
    const none = () => empty("No door is open: 'ibgib serve --door NAME' opens one (vault, mailbox, transit, tower).");
    fillWith(view, found, () => (found.length === 0 ? none() : found.map(card)));
  } catch (error) {
    fillProblem(view, error, loadDoors);
    return;
  }
  // Whoever else loads it meanwhile has set another.
  clearTimeout(timer);
  timer = setTimeout(function again() {
    if (!hidden()) loadDoors();
    else timer = setTimeout(again, AGAIN_MS);
  }, AGAIN_MS);
}

function card(door) {
  return h(
    "article",
    { class: "card item", id: `door-${door.name}`, "aria-label": `door ${door.name}` },
    h("div", { class: "bar" }, h("h3", {}, door.name)),
    door.trouble && h("p", { class: "reason" }, door.trouble),
    door.tables.map((t) => [
      h("h4", {}, t.title, " ", h("span", { class: "muted" }, t.rows.length < t.count ? `the first ${number(t.rows.length)} of ${number(t.count)}` : number(t.count))),
      t.rows.length === 0 ? empty("None.") : table(t.columns, t.rows, `${t.title} of the door ${door.name}`),
    ]),
  );
}
