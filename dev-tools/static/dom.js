// Small things that every view needs. Data reaches the page through text nodes and attributes only, never as markup,
// and what cannot be seen in it (control characters, those that turn the direction of a text) is written out.

import { nameOf } from "./names.js";

// Line breaks and tabs stay: they are shown as what they are.
const UNSEEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]|[\u{e0000}-\u{e007f}]/gu;
const written = (char) => `\\u{${char.codePointAt(0).toString(16)}}`;

/** A text as it may be shown, whoever wrote it. */
export const visible = (text) => String(text).replace(UNSEEN, written);

/** The same for what stands on one line, as names do. */
export const oneLine = (text) => visible(text).replace(/[\n\t]/g, written);

// Signs that some fonts lack are drawn by the style sheet; the text stays for whoever copies or hears it.
const SIGNS = { "✓": "check", "✗": "cross", "⚠": "warning", "🎉": "star", "■": "square", "●": "dot", "◆": "diamond", "○": "ring", "→": "right", "←": "left", "↓": "down", "↑": "up" };
const SIGN = new RegExp(`(${Object.keys(SIGNS).join("|")})`, "u");

/**
 * An element: h("p", { class: "x", onclick: f }, "text", child, [children]).
 * @param {string} tag
 * @param {Record<string, any>} [props]
 * @param {...any} children
 * @returns {any}
 */
export function h(tag, props = {}, ...children) {
  const element = document.createElement(tag);
  set(element, props);
  append(element, children);
  return element;
}

const SVG = "http://www.w3.org/2000/svg";

/** The same for SVG. */
export function s(tag, props = {}, ...children) {
  const element = document.createElementNS(SVG, tag);
  set(element, props);
  append(element, children);
  return element;
}

function set(element, props) {
  for (const [name, value] of Object.entries(props)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    // What is read by people, unlike what the page finds its things by.
    else if (name === "title" || name === "aria-label") element.setAttribute(name, visible(value));
    else element.setAttribute(name, value === true ? "" : String(value));
  }
}

function append(element, children) {
  for (const child of children.flat(3)) {
    if (child === null || child === undefined || child === false) continue;
    if (child instanceof Node) element.append(child);
    else element.append(...pieces(element, visible(child)));
  }
}

/** A text with its signs drawn; those of SVG stay text. */
function pieces(element, text) {
  if (element.namespaceURI === SVG || element.tagName === "OPTION") return [text];
  return text.split(SIGN).filter(Boolean).map((part) => {
    if (!SIGNS[part]) return part;
    const sign = document.createElement("span");
    sign.className = `glyph ${SIGNS[part]}`;
    sign.textContent = part;
    return sign;
  });
}

/** @param {string} id */
export const byId = (id) => /** @type {any} */ (document.getElementById(id));

/** Replaces what an element holds. The focus stays at the same thing when that is drawn again. */
export function fill(element, ...children) {
  const focused = element.contains(document.activeElement) ? selectorOf(document.activeElement) : "";
  const opened = [...element.querySelectorAll("details[open]")].map(keyOf).filter(Boolean);
  element.replaceChildren();
  append(element, children);
  for (const details of element.querySelectorAll("details")) if (opened.includes(keyOf(details))) details.open = true;
  if (focused) element.querySelector(focused)?.focus({ preventScroll: true });
  return element;
}

/** What tells the same folded part again after it was drawn anew. */
const keyOf = (details) => details.dataset.key || details.id;

/** What each list that is drawn with {@link fillWith} shows. */
const shown = new WeakMap();

/** As {@link fill}, unless what is to be shown is what is shown already. */
export function fillWith(element, state, children) {
  const seen = JSON.stringify(state);
  if (shown.get(element) === seen) return;
  fill(element, children());
  shown.set(element, seen);
}

/** Shows why a list could not be loaded; the next one that can is drawn whatever was shown before. */
export function fillProblem(element, error, again) {
  fill(element, problem(error, again));
  shown.delete(element);
}

/** Puts elements in place without touching those that stand already: what has the focus or is open stays so. */
export function update(list, wanted) {
  const focused = list.contains(document.activeElement) ? document.activeElement : null;
  const again = focused ? selectorOf(focused) : "";
  const keep = new Set(wanted);
  for (const element of [...list.children]) if (!keep.has(element)) element.remove();
  let at = list.firstChild;
  for (const element of wanted) {
    if (element === at) at = at.nextSibling;
    else list.insertBefore(element, at);
  }
  if (focused && focused !== document.activeElement) (focused.isConnected ? focused : again && list.querySelector(again))?.focus?.({ preventScroll: true });
}

