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

const OF_FLOWS = {
  orchestrator: [
    ["Arrive", "cheguei, setor UTI"],
    ["Take vital signs", "PA 120x80 FC 80"],
    ["Ask what can be said", "ajuda"],
  ],
};

/** Show the suggestions for a flow; another's than `chat` has none unless they are listed here. */
export function examplesOf(flow, { scripted, onPick }) {
  const plain = scripted ? EXAMPLES : WITHOUT_SCRIPT;
  const examples = OF_FLOWS[flow] ?? (flow === "chat" ? plain : []);
  const cards = examples.map(([title, text]) =>
    h("button.example", { type: "button", onclick: () => onPick(text) }, h("strong", {}, title), ...marked(text)),
  );
  byId("examples").replaceChildren(...cards);
}

/** Directives stand out, so that they are noticed. */
function marked(text) {
  const [, plain, directive] = /^(.*?)(\[\[.*\]\])?$/.exec(text);
  return [h("span", {}, plain, directive && h("code", {}, directive))];
}
