// Timelines: a list, the frames of one as a picture, and a frame's JSON with its hash computed here, beside what changed
// since another frame.

import { get, getNode } from "./api.js";
import { addrChip, byId, copyButton, empty, fill, h, number, oneLine, plural, problem, say, shorten } from "./dom.js";
import { drawDag, markChecked } from "./dag.js";
import { diffView, linesOfNode } from "./diff.js";
import { checkNode } from "./hash.js";
import { learn, nameOf } from "./names.js";
import { chosen, loadSpaceNames, spaceSelect } from "./spaces.js";

let kind = "living";
// What is looked for: part of a name or an address.
let find = "";
let tjp = "";
let selected = "";
let limit = 200;
// Frames whose hash was computed here and holds; an address names one content for ever.
const held = new Set();
// Requests at once while the frames of a timeline are hashed.
const AT_ONCE = 8;
// Answers may overtake each other; only the newest question's counts.
let asked = 0;
// What is on the page now. News that changes none of it draws nothing: neither focus nor scroll position move.
let shownList = "";
/** @type {{ key: string, box: Element, checked: Map<string, string> } | null} */
let shownFrames = null;

export function buildTimelines(panel) {
  const kinds = ["living", "keystone", "saga", "all"];
  const choice = h("select", { id: "timelines-kind" }, kinds.map((k) => h("option", { value: k }, k)));
  choice.addEventListener("change", () => {
    kind = choice.value;
    loadTimelines();
  });
  fill(
    panel,
    h("div", { class: "bar" }, spaceSelect("timelines-space", loadTimelines), h("label", {}, "kind ", choice), h("span", { id: "timelines-count", class: "muted", role: "status" })),
    h("div", { id: "timelines-list" }, empty("loading …")),
    h("div", { id: "timeline-view" }),
    h("div", { id: "frame-view", "aria-live": "polite" }),
  );
}

/** Looks for timelines by name or address, in the space that is chosen; an empty text ends the search. */
export function search(text) {
  find = text.trim();
  return loadTimelines();
}

export async function loadTimelines() {
  const view = byId("timelines-list");
  const mine = ++asked;
  let found;
  try {
    await loadSpaceNames();
    found = await get(`/spaces/${encodeURIComponent(chosen.space)}/timelines?kind=${find ? "all" : kind}&limit=500&find=${encodeURIComponent(find)}`);
  } catch (error) {
    if (mine !== asked) return;
    shownList = "";
    fill(view, problem(error, loadTimelines));
    return;
  }
  if (mine !== asked) return;
  learn(found.tips);
  const list = JSON.stringify([chosen.space, kind, find, found]);
  const isNew = list !== shownList;
  if (isNew) {
    shownList = list;
    drawList(view, found);
  }
  if (isNew && found.node) {
    // The address of a node asks for that very node.
    if (found.tips.length === 1) await show(found.tips[0].tjp, found.node);
    else clear();
    if (mine === asked) await showFrame(found.node);
  } else if (found.tips.some((tip) => tip.tjp === tjp)) await loadFrames();
  else if (tjp) clear();
}

function drawList(view, found) {
  say(byId("timelines-count"), find ? plural(found.tips.length, "timeline") : "");
  if (found.tips.length === 0 && find) {
    fill(view, found.node ? empty("This node belongs to no timeline that is here; it stands below.") : empty(`Nothing in ${chosen.space} has "${oneLine(find)}" in its name or address. Other spaces may.`));
    return;
  }
  if (found.tips.length === 0) {
    fill(view, empty(`No ${kind === "all" ? "" : `${kind} `}timelines yet in ${chosen.space}: press 3B Setup, then 3B Sync, or choose another space or kind.`));
    return;
  }
  fill(
    view,
    h(
      "ul",
      { class: "pick", "aria-label": "timelines" },
      found.tips.map((tip) =>
        h(
          "li",
          {},
          h(
            "button",
            { type: "button", class: "choice", "data-tjp": tip.tjp, "aria-pressed": String(tip.tjp === tjp), title: tip.tjp, onclick: () => show(tip.tjp) },
            h("span", { class: `tag ${tip.kind}` }, tip.kind),
            tip.name && h("strong", { class: "named" }, oneLine(tip.name)),
            h("code", {}, shorten(tip.tjp, 28)),
            tip.folder && h("span", { class: "muted folder" }, "in ", /\^/.test(tip.folder) ? shorten(tip.folder) : oneLine(tip.folder)),
            h("span", { class: "muted" }, tip.n === null || tip.n === undefined ? "" : `n ${tip.n}`),
          ),
        ),
      ),
    ),
    found.more && h("p", { class: "muted" }, `The first ${number(found.tips.length)} are shown.`),
  );
}

