// How a conversation begins: with which flow. One that speaks first is begun by its button; of the others one is chosen.

import { byId, h, icon } from "./dom.js";
import { flowName } from "./words.js";

const ABOUT = {
  chat: "Ask anything",
  interview: "Answer a few questions, get a destination",
  orchestrator: "A nurse’s shift: records that need a yes",
};

export class Chooser {
  #buttons = new Map();

  /** `flows`: `{ name, opens }` as /app-config lists them; `onBegin(flow)` of one that speaks first, `onChoose(flow)` of another. */
  constructor({ flows, onBegin, onChoose }) {
    Object.assign(this, { flows, onBegin, onChoose });
    this.chosen = (flows.find(({ opens }) => !opens) ?? flows[0])?.name ?? null;
    for (const flow of flows) this.#buttons.set(flow.name, this.#button(flow));
    byId("flows").replaceChildren(...this.#buttons.values());
    byId("flows-box").hidden = flows.length < 2;
    this.#paint();
  }

  /** What a message that begins a conversation says of its flow: nothing when the server would choose the same. */
  get asked() {
    return this.chosen && this.chosen !== this.flows[0].name ? { flow: this.chosen } : {};
  }

  #button(flow) {
    const { name, opens } = flow;
    const title = h("strong", {}, flowName(name), opens && icon("arrow"));
    return h("button.flow", { type: "button", dataset: { flow: name }, onclick: () => this.#pick(flow) }, title, h("span", {}, ABOUT[name] ?? (opens ? "Speaks first" : "")));
  }

  async #pick({ name, opens }) {
    if (!opens) {
      this.chosen = name;
      this.#paint();
      return this.onChoose(name);
    }
    const button = this.#buttons.get(name);
    button.disabled = true;
    await this.onBegin(name);
    button.disabled = false;
  }

  #paint() {
    for (const { name, opens } of this.flows) if (!opens) this.#buttons.get(name).setAttribute("aria-pressed", String(name === this.chosen));
  }
}

/** The language in which a flow is to speak first; undefined leaves it to the server. */
export const spokenHere = () => /^(pt|en)\b/i.exec(navigator.language)?.[1].toLowerCase();
