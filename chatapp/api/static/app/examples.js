// The empty page's suggestions.

import { byId, h } from "./dom.js";

const EXAMPLES = [
  ["Get some code", "Explain idempotency keys with a Python example"],
  ["Slow the model down", "Tell me about queues [[delay=0.05]]"],
  ["Let the provider fail", "Will this answer arrive? [[fail=2]]"],
];
const WITHOUT_SCRIPT = [
  ["Get some code", "Explain idempotency keys with a Python example"],
  ["Compare", "Compare queues and event logs in a short table"],
  ["Go deep", "How does at-least-once delivery become exactly one answer?"],
];

export function offerExamples({ scripted, onPick }) {
  const cards = (scripted ? EXAMPLES : WITHOUT_SCRIPT).map(([title, text]) =>
    h("button.example", { type: "button", onclick: () => onPick(text) }, h("strong", {}, title), ...marked(text)),
  );
  byId("examples").replaceChildren(...cards);
}

/** Directives stand out, so that they are noticed. */
function marked(text) {
  const [, plain, directive] = /^(.*?)(\[\[.*\]\])?$/.exec(text);
  return [h("span", {}, plain, directive && h("code", {}, directive))];
}