/** What finds an element again after it was drawn anew, or "" when it has no name. */
function selectorOf(element) {
  if (element.id) return `#${CSS.escape(element.id)}`;
  const name = ["data-tjp", "data-addr", "title"].find((name) => element.hasAttribute(name));
  return name ? `[${name}="${CSS.escape(element.getAttribute(name))}"]` : "";
}

/** Sets a text only when it differs, so that live regions do not speak twice. */
export function say(element, text) {
  if (element.textContent === visible(text)) return;
  element.replaceChildren();
  append(element, [text]);
}

/** The middle of an address is what nobody compares by eye. */
export function shorten(text, head = 18, tail = 6) {
  const addr = oneLine(text);
  const at = addr.indexOf("^");
  const ib = at < 0 ? "" : addr.slice(0, at + 1);
  const gib = addr.slice(at + 1);
  const name = ib.length > head + 3 ? `${ib.slice(0, head)}…^` : ib;
  return gib.length > 16 ? `${name}${gib.slice(0, 6)}…${gib.slice(-tail)}` : name + gib;
}

/** An address, shortened, after the name of what it belongs to; a click copies the whole. */
export function addrChip(addr, label) {
  if (!addr) return h("span", { class: "muted" }, "none");
  const name = label ? "" : nameOf(addr);
  const chip = h("button", { type: "button", class: "addr", title: `${addr}\n(click copies)` },
    name && h("span", { class: "named" }, oneLine(name), " "), label ?? shorten(addr));
  chip.addEventListener("click", (event) => {
    event.stopPropagation();
    copy(addr, chip);
  });
  return chip;
}

/** A button that copies a text. */
export function copyButton(text, what = "copy") {
  const button = h("button", { type: "button", class: "small", title: text }, what);
  button.addEventListener("click", () => copy(text, button));
  return button;
}

async function copy(text, button) {
  const before = button.dataset.label ?? button.textContent;
  button.dataset.label = before;
  say(button, (await toClipboard(text)) ? "copied" : "not copied");
  setTimeout(() => say(button, before), 1200);
}

async function toClipboard(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // A browser may refuse without a permission; the older way needs none.
    const area = h("textarea", { class: "offscreen", readonly: true });
    area.value = text;
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    return done;
  }
}

export const number = (n) => (typeof n === "number" ? n.toLocaleString("en-US") : "–");

export function bytes(n) {
  if (typeof n !== "number") return "–";
  if (n < 1024) return `${n} B`;
  return n < 1024 ** 2 ? `${(n / 1024).toFixed(1)} KiB` : `${(n / 1024 ** 2).toFixed(1)} MiB`;
}

export function duration(ms) {
  if (typeof ms !== "number") return "–";
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 60_000) return `${(ms / 1000).toFixed(ms < 10_000 ? 2 : 1)} s`;
  const minutes = Math.floor(ms / 60_000);
  return minutes < 60 ? `${minutes} min ${Math.round((ms % 60_000) / 1000)} s` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** Time of day with milliseconds, of the reader's zone. */
export function clock(ms) {
  const at = new Date(ms);
  const two = (n, size = 2) => String(n).padStart(size, "0");
  return `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}.${two(at.getMilliseconds(), 3)}`;
}

export const plural = (n, one, many = `${one}s`) => `${number(n)} ${n === 1 ? one : many}`;

/** A friendly line where there is nothing to show. */
export const empty = (...text) => h("p", { class: "empty" }, text);

/** What to show when a view could not be loaded. */
export function problem(error, again) {
  return h(
    "div",
    { class: "problem", role: "alert" },
    h("p", {}, `This could not be loaded: ${error.message}`),
    again && h("button", { type: "button", class: "small", onclick: again }, "try again"),
  );
}

/** A table in a box that scrolls by itself, so that the page never scrolls sideways. */
export function table(heads, rows, label) {
  return h(
    "div",
    { class: "scroll", tabindex: "0", role: "region", "aria-label": label },
    h(
      "table",
      {},
      h("thead", {}, h("tr", {}, heads.map((head) => h("th", { scope: "col" }, head)))),
      h("tbody", {}, rows.map((cells) => h("tr", {}, cells.map((cell) => h("td", {}, cell))))),
    ),
  );
}

/** A function that runs once for all calls of a moment; calls that never cease do not keep it waiting. */
export function soon(f, ms) {
  let timer = 0;
  return () => {
    timer ||= setTimeout(() => {
      timer = 0;
      f();
    }, ms);
  };
}
