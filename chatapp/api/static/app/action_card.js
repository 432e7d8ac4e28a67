// An action that a flow proposes: what would be done, until when it can be confirmed, what became of it. All of it as text.
//
// The buttons stay the same elements, so that they keep the focus.

import { h, icon } from "./dom.js";
import { factList } from "./facts.js";
import { labelOf, readable, timeOf } from "./words.js";

const STATES = {
  staged: ["Waiting for your yes", "bolt", ""],
  confirmed: ["Being carried out", "dots", ""],
  executing: ["Being carried out", "dots", ""],
  executed: ["Done", "check", ""],
  failed: ["Failed", "alert", "It was not carried out."],
  unknown: ["Not known", "alert", "Whether it was carried out is not known yet: it is looked into, and never repeated."],
  cancelled: ["Cancelled", "close", "Nothing was done."],
  expired: ["Expired", "close", "It was not confirmed in time. Nothing was done."],
};

export class ActionCard {
  #painted = "";

  /** `onDecide(action, answer)` with "confirm" or "cancel". */
  constructor(action, { onDecide }) {
    this.onDecide = onDecide;
    this.name = h("strong", { dir: "auto" });
    this.status = h("span.action-status", {});
    this.description = h("p.action-description", { dir: "auto" });
    this.payload = h("div.action-payload", { tabIndex: 0, role: "group", ariaLabel: "What is sent" });
    this.note = h("p.action-note", { dir: "auto" });
    this.confirm = this.#button("button.button.primary.small", "Confirm", "confirm");
    this.cancel = this.#button("button.button.small", "Cancel", "cancel");
    this.buttons = h("div.action-buttons", {}, this.confirm, this.cancel);
    this.element = h("section.action", { role: "group", dataset: { action: action.action_id } }, h("header", {}, this.name, this.status), this.description, this.payload, h("footer", {}, this.note, this.buttons));
    this.paint(action);
  }

  #button(spec, label, answer) {
    return h(spec, { type: "button", onclick: () => this.#decide(answer) }, label);
  }

  #decide(answer) {
    this.confirm.disabled = this.cancel.disabled = true;
    this.onDecide(this.action, answer);
  }

  paint(action) {
    this.action = action;
    this.confirm.disabled = this.cancel.disabled = false;
    const shownAs = JSON.stringify(action);
    if (shownAs === this.#painted) return;
    this.#painted = shownAs;
    const name = labelOf(action.name);
    const [state, symbol] = STATES[action.status] ?? [labelOf(action.status), "bolt"];
    this.element.dataset.status = action.status;
    this.element.ariaLabel = `Action: ${name}`;
    this.name.textContent = name;
    this.status.replaceChildren(symbol === "dots" ? dots() : icon(symbol), state);
    this.description.textContent = action.description;
    this.payload.replaceChildren(factList(action.payload ?? {}));
    this.note.textContent = noteOf(action);
    this.buttons.hidden = action.status !== "staged";
  }
}

const dots = () => h("span.dots", { ariaHidden: "true" }, h("i"), h("i"), h("i"));

/** What is to be said of an action beside its state. */
function noteOf({ status, expires_at: until, error, result }) {
  const why = error?.message ? String(error.message).replace(/[^.!?…]$/, "$&.") : "";
  if (status === "staged") return `Can be confirmed until ${untilWhen(until)}.`;
  if (status === "confirmed" && why) return `${why} It is tried again.`;
  if (status === "executed") return typeof result?.reference === "string" ? `Reference: ${result.reference}` : typeof result?.note === "string" ? result.note : "";
  const plain = STATES[status]?.[2] ?? "";
  if (status === "unknown") return plain; // what is stored as the error says the same
  return why.startsWith(plain) ? why : [status === "failed" && why ? plain.replace(/\.$/, ":") : plain, why].filter(Boolean).join(" ");
}

const untilWhen = (until) => (isToday(Date.parse(until)) ? timeOf(Date.parse(until)) : readable(until));
const isToday = (ms) => new Date(ms).toDateString() === new Date().toDateString();

/** What screen readers are told of an action. */
export const spoken = ({ name, status }) => `${labelOf(name)}: ${STATES[status]?.[0] ?? status}. ${STATES[status]?.[2] ?? ""}`;
