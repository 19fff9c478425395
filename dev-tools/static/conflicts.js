// Conflicts: what ancestor, base and orphan had at one path, side by side.

import { get } from "./api.js";
import { addrChip, byId, empty, fill, h, plural, problem } from "./dom.js";
import { chosen, loadSpaceNames, spaceSelect } from "./spaces.js";

// Cells of the table of common lines; above, only lines that stand on one side alone are marked.
const CELLS_MAX = 1_000_000;

/**
 * Which lines of two texts belong together.
 * @param {string[]} a
 * @param {string[]} b
 * @returns {[Set<number>, Set<number>]} the lines of each that the other does not have
 */
export function diffLines(a, b) {
  const onlyA = new Set(a.keys());
  const onlyB = new Set(b.keys());
  const keep = (i, j) => {
    onlyA.delete(i);
    onlyB.delete(j);
  };
  let start = 0;
  while (start < a.length && start < b.length && a[start] === b[start]) keep(start, start++);
  let [endA, endB] = [a.length, b.length];
  while (endA > start && endB > start && a[endA - 1] === b[endB - 1]) keep(--endA, --endB);
  const [rows, columns] = [endA - start, endB - start];
  if (rows * columns > CELLS_MAX) {
    const [linesA, linesB] = [new Set(a), new Set(b)];
    return [new Set([...onlyA].filter((i) => !linesB.has(a[i]))), new Set([...onlyB].filter((j) => !linesA.has(b[j])))];
  }
  const table = Array.from({ length: rows + 1 }, () => new Uint32Array(columns + 1));
  for (let i = rows - 1; i >= 0; i--) {
    for (let j = columns - 1; j >= 0; j--) {
      table[i][j] = a[start + i] === b[start + j] ? table[i + 1][j + 1] + 1 : Math.max(table[i + 1][j], table[i][j + 1]);
    }
  }
  for (let i = 0, j = 0; i < rows && j < columns; ) {
    if (a[start + i] === b[start + j]) keep(start + i++, start + j++);
    else if (table[i + 1][j] >= table[i][j + 1]) i++;
    else j++;
  }
  return [onlyA, onlyB];
}

export function buildConflicts(panel) {
  fill(
    panel,
    h("div", { class: "bar" }, spaceSelect("conflicts-space", loadConflicts), h("span", { id: "conflicts-count", class: "muted", role: "status" })),
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
    fill(view, problem(error, loadConflicts));
    return;
  }
  byId("conflicts-count").textContent = found.length > 0 ? plural(found.length, "conflict") : "";
  if (found.length === 0) fill(view, empty(`No conflicts in ${chosen.space}. Rows 4.7B to 4.10B make both sides edit: most merge by themselves, what does not stands here.`));
  else fill(view, found.map(card));
}

const absent = (value) => value === null || value === undefined;
const linesOf = (value) => (absent(value) ? [] : (typeof value === "string" ? value : JSON.stringify(value, null, 2)).split("\n"));

function card(conflict) {
  const [ancestor, base, orphan] = [conflict.ancestor, conflict.base, conflict.orphan].map(linesOf);
  const [goneInBase, newInBase] = diffLines(ancestor, base);
  const [goneInOrphan, newInOrphan] = diffLines(ancestor, orphan);
  return h(
    "article",
    { class: "card item" },
    h("div", { class: "bar" }, h("h3", {}, h("code", {}, conflict.path || "(whole)")), h("span", {}, "in ", addrChip(conflict.tjp))),
    h(
      "div",
      { class: "sides" },
      side("ancestor", conflict.ancestor, ancestor, new Set([...goneInBase, ...goneInOrphan]), "del", "-"),
      side("base", conflict.base, base, newInBase, "add", "+"),
      side("orphan", conflict.orphan, orphan, newInOrphan, "add", "+"),
    ),
    h("p", { class: "muted" }, "stone ", addrChip(conflict.stone), " tip ", addrChip(conflict.tip)),
  );
}

function side(name, value, lines, changed, kind, sign) {
  return h(
    "section",
    {},
    h("h4", {}, name),
    absent(value)
      ? h("p", { class: "muted" }, name === "ancestor" ? "(not there yet)" : "(deleted)")
      : h(
          "pre",
          { tabindex: "0", "aria-label": name },
          lines.map((line, i) =>
            h("span", { class: changed.has(i) ? `line ${kind}` : "line" }, h("span", { class: "sign" }, changed.has(i) ? sign : " "), line || " ", "\n"),
          ),
        ),
  );
}
