// Everything that goes to the server and comes back. `window.fetch` is looked up at each call, so that a test can put
// its own in place and see what the page makes of a server that lies.

const API = "/dev-tools/api";

// The token came behind the '#' and is never sent anywhere but in the header.
const token = new URLSearchParams(location.hash.slice(1)).get("token") ?? "";

export const hasToken = token !== "";

/** "up" and "down" as the server comes and goes, "token" when it does not take ours. */
export const link = new EventTarget();
let up = true;

export class ApiError extends Error {
  constructor(status, code, message) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

function mark(reachable) {
  if (up === reachable) return;
  up = reachable;
  link.dispatchEvent(new Event(reachable ? "up" : "down"));
}

async function failure(response) {
  let code = `http_${response.status}`;
  let message = `the server answered ${response.status}`;
  try {
    const { error } = await response.json();
    code = error.code ?? code;
    message = error.message ?? message;
  } catch {
    // An answer without our error shape, from something in between: the status must do.
  }
  if (response.status === 401) link.dispatchEvent(new Event("token"));
  return new ApiError(response.status, code, message);
}

async function send(url, options = {}) {
  let response;
  try {
    response = await window.fetch(url, { cache: "no-store", ...options });
  } catch (error) {
    if (options.signal?.aborted) throw error;
    mark(false);
    throw new ApiError(0, "unreachable", "the server is not reachable");
  }
  mark(true);
  if (!response.ok) throw await failure(response);
  return response;
}

async function body(response, how) {
  try {
    return await response[how]();
  } catch (error) {
    if (error instanceof SyntaxError) throw new ApiError(response.status, "bad_answer", "the answer is not JSON");
    throw new ApiError(0, "cut", "the answer was cut off");
  }
}

/** Opens a path of the page's API and leaves the reading to the caller. */
export function open(path, { method = "GET", value, signal } = {}) {
  const headers = { Authorization: `Bearer ${token}` };
  if (value !== undefined) headers["Content-Type"] = "application/json";
  return send(API + path, { method, headers, signal, body: value === undefined ? undefined : JSON.stringify(value) });
}

export const get = async (path) => body(await open(path), "json");
export const getText = async (path) => body(await open(path), "text");
export const post = async (path, value) => body(await open(path, { method: "POST", value }), "json");
export const put = async (path, value) => body(await open(path, { method: "PUT", value }), "json");

const enc = encodeURIComponent;

/** A node as a space keeps it. */
export const getNode = (space, addr) => get(`/spaces/${enc(space)}/node?addr=${enc(addr)}`);

/**
 * The newest frame of a timeline as a space has it.
 * @param {string} space
 * @param {string} addr
 * @param {string | null} tjp the timeline; none for a constant, which is its own newest
 * @returns {Promise<string>}
 */
export const getTip = async (space, addr, tjp) =>
  tjp === null ? addr : (await get(`/spaces/${enc(space)}/timeline?tjp=${enc(tjp)}&limit=1`)).tip;

/**
 * The graph of a node as a space has it, JSON Lines.
 * @param {string} space
 * @param {string} addr
 */
export const getSpaceGraph = (space, addr) => getText(`/spaces/${enc(space)}/graph?addr=${enc(addr)}`);

/**
 * The graph of a node as the server serves it to anybody, JSON Lines; where the server's policy keeps data from
 * anybody, as it serves it to this page.
 * @param {string | null} domainAddr the domain identity the reader belongs to
 * @param {string} ibGibAddr
 * @returns {Promise<string>}
 */
export async function getIbGibGraph(domainAddr, ibGibAddr) {
  const domain = domainAddr ? `&domainAddr=${enc(domainAddr)}` : "";
  try {
    return await body(await send(`/api/v1/ibgibs/${enc(ibGibAddr)}?getGraph=true${domain}`), "text");
  } catch (error) {
    if (!(error instanceof ApiError) || error.status !== 403) throw error;
    return getSpaceGraph("server", ibGibAddr);
  }
}
