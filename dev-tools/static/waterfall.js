// A saga on one axis of time: its phases, its turns, and every message with its bytes.

import { bytes, duration, h, plural, s } from "./dom.js";

// Turns that get a line of their own.
const TURNS_SHOWN = 40;
const LINE = 22;
const BYTES = 64;

/**
 * What comes in, and what is answered to it: the turns of the saga, counted, and before and between them what its
 * connection needs, by the name of its message.
 * @param {Array<{way: string, at_ms: number, bytes: number, type: string}>} messages
 */
export function turnsOf(messages) {
  const turns = [];
  for (const message of messages) {
    const last = turns.at(-1)?.messages.at(-1);
    if (!last || (message.way === "in" && last.way === "out")) turns.push({ messages: [] });
    turns.at(-1).messages.push(message);
  }
  let counted = 0;
  for (const turn of turns) {
    const isTurn = turn.messages.some((m) => m.type.startsWith("sync_frame"));
    turn.name = isTurn ? `turn ${++counted}` : turn.messages[0].type;
    const sum = (way) => turn.messages.filter((m) => m.way === way).reduce((n, m) => n + m.bytes, 0);
    Object.assign(turn, { from: turn.messages[0].at_ms, to: turn.messages.at(-1).at_ms, in: sum("in"), out: sum("out") });
  }
  return turns;
}

/** A round step of the axis, such that there are three to six of them. */
function step(ms) {
  const rough = ms / 5;
  const unit = 10 ** Math.floor(Math.log10(Math.max(rough, 1)));
  return [1, 2, 5, 10].map((n) => n * unit).find((n) => n >= rough) ?? unit;
}

/** The picture; everything lies at a share of the width, so that it fits any screen. */
export function waterfall(saga) {
  const messages = saga.messages ?? [];
  const end = saga.ended_ms ?? Math.max(saga.opened_ms + 1, ...messages.map((m) => m.at_ms), ...(saga.phases ?? []).map((p) => p.at_ms));
  const whole = Math.max(end - saga.opened_ms, 1);
  const at = (ms) => Math.min(Math.max(((ms - saga.opened_ms) / whole) * 100, 0), 100);
  const share = (from, to) => Math.max(at(to) - at(from), 0.4);
  const phases = (saga.phases ?? []).map((p, i, all) => ({ ...p, to: all[i + 1]?.at_ms ?? end }));
  const turns = turnsOf(messages);
  const shown = turns.slice(0, TURNS_SHOWN);
  const most = Math.max(1, ...messages.map((m) => m.bytes));
  // What is a thousand times as large must not hide the small ones.
  const high = (n) => 3 + (Math.log2(1 + n) / Math.log2(1 + most)) * (BYTES / 2 - 8);
  const [top, turnsAt] = [18, 18 + LINE + 8];
  const bytesAt = turnsAt + shown.length * LINE + 8 + BYTES / 2;
  const height = bytesAt + BYTES / 2 + 4;
  const tick = step(whole);
  const ticks = Array.from({ length: Math.floor(whole / tick) + 1 }, (_, i) => i * tick);
  const place = (x) => (x > 60 ? { x: `${x}%`, "text-anchor": "end", dx: -4 } : { x: `${x}%`, dx: 4 });
  const picture = s(
    "svg",
    { class: "waterfall", width: "100%", height, role: "img", "aria-label": `${plural(turns.length, "exchange")} in ${duration(whole)}` },
    ticks.map((ms) => [
      s("line", { class: "tick", x1: `${at(saga.opened_ms + ms)}%`, x2: `${at(saga.opened_ms + ms)}%`, y1: 14, y2: height }),
      s("text", { class: "axis", ...place(at(saga.opened_ms + ms)), y: 11 }, duration(ms)),
    ]),
    phases.map((p) =>
      s("g", { class: `phase ${p.phase}` },
        s("title", {}, `${p.phase}: ${duration(p.to - p.at_ms)}, after ${duration(p.at_ms - saga.opened_ms)}`),
        s("rect", { x: `${at(p.at_ms)}%`, y: top, width: `${share(p.at_ms, p.to)}%`, height: LINE - 6, rx: 2 }),
        share(p.at_ms, p.to) > 12 && s("text", { x: `${at(p.at_ms)}%`, dx: 4, y: top + 12 }, p.phase)),
    ),
    shown.map((turn, i) => {
      const y = turnsAt + i * LINE;
      const said = `${turn.name} · ${bytes(turn.in)} in, ${bytes(turn.out)} out · ${duration(turn.to - turn.from)}`;
      const [left, right] = [at(turn.from), at(turn.to)];
      // Where there is room: after the bar, before it, or on it.
      const beside = right <= 50 ? { x: `${right}%`, dx: 6 } : left >= 50 ? { x: `${left}%`, dx: -4, "text-anchor": "end" } : { x: `${left}%`, dx: 6, class: "inside" };
      return s("g", { class: "turn" },
        s("title", {}, `${said}: ${turn.messages.map((m) => m.type).join(", ")}`),
        s("rect", { x: `${at(turn.from)}%`, y: y + 2, width: `${share(turn.from, turn.to)}%`, height: LINE - 8, rx: 2 }),
        s("text", { y: y + 13, ...beside }, said));
    }),
    s("line", { class: "base", x1: 0, x2: "100%", y1: bytesAt, y2: bytesAt }),
    messages.map((m) => {
      const long = high(m.bytes);
      return s("g", { class: `bytes ${m.way}` },
        s("title", {}, `${m.way} ${m.type}, ${bytes(m.bytes)}, after ${duration(m.at_ms - saga.opened_ms)}`),
        s("rect", { x: `${Math.min(at(m.at_ms), 99.2)}%`, width: 4, y: m.way === "in" ? bytesAt - long : bytesAt, height: long }));
    }),
  );
  return h(
    "figure",
    { class: "fall" },
    picture,
    h("figcaption", { class: "muted" }, "phases, turns and bytes on one axis: ", h("span", { class: "key in" }, "in, upwards"), " ", h("span", { class: "key out" }, "out, downwards"),
      turns.length > shown.length && ` · ${plural(turns.length - shown.length, "more exchange")}`),
  );
}
