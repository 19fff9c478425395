// Identities: what is left in each pool, and what went wrong with any of them.

import { get } from "./api.js";
import { addrChip, byId, empty, fill, fillProblem, fillWith, h, number, plural, say } from "./dom.js";
import { isLow } from "./trouble.js";
import { chosen, loadSpaceNames, spaceSelect } from "./spaces.js";

export function buildKeystones(panel) {
  fill(
    panel,
    h("div", { class: "bar" }, spaceSelect("keystones-space", loadKeystones), h("span", { id: "keystones-warning", class: "warn-text", role: "status" })),
    h("div", { id: "keystones-list" }, empty("loading …")),
  );
}

export async function loadKeystones() {
  const view = byId("keystones-list");
  let found;
  try {
    await loadSpaceNames();
    found = await get(`/spaces/${encodeURIComponent(chosen.space)}/keystones`);
  } catch (error) {
    fillProblem(view, error, loadKeystones);
    return;
  }
  const low = found.filter((k) => (k.pools ?? []).some(isLow)).length;
  say(byId("keystones-warning"), low > 0 ? `⚠ ${plural(low, "identity", "identities")} with a pool that runs out` : "");
  const none = () => empty(`No identities yet in ${chosen.space}: press 1B Setup or 3B Setup to make one.`);
  // What is broken first, then what runs out.
  const rank = (k) => (k.revoked || k.forked || k.error ? 0 : (k.pools ?? []).some(isLow) ? 1 : 2);
  fillWith(view, [chosen.space, found], () => (found.length === 0 ? none() : found.sort((a, b) => rank(a) - rank(b)).map(card)));
}

function card(keystone) {
  const bad = keystone.revoked || keystone.forked || keystone.error;
  const evidence = keystone.evidence ?? [];
  return h(
    "article",
    { class: `card item ${bad ? "broken" : ""}` },
    h(
      "div",
      { class: "bar" },
      h("h3", {}, addrChip(keystone.tjp)),
      // Only the session of a connection proves itself with this verb.
      h("span", { class: "tag" }, (keystone.pools ?? []).some((p) => p.verbs?.includes("connect")) ? "session" : "identity"),
      h("span", { class: "muted" }, `frame n ${keystone.n}`),
      keystone.revoked && h("strong", { class: "fail" }, "REVOKED"),
      keystone.forked && h("strong", { class: "fail" }, "FORKED"),
      !bad && h("span", { class: "pass" }, "in use"),
    ),
    keystone.error && h("p", { class: "reason" }, keystone.error),
    evidence.length > 0 &&
      h("p", { class: "reason" }, keystone.forked ? "two frames claim the same place: " : "evidence: ", evidence.map((addr) => [addrChip(addr), " "])),
    h("p", { class: "muted" }, "tip ", addrChip(keystone.tip)),
    h("ul", { class: "pools" }, (keystone.pools ?? []).map(poolView)),
  );
}

function poolView(pool) {
  const size = pool.size || pool.left + pool.used || 1;
  const fillBar = h("span", { class: "left" });
  // Through the object model: the page's policy has no place for style attributes.
  fillBar.style.width = `${Math.max(0, Math.min(100, (pool.left / size) * 100))}%`;
  const verbs = (pool.verbs ?? []).join(", ");
  return h(
    "li",
    { class: pool.left === 0 ? "pool out" : isLow(pool) ? "pool low" : "pool" },
    h("span", { class: "name", title: pool.id }, verbs && h("strong", {}, verbs), h("small", {}, pool.id)),
    h(
      "span",
      { class: "meter", role: "meter", "aria-label": `challenges left in ${pool.id}`, "aria-valuemin": 0, "aria-valuemax": size, "aria-valuenow": pool.left },
      fillBar,
    ),
    h("span", { class: "count" }, `${number(pool.left)} of ${number(size)} left, ${number(pool.used)} used`),
    pool.left === 0
      ? h("p", { class: "reason" }, "This pool is used up: nothing can be signed with it.")
      : isLow(pool) && h("p", { class: "warn-text" }, `Runs out soon: ${plural(pool.left, "challenge")} left.`),
  );
}
