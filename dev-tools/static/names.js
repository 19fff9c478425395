// What timelines are called: a folder's files by their path. Every address of a timeline's frames ends with the hash of
// its first frame, so that one table names them all, in every panel.

import { get } from "./api.js";

/** @type {Map<string, {name: string, folder: string | null}>} the first frame's hash → what it is called */
const names = new Map();

const lineOf = (addr) => {
  const gib = String(addr).slice(String(addr).lastIndexOf("^") + 1);
  return gib.slice(gib.lastIndexOf(".") + 1);
};

/** What the timeline of an address is called, or "" when it has no name. */
export const nameOf = (addr) => names.get(lineOf(addr))?.name ?? "";

/** Remembers the names in an answer. */
export function learn(list) {
  for (const { tjp, name, folder } of list) if (name) names.set(lineOf(tjp), { name, folder });
}

/** Reads a space's names; without them addresses are shown alone. */
export async function loadNames(space) {
  try {
    learn(await get(`/spaces/${encodeURIComponent(space)}/names`));
  } catch {
    // The panels say themselves when the server is away.
  }
}
