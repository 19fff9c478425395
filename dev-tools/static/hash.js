// The gib, computed again in the page: what the server says about a node is not taken on trust.
//
// The rules stand in src/canonical.rs and src/ibgib.rs. They were frozen from what an ECMAScript engine does, so the
// engine's own JSON.parse is the right reader here: it puts names that look like array indices first, inside arrays
// too, exactly as the hash expects. A parser that kept the order of the text would give wrong hashes.

const encoder = new TextEncoder();

/**
 * Uppercase hex SHA-256, and "" for "".
 * @param {string} text
 * @returns {Promise<string>}
 */
export async function hashText(text) {
  if (text === "") return "";
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", encoder.encode(text)));
  let hex = "";
  for (const byte of digest) hex += byte.toString(16).padStart(2, "0");
  return hex.toUpperCase();
}

const isObject = (value) => value !== null && typeof value === "object" && !Array.isArray(value);

const isIndex = (key) => /^(0|[1-9]\d{0,9})$/.test(key) && Number(key) < 4294967295;

/**
 * The text that is hashed: members sorted going down through objects, but not inside arrays.
 * @param {any} value
 * @returns {string}
 */
export function canonicalText(value) {
  if (!isObject(value)) return JSON.stringify(value);
  const keys = Object.keys(value).filter((key) => key !== "__proto__");
  const indices = keys.filter(isIndex);
  // Array.prototype.sort without a comparer orders by UTF-16 code unit.
  const names = keys.filter((key) => !isIndex(key)).sort();
  const members = [...indices, ...names].map((key) => `${JSON.stringify(key)}:${canonicalText(value[key])}`);
  return `{${members.join(",")}}`;
}

function hasData(data) {
  if (Array.isArray(data)) return data.length > 0;
  return isObject(data) ? Object.keys(data).length > 0 : Boolean(data);
}

function hasRel8ns(rel8ns) {
  if (rel8ns === null || typeof rel8ns !== "object") return false;
  return Object.values(rel8ns).some((list) => list !== null && list !== undefined && list.length > 0);
}

/**
 * The gib that a node's content gives.
 * @param {{ib: string, gib?: string, data?: any, rel8ns?: any}} node
 * @returns {Promise<string>}
 */
export async function computeGib(node) {
  const [ib, rel8ns, data] = await Promise.all([
    hashText(node.ib),
    hasRel8ns(node.rel8ns) ? hashText(canonicalText(node.rel8ns)) : "",
    hasData(node.data) ? hashText(canonicalText(node.data)) : "",
  ]);
  const hash = await hashText(ib + rel8ns + data);
  if (node.data?.isTjp) return hash;
  const tjp = tjpOf(node);
  return tjp === null ? hash : `${hash}.${String(tjp).split("^").at(-1)}`;
}

/**
 * The timeline that a node belongs to.
 * @param {{ib: string, gib?: string, data?: any, rel8ns?: any}} node
 * @returns {string | null}
 */
export function tjpOf(node) {
  if (node.data?.isTjp) return addrOf(node);
  return Array.isArray(node.rel8ns?.tjp) ? (node.rel8ns.tjp.at(-1) ?? null) : null;
}

/** @param {{ib: string, gib?: string}} node */
export const addrOf = (node) => `${node.ib}^${node.gib ?? "gib"}`;

/**
 * Whether a node is what its address says; a sentence with the reason when it is not.
 * @param {any} node
 * @param {string} [wanted] the address that was asked for
 * @returns {Promise<{ok: boolean, reason: string, gib: string}>}
 */
export async function checkNode(node, wanted) {
  if (!isObject(node) || typeof node.ib !== "string") return { ok: false, reason: "this is no ibgib", gib: "" };
  const extra = Object.keys(node).find((key) => !["ib", "gib", "data", "rel8ns"].includes(key));
  if (extra !== undefined) return { ok: false, reason: `member "${extra}" is not covered by the hash`, gib: "" };
  const gib = await computeGib(node);
  if (gib !== node.gib) return { ok: false, reason: `the content gives ${gib}, the node says ${node.gib}`, gib };
  if (wanted !== undefined && addrOf(node) !== wanted) {
    return { ok: false, reason: `asked for ${wanted}, got ${addrOf(node)}`, gib };
  }
  return { ok: true, reason: "", gib };
}
