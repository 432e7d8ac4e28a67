// The facts below an answer: model, tokens, time, events, job id. Its buttons stay the same elements, so that they keep the focus.

import { copyButton, h } from "./dom.js";
import { traceTable } from "./trace.js";
import { isOpen } from "./turn.js";
import { count, finishOf, shortJob, span, usageOf } from "./words.js";

export class Foot {
  /** `onLook(turn)` when details are wanted of a turn whose events were not seen. */
  constructor(turn, { onLook }) {
    Object.assign(this, { turn, onLook });
    this.copy = copyButton(() => turn.text, "Copy the answer");
    this.facts = h("span.facts", {});
    this.toggle = h("button.fact", { type: "button", title: "Show what happened", onclick: () => this.#toggle() });
    this.toggle.setAttribute("aria-expanded", "false");
    this.job = h("span.job-id", {});
    const jobBox = h("span.job-box", {}, this.job, copyButton(() => turn.jobId, "Copy the job id", "button.job"));
    this.element = h("footer.foot", {}, this.copy, this.facts, this.toggle, jobBox);
    this.trace = h("div.trace-box", { hidden: true, tabIndex: 0, ariaLabel: "Events", role: "group" });
  }

  paint() {
    const { turn } = this;
    const open = isOpen(turn);
    this.element.hidden = !turn.jobId || (open && !turn.events);
    this.copy.hidden = open || !turn.text;
    const time = !open && turn.endedAt > turn.createdAt ? span(turn.endedAt - turn.createdAt) : null;
    const facts = [turn.model, usageOf(turn.usage), time, finishOf(turn)].filter(Boolean);
    this.facts.replaceChildren(...facts.map((fact) => h("span", {}, fact)));
    this.toggle.textContent = turn.events ? count(turn.events, "event") : "details";
    this.job.textContent = turn.jobId ? shortJob(turn.jobId) : "";
    this.job.title = turn.jobId ?? "";
    if (!this.trace.hidden) this.trace.replaceChildren(traceTable(turn));
  }

  #toggle() {
    this.trace.hidden = !this.trace.hidden;
    this.toggle.setAttribute("aria-expanded", String(!this.trace.hidden));
    if (!this.trace.hidden && !this.turn.events) this.onLook(this.turn);
    this.paint();
  }
}
