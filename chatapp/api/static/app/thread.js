// The list of turns on the screen, and a scroll position that follows the answer without fighting the reader.

import { byId, h } from "./dom.js";
import { isOpen } from "./turn.js";
import { TurnView } from "./turn_view.js";

const TICK = 500; // countdowns and silences are shown to the second
const NEAR = 80; // px from the end that still count as "at the end"

export class Thread {
  #views = new Map();
  #conversation = null;
  #sticks = true;
  #lastTop = 0;

  /** `actions`: again, cancel, edit, look as TurnView; older(conversation) loads the page before the first turn. */
  constructor(actions) {
    this.actions = actions;
    this.list = byId("thread");
    this.scroll = byId("scroll");
    this.toEnd = byId("to-end");
    this.earlier = h("button.button.small.earlier", { type: "button", onclick: () => this.#loadOlder() }, "Earlier messages");
    this.scroll.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    this.toEnd.onclick = () => this.goToEnd({ smooth: true });
    new ResizeObserver(() => this.#follow()).observe(this.list);
    new ResizeObserver(() => this.#follow()).observe(this.scroll);
    setInterval(() => this.#tick(), TICK);
  }

  /** Show another conversation. */
  show(conversation) {
    this.#conversation = conversation;
    this.#views.clear();
    this.list.replaceChildren();
    this.refresh();
    if (conversation.turns.length) this.goToEnd();
    else this.scroll.scrollTop = 0;
  }

  /** Bring the list in line with the conversation's turns. */
  refresh() {
    const { shown, turns, older } = this.#conversation;
    const elements = shown.map((turn) => this.#viewOf(turn).element);
    for (const [i, element] of elements.entries()) {
      if (this.list.children[i] !== element) this.list.insertBefore(element, this.list.children[i] ?? null);
    }
    while (this.list.children.length > elements.length) this.list.lastChild.remove();
    if (older) this.list.before(this.earlier);
    else this.earlier.remove();
    byId("welcome").hidden = turns.length > 0 || !this.#conversation.loaded;
    this.#follow();
  }

  /** A turn changed; the open ones after it may have moved up. */
  update(turn) {
    this.#views.get(turn.key)?.update();
    for (const other of this.#conversation.openTurns) if (other !== turn) this.#views.get(other.key)?.update();
  }

  goToEnd({ smooth = false } = {}) {
    this.#sticks = true;
    this.toEnd.hidden = true;
    const behavior = smooth && !matchMedia("(prefers-reduced-motion: reduce)").matches ? "smooth" : "instant";
    this.scroll.scrollTo({ top: this.scroll.scrollHeight, behavior });
  }

  #tick() {
    for (const turn of this.#conversation?.shown ?? []) if (isOpen(turn) || turn.againAt) this.#views.get(turn.key)?.tick();
  }

  #viewOf(turn) {
    const made = this.#views.get(turn.key);
    if (made) return made;
    const conversation = this.#conversation;
    const view = new TurnView(turn, {
      actions: this.actions,
      position: () => conversation.position(turn),
      onPaint: () => this.#follow(),
    });
    this.#views.set(turn.key, view);
    return view;
  }

  /** Only a movement upwards by the reader lets go; growth of the answer below never does. */
  #scrolled() {
    const { scrollTop, scrollHeight, clientHeight } = this.scroll;
    const left = scrollHeight - clientHeight - scrollTop;
    if (left < NEAR) this.#sticks = true;
    else if (scrollTop < this.#lastTop) this.#sticks = false;
    this.#lastTop = scrollTop;
    this.toEnd.hidden = left < NEAR * 2;
  }

  #follow() {
    if (!this.#conversation?.turns.length) return;
    if (this.#sticks) this.scroll.scrollTop = this.scroll.scrollHeight;
    else this.#scrolled();
  }

  async #loadOlder() {
    const fromEnd = this.scroll.scrollHeight - this.scroll.scrollTop;
    this.#sticks = false;
    this.earlier.disabled = true;
    await this.actions.older(this.#conversation);
    this.earlier.disabled = false;
    this.scroll.scrollTop = this.scroll.scrollHeight - fromEnd;
  }
}
