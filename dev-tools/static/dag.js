// A timeline as a picture: newest frame on top, one lane per branch, a dashed line where a merge grafted the other tip.

import { s, shorten } from "./dom.js";

const ROW = 30;
const LANE = 20;
const LEFT = 16;

/**
 * Gives each frame a lane, as a git log does: a lane waits for the frame it leads to.
 * @param {Array<{addr: string, past: string[], orphans: string[]}>} frames newest first
 */
export function layout(frames) {
  const waiting = [];
  const free = () => {
    const at = waiting.indexOf(null);
    return at < 0 ? waiting.push(null) - 1 : at;
  };
  const places = new Map();
  const edges = [];
  let width = 1;
  for (const [row, frame] of frames.entries()) {
    let lane = waiting.indexOf(frame.addr);
    if (lane < 0) lane = free();
    for (const [i, addr] of waiting.entries()) if (addr === frame.addr) waiting[i] = null;
    places.set(frame.addr, { row, lane });
    const parents = [...(frame.past ?? []).map((to) => ({ to, graft: false })), ...(frame.orphans ?? []).map((to) => ({ to, graft: true }))];
    for (const [i, parent] of parents.entries()) {
      let along = waiting.indexOf(parent.to);
      if (along < 0) {
        along = i === 0 && waiting[lane] === null ? lane : free();
        waiting[along] = parent.to;
      }
      edges.push({ from: frame.addr, along, ...parent });
    }
    width = Math.max(width, waiting.length);
  }
  return { places, edges, width };
}

const x = (lane) => LEFT + lane * LANE;
const y = (row) => ROW / 2 + row * ROW;

function edgePath(edge, places, rows) {
  const from = places.get(edge.from);
  // A frame that was not loaded lies below the picture.
  const to = places.get(edge.to) ?? { row: rows, lane: edge.along };
  const [x1, y1, xa, x2, y2] = [x(from.lane), y(from.row), x(edge.along), x(to.lane), y(to.row)];
  const turn = Math.min(y1 + ROW, y2);
  const down = Math.max(y2 - ROW, turn);
  const start = `M${x1} ${y1}C${x1} ${y1 + ROW / 2} ${xa} ${turn - ROW / 2} ${xa} ${turn}`;
  return x2 === xa ? `${start}L${xa} ${y2}` : `${start}L${xa} ${down}C${xa} ${down + ROW / 2} ${x2} ${y2 - ROW / 2} ${x2} ${y2}`;
}

function mark(frame, place) {
  const [cx, cy] = [x(place.lane), y(place.row)];
  if (frame.role === "merge") return s("path", { class: "mark merge", d: `M${cx} ${cy - 8}L${cx + 8} ${cy}L${cx} ${cy + 8}L${cx - 8} ${cy}Z` });
  if (frame.role === "first") return s("rect", { class: "mark first", x: cx - 6, y: cy - 6, width: 12, height: 12, rx: 2 });
  return s("circle", { class: "mark edit", cx, cy, r: 6 });
}

/**
 * The picture.
 * @param {any[]} frames newest first
 * @param {string} selected
 * @param {(addr: string) => void} onselect
 */
export function drawDag(frames, selected, onselect) {
  const { places, edges, width } = layout(frames);
  const text = x(width) + 2;
  const [w, height] = [text + 390, frames.length * ROW];
  const groups = frames.map((frame) => {
    const place = places.get(frame.addr);
    const n = frame.n === null || frame.n === undefined ? "n –" : `n ${frame.n}`;
    const said = `${n}, ${frame.role}${frame.conflicts ? `, ${frame.conflicts} in conflict` : ""}`;
    const pick = () => onselect(frame.addr);
    return s(
      "g",
      {
        class: frame.addr === selected ? "frame selected" : "frame",
        tabindex: "0",
        role: "button",
        "aria-label": `${said}, ${shorten(frame.addr)}`,
        "data-addr": frame.addr,
        onclick: pick,
        onkeydown: (event) => {
          if (event.key !== "Enter" && event.key !== " ") return;
          event.preventDefault();
          pick();
        },
      },
      s("title", {}, frame.addr),
      s("rect", { class: "hit", x: 0, y: place.row * ROW, width: "100%", height: ROW }),
      mark(frame, place),
      frame.conflicts > 0 && s("circle", { class: "conflicted", cx: x(place.lane), cy: y(place.row), r: 12 }),
      s("text", { x: text, y: y(place.row) + 4 }, s("tspan", { class: "n" }, n), s("tspan", { class: "role", dx: 8 }, frame.role),
        frame.conflicts > 0 && s("tspan", { class: "bad", dx: 8 }, `${frame.conflicts} in conflict`),
        s("tspan", { class: "hash", dx: 8 }, shorten(frame.addr, 12)),
        frame.timestamp && s("tspan", { class: "when", dx: 8 }, timeOf(frame.timestamp)),
        s("tspan", { class: "hashed", dx: 8 })),
    );
  });
  const lines = edges.map((edge) => s("path", { class: edge.graft ? "edge graft" : "edge", d: edgePath(edge, places, frames.length) }));
  return s("svg", { id: "dag", width: w, height, role: "group", "aria-label": "frames, newest first" }, lines, groups);
}

/**
 * Says at a frame whether the hash computed here holds.
 * @param {Element} picture
 * @param {string} addr
 * @param {string} reason "" when it does
 */
export function markChecked(picture, addr, reason) {
  const frame = [...picture.querySelectorAll("g.frame")].find((g) => g.getAttribute("data-addr") === addr);
  const mark = frame?.querySelector(".hashed");
  if (!mark) return;
  mark.setAttribute("class", reason === "" ? "hashed" : "hashed bad");
  mark.textContent = reason === "" ? "hash holds" : "hash wrong";
  if (reason !== "") frame.querySelector("title").textContent = `${addr}\n${reason}`;
}

function timeOf(timestamp) {
  const at = new Date(timestamp);
  return Number.isNaN(at.getTime()) ? String(timestamp) : at.toISOString().slice(11, 19);
}
