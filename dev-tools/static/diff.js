// What changed between two texts, and between two frames.

import { h, number, plural } from "./dom.js";

// Cells of the table of common lines; above, only lines that stand on one side alone are marked.
const CELLS_MAX = 1_000_000;
// Equal lines that are shown around what changed.
const AROUND = 3;

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

// What frames keep for themselves comes after what people wrote.
const OWN = ["n", "timestamp", "timestampMs", "uuid", "isTjp"];
const inOrder = ([a], [b]) => OWN.includes(a) - OWN.includes(b) || (a < b ? -1 : 1);

/** What a node says, line by line: texts as their lines, everything else as JSON, then the relations. */
export function linesOfNode(node) {
  const lines = [];
  const say = (name, value) => {
    const text = typeof value === "string" ? value : JSON.stringify(value, null, 2);
    const own = text.split("\n");
    if (own.length === 1) lines.push(`${name}: ${text}`);
    else lines.push(`${name}:`, ...own.map((line) => `  ${line}`));
  };
  const { data } = node;
  if (data !== null && typeof data === "object" && !Array.isArray(data)) for (const [name, value] of Object.entries(data).sort(inOrder)) say(name, value);
  else if (data !== undefined) say("data", data);
  for (const [name, list] of Object.entries(node.rel8ns ?? {})) for (const addr of list ?? []) lines.push(`→ ${name}: ${addr}`);
  return lines;
}

/** One line of a difference. */
const line = (kind, sign, text) => h("span", { class: kind ? `line ${kind}` : "line" }, h("span", { class: "sign" }, sign), text || " ", "\n");

/**
 * Both texts as one, what only one of them has marked; long stretches that are equal are left out.
 * @param {string[]} before
 * @param {string[]} after
 * @param {string} label
 */
export function diffView(before, after, label) {
  const [gone, come] = diffLines(before, after);
  const all = [];
  for (let i = 0, j = 0; i < before.length || j < after.length; ) {
    if (gone.has(i)) all.push(["del", "-", before[i++]]);
    else if (come.has(j)) all.push(["add", "+", after[j++]]);
    // Only when too much differs for a table: lines that both have, in another order.
    else if (before[i] !== after[j]) all.push(i < before.length ? ["del", "-", before[i++]] : ["add", "+", after[j++]]);
    else all.push(["", " ", before[(j++, i++)]]);
  }
  const near = new Set();
  for (const [at, [kind]] of all.entries()) if (kind) for (let i = at - AROUND; i <= at + AROUND; i++) near.add(i);
  const shown = [];
  for (let i = 0; i < all.length; i++) {
    if (near.has(i)) {
      shown.push(line(...all[i]));
      continue;
    }
    let end = i;
    while (end < all.length && !near.has(end)) end++;
    shown.push(h("span", { class: "line skipped" }, `${plural(end - i, "equal line")}`, "\n"));
    i = end - 1;
  }
  const told = gone.size + come.size === 0 ? "They say the same." : `${number(come.size)} added, ${number(gone.size)} removed`;
  return [h("p", { class: "muted", id: "diff-told" }, told), h("pre", { class: "diff", tabindex: "0", "aria-label": label }, shown)];
}

/** One side of a conflict, what it changed marked. */
export const sideView = (lines, changed, kind, sign, name) =>
  h("pre", { tabindex: "0", "aria-label": name }, lines.map((text, i) => (changed.has(i) ? line(kind, sign, text) : line("", " ", text))));