function clear() {
  tjp = "";
  selected = "";
  shownFrames = null;
  fill(byId("timeline-view"));
  fill(byId("frame-view"));
}

/** Shows a timeline from its newest frame on, one of its frames selected if that was asked for. */
async function show(which, frame = "") {
  tjp = which;
  selected = frame;
  limit = 200;
  shownFrames = null;
  if (!frame) fill(byId("frame-view"));
  for (const button of document.querySelectorAll("#timelines-list .choice")) {
    button.setAttribute("aria-pressed", String(button.dataset.tjp === tjp));
  }
  await loadFrames();
}

async function loadFrames() {
  const view = byId("timeline-view");
  const which = tjp;
  let line;
  try {
    line = await get(`/spaces/${encodeURIComponent(chosen.space)}/timeline?tjp=${encodeURIComponent(which)}&limit=${limit}`);
  } catch (error) {
    if (which !== tjp) return;
    shownFrames = null;
    fill(view, problem(error, loadFrames));
    return;
  }
  if (which !== tjp) return;
  const key = JSON.stringify([chosen.space, line]);
  if (shownFrames?.key !== key || !shownFrames.box.isConnected) shownFrames = drawFrames(view, line, key);
  const { box, checked } = shownFrames;
  frames = line.frames;
  await hashFrames(line.frames, (addr, reason) => {
    checked.set(addr, reason);
    markChecked(box, addr, reason);
  });
  if (!box.isConnected) return;
  const bad = [...checked.values()].filter(Boolean).length;
  const told = byId("frames-hash");
  told.className = bad === 0 ? "pass" : "fail";
  say(told, bad === 0 ? `every hash ✓` : `${plural(bad, "hash", "hashes")} ✗`);
}

function drawFrames(view, line, key) {
  // What was made later stands higher; the layout needs each frame above those it builds on, which have a smaller n.
  line.frames.sort((a, b) => (b.n ?? 0) - (a.n ?? 0));
  const merges = line.frames.filter((f) => f.role === "merge").length;
  const checked = new Map();
  const draw = () => {
    const picture = drawDag(line.frames, selected, pick);
    for (const [addr, reason] of checked) markChecked(picture, addr, reason);
    return picture;
  };
  const box = h("div", { class: "scroll dag", tabindex: "0", role: "region", "aria-label": "frames" }, draw());
  async function pick(addr) {
    selected = addr;
    fill(box, draw());
    box.querySelector("g.selected")?.focus({ preventScroll: true });
    await showFrame(addr);
  }
  fill(
    view,
    h("div", { class: "bar" }, h("h3", { id: "timeline-name" }, oneLine(nameOf(line.tjp) || "frames")), addrChip(line.tjp, shorten(line.tjp)), h("span", { class: "muted" }, `${plural(line.frames.length, "frame")}, ${plural(merges, "merge")}`), h("strong", { id: "frames-hash", role: "status" })),
    h("p", { class: "muted legend" }, "■ first  ● edit  ◆ merge  ", h("span", { class: "dashes" }), " graft (the other tip of a merge)  ○ around a frame: in conflict"),
    box,
    line.more && h("button", { type: "button", class: "small", onclick: () => { limit += 200; loadFrames(); } }, "older frames"),
  );
  return { key, box, checked };
}

