// What a conversation's flow keeps beside the messages: its profile, the actions that it proposes, its line in the list.
//
// Events of the session's own log tell at once, and may be lost: all of it is read again when a conversation is opened and after
// the end of each of its turns. An event of an action says no more than that there is something to read, so that old and new
// never need to be told apart; of profiles the version tells.

import { Fresh } from "./fresh.js";
import { profileOf, profileTold } from "./profile.js";

const PLAIN = "chat"; // keeps nothing
const SILENCE = 10_000; // an action that is being carried out and says nothing for so long is looked up
const WITHOUT_SOCKET = 3_000;
const UNDER_WAY = new Set(["confirmed", "executing"]);

export class FlowFeed {
  #fresh = new WeakMap();

  /** `onChange(conversation)`, `onSession(session)` with its line in the list; `shown()` gives the conversation on the screen. */
  constructor({ api, socket, shown, onChange, onSession, onProblem }) {
    Object.assign(this, { api, socket, shown, onChange, onSession, onProblem });
    setInterval(() => this.#watch(), 1_000);
  }

  /** Read everything again. */
  refresh(conversation) {
    if (!conversation.id || conversation.flow === PLAIN) return;
    this.#of(conversation).session.again();
    if (conversation.flow) this.#of(conversation).actions.again();
  }

  /** Take an event of the session's own log. Types that are not known are ignored. */
  take(conversation, event) {
    if (event.type === "profile_updated") this.#takeProfile(conversation, profileTold(event));
    else if (/^action_/.test(event.type)) this.#of(conversation).actions.again();
  }

  /** Answer a proposed action: "confirm" or "cancel". */
  async decide(conversation, action, answer) {
    const { actions } = this.#of(conversation);
    try {
      const now = await this.api.decide(conversation.id, action.action_id, answer);
      actions.outdate();
      this.#takeActions(conversation, conversation.actions.map((other) => (other.action_id === now.action_id ? now : other)));
    } catch (problem) {
      this.onProblem(problem);
      this.onChange(conversation);
      actions.again(); // somebody else was faster, perhaps
    }
  }

  #of(conversation) {
    const known = this.#fresh.get(conversation);
    if (known) return known;
    const common = { isWanted: () => this.shown() === conversation, onProblem: this.onProblem };
    const made = {
      session: new Fresh({ ...common, read: () => this.#read(conversation), take: (found) => this.#takeSession(conversation, found) }),
      actions: new Fresh({ ...common, read: () => this.api.actions(conversation.id), take: (found) => this.#takeActions(conversation, found) }),
    };
    this.#fresh.set(conversation, made);
    return made;
  }

  async #read(conversation) {
    const [session, state] = await Promise.all([this.api.session(conversation.id), this.api.state(conversation.id)]);
    return { session, state };
  }

  #takeSession(conversation, { session, state }) {
    const isNews = !conversation.flow && session.flow !== PLAIN;
    conversation.flow = session.flow;
    this.onSession(session);
    this.#takeProfile(conversation, profileOf(state));
    if (isNews) this.#of(conversation).actions.again();
  }

  #takeProfile(conversation, profile) {
    if (!profile || profile.version < (conversation.profile?.version ?? 0)) return;
    conversation.profile = profile;
    this.onChange(conversation);
  }

  #takeActions(conversation, actions) {
    conversation.actions = actions;
    this.onChange(conversation);
  }

  #watch() {
    const conversation = this.shown();
    if (!conversation?.actions.length) return;
    const { actions } = this.#of(conversation);
    const now = Date.now();
    const patience = this.socket.isOpen ? SILENCE : WITHOUT_SOCKET;
    const isDue = ({ status, expires_at: until }) =>
      UNDER_WAY.has(status) ? now - actions.readAt > patience : status === "staged" && now > Date.parse(until) && actions.readAt < Date.parse(until);
    if (conversation.actions.some(isDue)) actions.again();
  }
}
