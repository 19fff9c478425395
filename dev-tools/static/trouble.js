// What needs somebody, before everything else: each line leads to where it can be looked at.

import { get } from "./api.js";
import { byId, fill, h, plural } from "./dom.js";
import { failedRows } from "./rows.js";
import { unclean } from "./spaces.js";

let shown = "";
// Answers may overtake each other; only the newest question's counts.
let asked = 0;

/**
 * Looks for trouble in the operator's space and in the rows.
 * @param {(tab: string, space?: string) => void} open shows a panel
 */
export async function loadTrouble(open) {
  const mine = ++asked;
  const parts = ["conflicts", "sagas", "keystones"];
  const paths = ["/spaces/server/conflicts", "/sagas", "/spaces/server/keystones"];
  const answers = await Promise.allSettled(paths.map(get));
  // That the server is away stands in the banner.
  if (mine !== asked || answers.some(({ reason }) => reason?.status === 0 || reason?.status === 401)) return;
  const [conflicts, sagas, keystones] = answers.map(({ value }) => value ?? []);
  const unread = parts.filter((_, i) => answers[i].status === "rejected");
  const found = [
    [conflicts.length, plural(conflicts.length, "open conflict"), () => open("conflicts", "server")],
    ...failedRows().map((row) => [1, `row ${row.label} failed`, () => byId(`row-${row.id}`).scrollIntoView({ block: "center" })]),
    ...[sagas.filter((s) => s.state === "failed" && s.space === "server").length].map((n) => [n, plural(n, "failed saga"), () => open("sagas")]),
    ...[keystones.filter((k) => k.forked || k.error).length].map((n) => [n, plural(n, "broken identity", "broken identities"), () => open("keystones", "server")]),
    ...[keystones.filter((k) => !k.revoked && isRunningOut(k)).length].map((n) => [n, `${plural(n, "identity", "identities")} with a pool that runs out`, () => open("keystones", "server")]),
    ...unclean().map((space) => [1, `${space} is not clean`, () => open("spaces")]),
    ...unread.map((part) => [1, `the ${part} of the server cannot be read`, () => open(part, "server")]),
  ].filter(([n]) => n > 0);
  const signature = JSON.stringify(found.map(([, text]) => text));
  if (signature === shown) return;
  shown = signature;
  fill(
    byId("trouble"),
    found.length === 0 ? h("li", { class: "calm" }, "✓ no trouble") : found.map(([, text, go]) => h("li", {}, h("button", { type: "button", class: "small", id: `trouble-${text.replace(/[^a-z0-9]+/gi, "-")}`, onclick: go }, `⚠ ${text}`))),
  );
}

// Below this part of its size a pool is worth a warning.
const LOW = 0.2;
export const isLow = (pool) => pool.size > 0 && pool.left <= pool.size * LOW;
const isRunningOut = (keystone) => (keystone.pools ?? []).some(isLow);
