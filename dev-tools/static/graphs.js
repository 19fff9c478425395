// The page's own check after a sync: both sides' graphs are fetched, every node is hashed again, and both are compared
// node by node. The server's word that all is well is not asked for.

import { getSpaceGraph, getTip } from "./api.js";
import { addrOf, checkNode, tjpOf } from "./hash.js";
import { plural, shorten } from "./dom.js";

// The space of the server that the rows sync with.
const SERVER = "rows";

/** A graph that was read: address → content, and the timeline that its root belongs to. */
class Graph extends Map {
  /** @type {string | null} */
  tjp = null;
}

/**
 * Reads a graph and checks each node.
 * @param {string} text JSON Lines
 * @param {string} root the address the graph was asked for
 * @param {string} side whose graph this is, for the reason
 * @returns {Promise<Graph>} address → content
 */
export async function readGraph(text, root, side) {
  const nodes = new Graph();
  for (const [i, line] of text.split("\n").entries()) {
    if (line.trim() === "") continue;
    let node;
    try {
      node = JSON.parse(line);
    } catch {
      throw new Error(`${side}: line ${i + 1} of the graph is not JSON`);
    }
    const checked = await checkNode(node);
    if (!checked.ok) {
      const name = typeof node?.ib === "string" ? shorten(addrOf(node)) : `line ${i + 1}`;
      throw new Error(`${side}: hash ✗ of ${name}: ${checked.reason}`);
    }
    const addr = addrOf(node);
    if (nodes.has(addr)) throw new Error(`${side}: ${shorten(addr)} stands twice in the graph`);
    nodes.set(addr, JSON.stringify([node.data ?? null, node.rel8ns ?? null]));
    if (addr === root) nodes.tjp = tjpOf(node);
  }
  if (!nodes.has(root)) throw new Error(`${side}: the graph does not hold ${shorten(root)}`);
  return nodes;
}

function difference(server, own, space) {
  for (const [addr, content] of server) {
    if (!own.has(addr)) return `${shorten(addr)} is at the server but not in ${space}`;
    // Equal hashes mean equal content, but members inside arrays and empty parts deserve the plain comparison.
    if (own.get(addr) !== content) return `${shorten(addr)} differs between the server and ${space}`;
  }
  for (const addr of own.keys()) {
    if (!server.has(addr)) return `${shorten(addr)} is in ${space} but not at the server`;
  }
  return "";
}

/**
 * Compares one graph of both sides.
 * @param {{name: string, addr: string}} graph
 * @param {string} space the row's own space
 */
async function compareOne({ name, addr }, space) {
  const sentence = `seen by this page: tip and graph of ${name} are the same at the rows' server and in ${space}, every hash holds`;
  try {
    const [theirs, ours] = await Promise.all([getSpaceGraph(SERVER, addr), getSpaceGraph(space, addr)]);
    const server = await readGraph(theirs, addr, "server");
    const own = await readGraph(ours, addr, space);
    const tip = await getTip(SERVER, addr, own.tjp);
    const reason = tip === addr ? difference(server, own, space) : `the server's newest frame is ${tip}, not ${addr}`;
    return { sentence, passed: reason === "", evidence: reason || `${plural(own.size, "node")}, hash ✓, ${addr}` };
  } catch (error) {
    return { sentence, passed: false, evidence: error.message };
  }
}

/**
 * Compares all graphs that a check names.
 * @param {Array<{name: string, addr: string}>} graphs
 * @param {string} space
 * @returns {Promise<{passed: boolean, checks: Array<{sentence: string, passed: boolean, evidence: string}>, duration_ms: number}>}
 */
export async function compareGraphs(graphs, space) {
  const started = performance.now();
  const checks = [];
  if (graphs.length === 0) {
    const sentence = "seen by this page: both sides have what was synced";
    checks.push({ sentence, passed: false, evidence: "the answer names nothing to look at" });
  }
  for (const graph of graphs) checks.push(await compareOne(graph, space));
  return { passed: checks.every((c) => c.passed), checks, duration_ms: performance.now() - started };
}
