// Spaces: counts, size and fsck; and the choice of a space that the other views share.

import { get, post } from "./api.js";
import { addrChip, byId, bytes, duration, empty, fill, fillProblem, fillWith, h, number, plural, table, update } from "./dom.js";

/** Which space the views look into. */
export const chosen = { space: "server" };

const select = new Map();

/** A labelled choice of a space; all such choices of the page show the same one. */
export function spaceSelect(id, onchange) {
  const element = h("select", { id });
  element.append(h("option", { value: "server" }, "server"));
  element.addEventListener("change", () => {
    choose(element.value);
    onchange();
  });
  select.set(element, onchange);
  return h("label", {}, "space ", element);
}

/** Chooses a space for all views; who does it loads what is shown. */
export function choose(space) {
  chosen.space = space;
  for (const element of select.keys()) element.value = space;
}

function offer(spaces) {
  const names = spaces.map((space) => space.name);
  if (!names.includes(chosen.space)) chosen.space = names[0] ?? "server";
  for (const element of select.keys()) {
    // A new space comes in at any time: what somebody is about to choose must not be taken from under the mouse.
    const known = new Map([...element.options].map((option) => [option.value, option]));
    update(element, names.map((name) => known.get(name) ?? h("option", { value: name }, name)));
    element.value = chosen.space;
  }
}

/** Reads which spaces there are and offers them everywhere. */
export async function loadSpaceNames() {
  const spaces = await get("/spaces");
  offer(spaces);
  return spaces;
}

// A result of fsck belongs to a space, not to one drawing of the view.
const fsck = new Map();

/** Spaces that fsck found wanting. */
export const unclean = () => [...fsck].filter(([, found]) => found.clean === false).map(([name]) => name);

export function buildSpaces(panel) {
  fill(panel, h("div", { id: "spaces-list" }, empty("loading …")));
}

export async function loadSpaces() {
  const view = byId("spaces-list");
  let spaces;
  try {
    spaces = await loadSpaceNames();
  } catch (error) {
    fillProblem(view, error, loadSpaces);
    return;
  }
  if (spaces.length === 0) {
    fill(view, empty("No spaces."));
    return;
  }
  // What is not clean first.
  spaces.sort((a, b) => unclean().includes(b.name) - unclean().includes(a.name));
  fillWith(view, [spaces, [...fsck]], () => [
    ...spaces.map(card),
    spaces.length === 2 && empty("The rows sync with a space of their own, and each has another one that its Setup button makes."),
  ]);
}

function card(space) {
  const result = h("div", { id: `fsck-${space.name}`, class: "result", role: "status", "aria-live": "polite" });
  if (fsck.has(space.name)) fill(result, fsckView(fsck.get(space.name)));
  const button = h("button", { type: "button", id: `btn-fsck-${space.name}`, class: "small" }, "fsck");
  button.addEventListener("click", () => check(space.name, button));
  const tips = space.tips ?? {};
  return h(
    "article",
    { class: "card item", id: `space-${space.name}` },
    h("div", { class: "bar" }, h("h3", {}, space.name), addrChip(space.id, `${String(space.id).slice(0, 8)}…`), button),
    h(
      "dl",
      { class: "facts across" },
      [
        ["nodes", number(space.nodes)],
        ["size", bytes(space.bytes)],
        ["living", number(tips.living)],
        ["identities", number(tips.keystone)],
        ["transcripts", number(tips.saga)],
      ].map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))),
    ),
    result,
  );
}

async function check(name, button) {
  const view = byId(`fsck-${name}`);
  button.disabled = true;
  fill(view, h("p", { class: "muted" }, "re-hashing and walking everything …"));
  try {
    fsck.set(name, await post(`/spaces/${encodeURIComponent(name)}/fsck`));
  } catch (error) {
    fsck.set(name, { error });
  }
  button.disabled = false;
  // The list may have been drawn anew meanwhile.
  const now = byId(`fsck-${name}`);
  if (now) fill(now, fsckView(fsck.get(name)));
  dispatchEvent(new Event("trouble"));
}

function fsckView(found) {
  if (found.error) return h("p", { class: "reason" }, `fsck did not run: ${found.error.message}`);
  const pairs = found.missing ?? [];
  return [
    h(
      "p",
      { class: "verdict" },
      h("strong", { class: found.clean ? "pass" : "fail" }, found.clean ? "CLEAN" : "NOT CLEAN"),
      h(
        "span",
        {},
        `${plural(found.nodes, "node")}, ${plural(found.timelines, "timeline")}, ${number(found.unreachable)} unreachable · ${duration(found.duration_ms)}`,
      ),
    ),
    (found.corrupt ?? []).map((addr) => h("p", { class: "reason" }, "corrupt ", addrChip(addr))),
    pairs.length > 0 && table(["missing", "needed by"], pairs.slice(0, 100).map(([from, to]) => [addrChip(to), addrChip(from)]), "missing nodes"),
  ];
}
