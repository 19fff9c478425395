// Faults on the rows' connections, drawn from a seed so that a run can be had again.

import { get, put } from "./api.js";
import { byId, fill, h, say } from "./dom.js";

const FIELDS = [
  ["drop_one_in", "drop", "one message in N is lost"],
  ["repeat_one_in", "duplicate", "one message in N comes twice"],
  ["corrupt_one_in", "corrupt", "one message in N has a byte changed"],
  ["cut_one_in", "cut", "at one message in N the connection ends"],
  ["delay_ms_max", "delay", "each message waits up to N ms"],
];

const input = (name) => byId(`fault-${name}`);

export function buildFaults(panel) {
  const field = (name, label, help, min) =>
    h(
      "div",
      { class: "field" },
      h("label", { for: `fault-${name}` }, label),
      h("input", { id: `fault-${name}`, type: "number", min, step: 1, value: min, required: true, inputmode: "numeric", "aria-describedby": `help-${name}` }),
      h("span", { id: `help-${name}`, class: "muted" }, help),
    );
  fill(
    panel,
    h(
      "form",
      { id: "faults", novalidate: true, onsubmit: (event) => { event.preventDefault(); apply(); } },
      h("p", { class: "muted" }, "They act on the connections of the rows. 0 is off. With one of them on, a row that fails shows how it fails: nothing half done stays."),
      field("seed", "seed", "the same seed gives the same faults", 0),
      FIELDS.map(([name, label, help]) => field(name, label, help, 0)),
      h(
        "div",
        { class: "bar" },
        h("button", { type: "submit", id: "btn-faults-apply", class: "primary" }, "apply"),
        h("button", { type: "button", id: "btn-faults-off", onclick: off }, "all off"),
        h("span", { id: "faults-result", role: "status", "aria-live": "polite" }),
      ),
    ),
  );
}

/** Shows in the banner, wherever one looks, that connections are being disturbed. */
export function showFaults(faults) {
  const on = FIELDS.filter(([name]) => faults?.[name] > 0).map(([name, label]) =>
    name === "delay_ms_max" ? `${label} up to ${faults[name]} ms` : `${label} one in ${faults[name]}`,
  );
  const banner = byId("fault-banner");
  banner.hidden = on.length === 0;
  say(banner, on.length > 0 ? `⚠ Faults are on: ${on.join(", ")} (seed ${faults.seed}). Rows may fail because of them.` : "");
}

export async function loadFaults() {
  try {
    const faults = await get("/faults");
    // What somebody is typing meanwhile stays.
    if (byId("faults").contains(document.activeElement)) showFaults(faults);
    else take(faults);
  } catch (error) {
    say(byId("faults-result"), `not loaded: ${error.message}`);
  }
}

function take(faults) {
  for (const name of ["seed", ...FIELDS.map((f) => f[0])]) input(name).value = faults[name] ?? 0;
  showFaults(faults);
}

async function apply() {
  const faults = {};
  for (const name of ["seed", ...FIELDS.map((f) => f[0])]) {
    const value = Number(input(name).value);
    const bad = input(name).value === "" || !Number.isSafeInteger(value) || value < 0;
    input(name).setAttribute("aria-invalid", String(bad));
    if (bad) {
      say(byId("faults-result"), `${name} must be a whole number, 0 or more`);
      input(name).focus();
      return;
    }
    faults[name] = value;
  }
  try {
    take(await put("/faults", faults));
    say(byId("faults-result"), FIELDS.some(([name]) => faults[name] > 0) ? "applied" : "all off");
  } catch (error) {
    say(byId("faults-result"), `not applied: ${error.message}`);
  }
}

function off() {
  for (const [name] of FIELDS) input(name).value = 0;
  return apply();
}
