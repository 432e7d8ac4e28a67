// Passing notices, in a corner: problems of this page, and what the server has to say that is no answer. Always as text.

import { byId, h, icon } from "./dom.js";

const PASSING = 6_000;
const STAYING = 20_000; // what was pushed may be read later than it came
const MOST = 4;
const REMEMBERED = 200;
const seen = new Set();

/** Say for a moment what went wrong, or that something did. */
export function toast(text) {
  show([text], PASSING);
}

/** Say what a Problem says. */
export function notify(problem) {
  toast(problem.requestId ? `${problem.message} (request ${problem.requestId})` : problem.message);
}

/** Show `{ id, title?, text }` that the server has pushed; once, however often it comes. */
export function notice({ id, job_id: jobId = "", title, text }) {
  const key = `${jobId} ${id}`;
  if (typeof text !== "string" || seen.has(key)) return;
  seen.add(key);
  if (seen.size > REMEMBERED) seen.delete(seen.values().next().value);
  show([title ? h("strong", {}, String(title)) : null, h("span", {}, text)], STAYING, "div.toast.pushed");
}

function show(content, time, spec = "div.toast") {
  const close = h("button.icon-button.small", { type: "button", ariaLabel: "Dismiss" }, icon("close"));
  const note = h(spec, {}, h("div", { dir: "auto" }, ...content), close);
  const box = byId("toasts");
  let timer = setTimeout(() => note.remove(), time);
  close.onclick = () => note.remove();
  note.onpointerenter = () => clearTimeout(timer); // whoever reads it is not hurried
  note.onpointerleave = () => {
    timer = setTimeout(() => note.remove(), time);
  };
  box.append(note);
  while (box.children.length > MOST) box.firstElementChild.remove();
  box.scrollTop = box.scrollHeight; // in a narrow window they have to share little room
}
