// What a page offers of flows: begin one that speaks first, see its profile fill in, end it; say yes or no to its actions.

import { newKey } from "./api.js";
import { spoken } from "./action_card.js";
import { Chooser, spokenHere } from "./chooser.js";
import { confirmed, showResult } from "./dialogs.js";
import { examplesOf } from "./examples.js";
import { FlowFeed } from "./flow_feed.js";
import { profileTold } from "./profile.js";
import { ProfilePanel } from "./profile_panel.js";
import { announce } from "./signals.js";

export class Flows {
  #keys = new Map(); // of beginnings whose answer has not come
  #heard = new WeakMap(); // the states of actions, by conversation

  /**
   * `shown()` gives the conversation on the screen; `onBegun(session, from)` when one was begun while `from` was shown,
   * `onEnded(id)`, `onCards(conversation)` when its actions have changed, `onSession(session)` with its line in the list.
   */
  constructor({ api, socket, flows, scripted, shown, onBegun, onEnded, onCards, onSession, onChoose, onPick, onProblem }) {
    Object.assign(this, { api, shown, onBegun, onEnded, onCards, onProblem });
    this.feed = new FlowFeed({ api, socket, shown, onChange: (conversation) => this.#changed(conversation), onSession, onProblem });
    this.panel = new ProfilePanel({ onEnd: () => this.#end() });
    const examples = (flow) => examplesOf(flow, { scripted, onPick });
    this.chooser = new Chooser({
      flows,
      onBegin: (flow) => this.#begin(flow),
      onChoose: (flow) => {
        examples(flow);
        onChoose();
      },
    });
    examples(this.chooser.chosen);
  }

  get chosen() {
    return this.chooser.chosen;
  }

  /** What a message that begins a conversation is to say of its flow. */
  get asked() {
    return this.chooser.asked;
  }

  /** Another conversation is on the screen. */
  show(conversation) {
    this.panel.show(conversation.profile);
    this.feed.refresh(conversation);
  }

  decide(action, answer) {
    this.feed.decide(this.shown(), action, answer);
  }

  async #begin(flow) {
    const from = this.shown();
    const key = this.#keys.get(flow) ?? newKey(); // after a failure it is the same beginning
    this.#keys.set(flow, key);
    try {
      const session = await this.api.begin(flow, spokenHere(), key);
      this.#keys.delete(flow);
      this.onBegun(session, from);
    } catch (problem) {
      if (!problem.isUnsure && !problem.isPassing) this.#keys.delete(flow);
      this.onProblem(problem);
    }
  }

  async #end() {
    const conversation = this.shown();
    const { answered, available } = conversation.profile;
    const left = available - answered;
    const sure = left <= 0 || (await confirmed({ title: "End this interview?", text: `${left} of ${available} questions have no answer yet. The conversation leaves the list, and its profile is shown.`, yes: "End it", no: "Go on" }));
    if (!sure) return;
    this.panel.busy = true;
    try {
      const { result } = await this.api.end(conversation.id);
      this.onEnded(conversation.id);
      showResult(profileTold(result) ?? conversation.profile);
    } catch (problem) {
      this.onProblem(problem);
    } finally {
      this.panel.busy = false;
    }
  }

  #changed(conversation) {
    if (conversation !== this.shown()) return;
    this.panel.show(conversation.profile);
    this.#announce(conversation);
    this.onCards(conversation);
  }

  /** Screen readers hear of what becomes of an action while it is on the screen. */
  #announce(conversation) {
    const { actions } = conversation;
    const before = this.#heard.get(conversation) ?? new Map();
    this.#heard.set(conversation, new Map(actions.map((action) => [action.action_id, action.status])));
    for (const action of actions) if ((before.get(action.action_id) ?? action.status) !== action.status) announce(spoken(action));
  }
}