/** Reads each frame and computes its hash here; tells the reason where it does not hold, "" where it does. */
async function hashFrames(frames, tell) {
  const space = chosen.space;
  const queue = [...frames];
  const work = async () => {
    for (let frame = queue.shift(); frame; frame = queue.shift()) {
      let reason = "";
      if (!held.has(`${space} ${frame.addr}`)) {
        try {
          reason = (await checkNode(await getNode(space, frame.addr), frame.addr)).reason;
        } catch (error) {
          reason = error.message;
        }
      }
      if (reason === "") held.add(`${space} ${frame.addr}`);
      tell(frame.addr, reason);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, work));
}

// The frames of the timeline that is shown, newest first.
let frames = [];
let asking = 0;

/** Shows what changed between another frame and this one. */
async function compare(node, other) {
  const view = byId("frame-diff");
  const mine = ++asking;
  if (!other) {
    fill(view);
    return;
  }
  let before;
  try {
    before = await getNode(chosen.space, other);
  } catch (error) {
    if (mine === asking) fill(view, problem(error, () => compare(node, other)));
    return;
  }
  if (mine === asking) fill(view, diffView(linesOfNode(before), linesOfNode(node), "what changed"));
}

/** The frames that one may be compared with: first those it was made from. */
function others(node, addr) {
  const parents = [...(node.rel8ns?.past ?? []).slice(-1), ...(node.rel8ns?.graftorphan ?? [])];
  const rest = frames.filter((f) => f.addr !== addr && !parents.includes(f.addr));
  const option = (to, what) => {
    const n = frames.find((f) => f.addr === to)?.n;
    return h("option", { value: to }, `${what}${typeof n === "number" ? `n ${n} · ` : ""}${shorten(to, 12)}`);
  };
  return [...parents.map((to, i) => option(to, i === 0 ? "before it, " : "grafted, ")), ...rest.map((f) => option(f.addr, ""))];
}

/** Shows one node, hashed again. */
async function showFrame(addr) {
  const view = byId("frame-view");
  const space = chosen.space;
  let node;
  let checked;
  try {
    node = await getNode(space, addr);
    checked = await checkNode(node, addr);
  } catch (error) {
    fill(view, problem(error, () => showFrame(addr)));
    return;
  }
  const text = JSON.stringify(node, null, 2);
  const relations = Object.entries(node.rel8ns ?? {}).filter(([, list]) => Array.isArray(list) && list.length > 0);
  const choices = node.rel8ns?.tjp || node.data?.isTjp ? others(node, addr) : [];
  const choice = h("select", { id: "frame-compare" }, h("option", { value: "" }, "nothing"), choices);
  choice.addEventListener("change", () => compare(node, choice.value));
  fill(
    view,
    h(
      "article",
      { class: "card item" },
      h(
        "div",
        { class: "bar" },
        h("h3", {}, "node"),
        addrChip(addr),
        h("strong", { id: "frame-hash", class: checked.ok ? "pass" : "fail" }, checked.ok ? "hash ✓" : "hash ✗"),
        copyButton(text, "copy JSON"),
      ),
      !checked.ok && h("p", { class: "reason" }, checked.reason),
      choices.length > 0 && h("div", { class: "bar" }, h("label", {}, "compared with ", choice)),
      h("div", { id: "frame-diff" }),
      h("pre", { id: "frame-json", tabindex: "0", "aria-label": "the node as JSON" }, text),
      relations.length > 0 &&
        h("dl", { class: "facts" }, relations.map(([name, list]) => [h("dt", {}, name), h("dd", {}, list.map(relation))])),
    ),
  );
  if (choices.length > 0) {
    choice.value = choices[0].value;
    await compare(node, choice.value);
  }
}

function relation(addr) {
  // Primitives are names without content: there is nothing to open.
  if (String(addr).endsWith("^gib")) return h("code", { class: "gap" }, addr);
  return h("button", { type: "button", class: "addr gap", title: `${addr}\n(click opens)`, onclick: () => showFrame(addr) }, nameOf(addr) && h("span", { class: "named" }, oneLine(nameOf(addr)), " "), `${shorten(String(addr))} →`);
}
