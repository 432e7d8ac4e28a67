// A record as a list of names and values, whatever is in it. Always as text.

import { h } from "./dom.js";
import { labelOf, readable } from "./words.js";

const MOST = 100;
const DEEPEST = 3;

/** Make the list of a record's fields; what is not set is left out. */
export function factList(record, depth = 0) {
  const fields = Object.entries(record).filter(([, value]) => value !== null && value !== undefined);
  const rows = fields.slice(0, MOST).map(([name, value]) => h("div", {}, h("dt", { dir: "auto" }, labelOf(name)), h("dd", { dir: "auto" }, valueOf(value, depth))));
  return h("dl.fact-list", {}, ...rows, fields.length > MOST && h("div", {}, h("dt", {}, `${fields.length - MOST} more`), h("dd", {}, "…")));
}

function valueOf(value, depth) {
  if (typeof value !== "object" || depth === DEEPEST) return readable(value);
  if (!Array.isArray(value)) return factList(value, depth + 1);
  if (value.every((entry) => typeof entry !== "object")) return readable(value);
  return h("ul", {}, ...value.slice(0, MOST).map((entry) => h("li", {}, entry === null ? "" : valueOf(entry, depth + 1))));
}
