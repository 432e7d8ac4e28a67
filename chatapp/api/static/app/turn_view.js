// One turn on the screen: what was said, the answer, its state, and what an engineer wants to know about it.

import { copyButton, h, icon } from "./dom.js";
import { Prose } from "./markdown.js";
import { traceTable } from "./trace.js";
import { isOpen, shownText } from "./turn.js";
import { count, finishOf, shortJob, span, stateOf, timeOf, usageOf } from "./words.js";

export class TurnView {
  #shownAs = null;
  #waiting = false;
  #timer = null;
  #traceOpen = false;

  /** `actions`: again(turn), cancel(turn), look(turn); `position()` says how many open turns stand before this one. */
  constructor(turn, { actions, position, onPaint }) {
    Object.assign(this, { turn, actions, position, onPaint });
    this.said = h("div.said", {});
    this.body = h("div.prose", {});
    // The button stays the same element while all else is painted anew: a click needs it under the pointer, and the focus too.
    this.stop = this.#button("stop", "Stop", () => this.actions.cancel(this.turn));
    this.doing = h("span", {});
    this.state = h("div.state", {}, h("span.dots", {}, h("i"), h("i"), h("i")), this.doing, this.stop);
    this.problem = h("div.problem", { hidden: true });
    this.foot = h("footer.foot", {});
    this.trace = h("div.trace-box", { hidden: true, tabIndex: 0 });
    this.answer = h("div.answer", {}, this.body, this.state, this.problem, this.foot, this.trace);
    this.element = h("article.turn", { id: turn.key }, this.said, this.answer);
    this.prose = new Prose(this.body);
    this.paint();
  }

  /** Ask for a repaint at the next frame; any number of events share one. */
  update() {
    if (this.#waiting) return;
    this.#waiting = true;
    requestAnimationFrame(() => {
      this.#waiting = false;
      this.paint();
      this.onPaint();
    });
  }

  paint() {
    const { turn } = this;
    const open = isOpen(turn);
    this.element.dataset.status = turn.status;
    if (turn.jobId) this.element.dataset.job = turn.jobId;
    this.element.setAttribute("aria-busy", String(open));
    if (this.said.textContent !== turn.input) this.said.textContent = turn.input;
    this.said.title = timeOf(turn.createdAt);
    this.#paintText(open);
    this.#paintState(open);
    this.#paintProblem();
    this.foot.replaceChildren(...(open && !turn.events ? [] : this.#footParts(open)));
    if (this.#traceOpen) this.trace.replaceChildren(traceTable(turn));
  }

  #paintText(open) {
    const text = shownText(this.turn);
    const shownAs = `${open}${text}`;
    if (shownAs === this.#shownAs) return;
    this.prose.show(text, { final: !open && this.#shownAs?.startsWith("true") });
    this.#shownAs = shownAs;
    this.body.classList.toggle("growing", this.turn.status === "running" && text !== "");
  }

  #paintState(open) {
    const streaming = this.turn.status === "running" && shownText(this.turn) !== "" && this.turn.attempt <= 1;
    clearTimeout(this.#timer);
    this.state.hidden = !open;
    this.stop.hidden = !open || !this.turn.jobId;
    this.stop.disabled = this.turn.stopping;
    const doing = open && (!streaming || this.turn.stopping) ? stateOf(this.turn, this.position()) : "";
    this.state.classList.toggle("streaming", doing === "");
    if (this.doing.textContent !== doing) this.doing.textContent = doing;
    if (this.turn.status === "retrying") this.#timer = setTimeout(() => this.update(), 500);
  }

  #paintProblem() {
    const { turn } = this;
    const words = PROBLEMS[turn.status]?.(turn);
    this.problem.hidden = !words;
    if (!words) return;
    const again = this.#button("redo", turn.status === "unsent" ? "Send again" : "Try again", () => {
      again.disabled = true;
      this.actions.again(turn);
    });
    this.problem.replaceChildren(
      icon(turn.status === "cancelled" ? "stop" : "alert"),
      h("div", {}, h("strong", {}, words[0]), turn.error?.code && h("code", {}, turn.error.code), h("span", {}, words[1])),
      again,
    );
  }

  #footParts(open) {
    const { turn } = this;
    if (!turn.jobId) return [];
    const facts = [turn.model, usageOf(turn.usage), !open && turn.endedAt ? span(turn.endedAt - turn.createdAt) : null, finishOf(turn)];
    return [
      !open && turn.text ? copyButton(() => turn.text, "Copy the answer") : null,
      ...facts.filter(Boolean).map((fact) => h("span", {}, fact)),
      this.#traceButton(),
      this.#jobButton(),
    ].filter(Boolean);
  }

  #traceButton() {
    const { turn } = this;
    const label = turn.events ? count(turn.events, "event") : "details";
    const button = h("button.fact", { type: "button", ariaExpanded: String(this.#traceOpen), title: "Show what happened" }, label);
    button.onclick = () => {
      this.#traceOpen = !this.#traceOpen;
      this.trace.hidden = !this.#traceOpen;
      if (this.#traceOpen && !turn.events) this.actions.look(turn);
      this.paint();
      this.foot.querySelector(".fact")?.focus();
    };
    return button;
  }

  #jobButton() {
    const button = copyButton(() => this.turn.jobId, "Copy the job id", "button.job");
    button.title = this.turn.jobId;
    const link = h("span.job-id", {}, shortJob(this.turn.jobId));
    return h("span.job-box", {}, link, button);
  }

  #button(symbol, label, onclick) {
    return h("button.button.small", { type: "button", onclick }, icon(symbol), label);
  }
}

const PROBLEMS = {
  failed: (turn) => ["The answer failed.", turn.error?.message ?? "No reason was given."],
  unsent: (turn) => ["Not sent.", turn.error?.message ?? "The server cannot be reached."],
  cancelled: (turn) => ["Stopped.", turn.text ? "What had been answered by then was kept." : "Nothing had been answered yet."],
};
