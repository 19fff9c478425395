// Conflicts: what ancestor, base and orphan had at one path, side by side, and settling them.

import { get, post } from "./api.js";
import { addrChip, byId, empty, fill, fillProblem, fillWith, h, oneLine, plural, say } from "./dom.js";
import { diffLines, sideView } from "./diff.js";
import { learn } from "./names.js";
import { chosen, loadSpaceNames, spaceSelect } from "./spaces.js";

export function buildConflicts(panel) {
  fill(
    panel,
    h("div", { class: "bar" }, spaceSelect("conflicts-space", loadConflicts), h("span", { id: "conflicts-count", class: "muted", role: "status", tabindex: "-1" })),
    h("p", { id: "conflicts-told", role: "status", "aria-live": "polite" }),
    h("div", { id: "conflicts-list" }, empty("loading …")),
  );
}

export async function loadConflicts() {
  const view = byId("conflicts-list");
  let found;
  try {
    await loadSpaceNames();
    found = await get(`/spaces/${encodeURIComponent(chosen.space)}/conflicts`);
  } catch (error) {
    fillProblem(view, error, loadConflicts);
    return;
  }
  learn(found);
  byId("conflicts-count").textContent = found.length > 0 ? plural(found.length, "conflict") : "";
  const none = () => empty(`No conflicts in ${chosen.space}. Rows 4.7B to 4.10B make both sides edit: most merge by themselves, what does not stands here.`);
  fillWith(view, [chosen.space, found], () => (found.length === 0 ? none() : found.map(card)));
}

const absent = (value) => value === null || value === undefined;
const linesOf = (value) => (absent(value) ? [] : (typeof value === "string" ? value : JSON.stringify(value, null, 2)).split("\n"));

// What may be chosen, and how the button says it.
const CHOICES = [
  ["base", "use base"],
  ["orphan", "use orphan"],
  ["ancestor", "use ancestor"],
  ["keep", "keep what stands"],
];

function card(conflict) {
  const [ancestor, base, orphan] = [conflict.ancestor, conflict.base, conflict.orphan].map(linesOf);
  const [goneInBase, newInBase] = diffLines(ancestor, base);
  const [goneInOrphan, newInOrphan] = diffLines(ancestor, orphan);
  const short = conflict.stone.slice(-12);
  const title = conflict.name ? oneLine(conflict.name) : conflict.path || "(whole)";
  const buttons = CHOICES.map(([choose, text]) => {
    const button = h("button", { type: "button", class: "small", id: `btn-settle-${short}-${choose}`, "aria-label": `${text} in ${title}` }, text);
    button.addEventListener("click", () => settle(conflict, choose, title, buttons));
    return button;
  });
  return h(
    "article",
    { class: "card item", "data-stone": conflict.stone, "aria-label": `conflict in ${title}` },
    h("div", { class: "bar" },
      h("h3", {}, conflict.name ? [h("span", { class: "named" }, title), " "] : "", h("code", {}, conflict.path ? oneLine(conflict.path) : "(whole)")),
      h("span", { class: "muted" }, "in "), addrChip(conflict.tjp)),
    h(
      "div",
      { class: "sides" },
      side("ancestor", conflict.ancestor, ancestor, new Set([...goneInBase, ...goneInOrphan]), "del", "-"),
      side("base", conflict.base, base, newInBase, "add", "+"),
      side("orphan", conflict.orphan, orphan, newInOrphan, "add", "+"),
    ),
    h("details", { "data-key": `now-${conflict.stone}` }, h("summary", {}, "what stands there now"), side("now", conflict.now, linesOf(conflict.now), new Set(), "", " ")),
    h("div", { class: "bar settle", role: "group", "aria-label": `settle ${title}` }, h("span", { class: "muted" }, "settle with a new frame:"), buttons),
    h("p", { class: "muted" }, "stone ", addrChip(conflict.stone), " tip ", addrChip(conflict.tip)),
  );
}

/** Asks for a new frame with the value chosen. What was there stays in the history. */
async function settle(conflict, choose, title, buttons) {
  const told = byId("conflicts-told");
  for (const button of buttons) button.disabled = true;
  told.className = "muted";
  say(told, `settling ${title} …`);
  try {
    const { frame } = await post(`/spaces/${encodeURIComponent(chosen.space)}/conflicts`, { tjp: conflict.tjp, stone: conflict.stone, choose });
    told.className = "pass";
    fill(told, `✓ ${title} settled: new frame `, addrChip(frame));
    await loadConflicts();
    // The card is gone; who presses by keyboard goes on from the list's count.
    if (document.activeElement === document.body) byId("conflicts-count").focus({ preventScroll: true });
  } catch (error) {
    told.className = "reason";
    say(told, `${title} is not settled: ${error.message}`);
    for (const button of buttons) button.disabled = false;
    if (error.code === "conflict_settled") loadConflicts();
  }
}

function side(name, value, lines, changed, kind, sign) {
  return h(
    "section",
    {},
    h("h4", {}, name),
    absent(value) ? h("p", { class: "muted" }, name === "ancestor" ? "(not there yet)" : "(nothing)") : sideView(lines, changed, kind, sign, name),
  );
}
