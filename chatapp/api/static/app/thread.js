// The list of turns on the screen, and a scroll position that follows the answer without fighting the reader.

import { ActionCard } from "./action_card.js";
import { turnOf } from "./conversation.js";
import { byId, h } from "./dom.js";
import { isOpen } from "./turn.js";
import { TurnView } from "./turn_view.js";

const TICK = 500; // countdowns and silences are shown to the second
const NEAR = 80; // px from the end that still count as "at the end"

export class Thread {
  #views = new Map();
  #cards = new Map();
  #conversation = null;
  #sticks = true;
  #lastTop = 0;

  /** `actions`: again, cancel, edit, look, reply as TurnView; decide(action, answer); older(conversation) loads the page before the first turn. */
  constructor(actions) {
    this.actions = actions;
    this.list = byId("thread");
    this.scroll = byId("scroll");
    this.toEnd = byId("to-end");
    this.stray = h("div.cards", {}); // actions of turns that are not on the screen
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
    this.#cards.clear();
    this.list.replaceChildren();
    this.refresh();
    if (conversation.turns.length) this.goToEnd();
    else this.scroll.scrollTop = 0;
  }

  /** Bring the list in line with the conversation's turns. */
  refresh() {
    const { shown, turns, older } = this.#conversation;
    put(this.list, shown.map((turn) => this.#viewOf(turn).element));
    for (const turn of shown) this.#viewOf(turn).paintReplies();
    this.#placeCards();
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

  /** Put each action below the turn that proposed it, the oldest first. */
  #placeCards() {
    const { shown, actions } = this.#conversation;
    const places = new Map(shown.map((turn) => [turn.number, this.#viewOf(turn).cards]));
    const cards = new Map([this.stray, ...places.values()].map((place) => [place, []]));
    for (const action of actions.toReversed()) {
      const place = places.get(turnOf(action)) ?? (OPEN_ACTIONS.has(action.status) ? this.stray : null);
      if (place) cards.get(place).push(this.#cardOf(action).element);
    }
    for (const [place, elements] of cards) put(place, elements);
    if (this.stray.children.length) this.list.before(this.stray);
    else this.stray.remove();
  }

  #cardOf(action) {
    const made = this.#cards.get(action.action_id);
    if (made) made.paint(action);
    else this.#cards.set(action.action_id, new ActionCard(action, { onDecide: this.actions.decide }));
    return made ?? this.#cards.get(action.action_id);
  }

  #viewOf(turn) {
    const made = this.#views.get(turn.key);
    if (made) return made;
    const conversation = this.#conversation;
    const view = new TurnView(turn, {
      actions: this.actions,
      position: () => conversation.position(turn),
      isAsking: () => conversation.isAsking(turn),
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
    this.toEnd.hidden = left < NEAR * 2 || !this.#conversation?.turns.length;
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

const OPEN_ACTIONS = new Set(["staged", "confirmed", "executing", "unknown"]);

/** Make the elements the children of a parent; those that are there already are not moved, and keep the focus. */
function put(parent, elements) {
  for (const [i, element] of elements.entries()) {
    if (parent.children[i] !== element) parent.insertBefore(element, parent.children[i] ?? null);
  }
  while (parent.children.length > elements.length) parent.lastChild.remove();
}
