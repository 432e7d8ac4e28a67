// One turn on the screen: what was said, the answer, its state, and what went wrong.
//
// Buttons stay the same elements while all else is painted anew: a click needs them under the pointer, and the focus too.

import { h, icon } from "./dom.js";
import { Foot } from "./foot.js";
import { Prose } from "./markdown.js";
import { isOpen, shownText } from "./turn.js";
import { isRetryable, problemOf, stateOf, timeOf } from "./words.js";

const STALLED = 60_000; // nothing moves any more: the dots need not pretend

export class TurnView {
  #shownAs = null;
  #waiting = false;

  /**
   * `actions`: again(turn), cancel(turn), edit(turn), look(turn), reply(text); `position()` says how many open turns stand before
   * this one, `isAsking()` whether it waits for an answer; `onPaint()` after it may have grown. `cards` is the place of its actions.
   */
  constructor(turn, { actions, position, isAsking, onPaint }) {
    Object.assign(this, { turn, actions, position, isAsking, onPaint });
    this.said = h("div.said", { dir: "auto" });
    this.body = h("div.prose", { dir: "auto" });
    this.prose = new Prose(this.body);
    this.foot = new Foot(turn, { onLook: actions.look });
    this.cards = h("div.cards", {});
    this.replies = h("div.replies", { role: "group", ariaLabel: "Quick replies" });
    const { element: foot, trace } = this.foot;
    this.answer = h("div.answer", {}, this.body, this.#makeState(), this.#makeProblem(), this.cards, foot, trace, this.replies);
    this.element = h("article.turn", { id: turn.key }, this.said, this.answer);
    this.paint();
  }

  #makeState() {
    this.stop = button("stop", "Stop", () => this.actions.cancel(this.turn));
    this.takeBack = button("pen", "Take back", () => this.actions.edit(this.turn));
    this.doing = h("span", {});
    this.state = h("div.state", {}, h("span.dots", {}, h("i"), h("i"), h("i")), this.doing, this.takeBack, this.stop);
    return this.state;
  }

  #makeProblem() {
    this.title = h("strong", {});
    this.code = h("code", {});
    this.reason = h("span", {});
    this.edit = button("pen", "Edit", () => this.actions.edit(this.turn));
    this.again = button("redo", "Try again", () => {
      this.again.disabled = true;
      this.actions.again(this.turn);
    });
    const buttons = h("div.problem-buttons", {}, this.edit, this.again);
    this.problem = h("div.problem", { hidden: true }, icon("stop"), icon("alert"), h("div.problem-text", {}, this.title, this.code, this.reason), buttons);
    return this.problem;
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
    write(this.said, turn.input);
    this.said.hidden = !turn.input; // the flow's own turn
    this.said.title = timeOf(turn.createdAt);
    this.#paintText(open);
    this.again.disabled = false; // something came of it
    this.tick();
    this.paintReplies();
    this.foot.paint();
  }

  /** Show what may be chosen instead of typing: below the last answer only. */
  paintReplies() {
    const replies = this.turn.status === "completed" && this.isAsking() ? this.turn.quickReplies : [];
    this.replies.hidden = !replies.length;
    const same = replies.length === this.replies.children.length && replies.every((text, i) => text === this.replies.children[i].textContent);
    if (!same) this.replies.replaceChildren(...replies.map((text) => h("button.reply", { type: "button", dir: "auto", onclick: () => this.actions.reply(text) }, text)));
  }

  /** Paint what changes with time alone. */
  tick() {
    this.#paintState(isOpen(this.turn));
    this.#paintProblem();
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
    const { turn } = this;
    this.state.hidden = !open;
    this.stop.hidden = !open || !turn.jobId;
    this.stop.disabled = turn.stopping;
    this.takeBack.hidden = !turn.held || turn.withdrawn;
    const doing = open ? stateOf(turn, this.position()) : "";
    const streaming = doing === "Answering" && shownText(turn) !== ""; // the growing text says it better
    this.state.classList.toggle("streaming", streaming);
    this.state.classList.toggle("stalled", Date.now() - turn.newsAt > STALLED || turn.held !== null);
    write(this.doing, streaming ? "" : doing);
  }

  #paintProblem() {
    const { turn } = this;
    const problem = problemOf(turn);
    this.problem.hidden = !problem;
    if (!problem) return;
    write(this.title, problem.title);
    write(this.code, problem.code ?? "");
    write(this.reason, problem.text);
    const unsent = turn.status === "unsent";
    this.again.hidden = !isRetryable(turn);
    this.again.lastChild.data = unsent ? "Send again" : "Try again";
    this.edit.hidden = !(unsent || this.again.hidden) || !turn.input;
  }
}

function button(symbol, label, onclick) {
  return h("button.button.small", { type: "button", onclick }, icon(symbol), label);
}

/** Untouched when nothing has changed: a selection in it stays. */
function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}
