// Joins the socket to the conversations: who is followed, what is missing, and what to do without a socket.

import { keep, recall } from "./kept.js";
import { apply, applyJob, cursorText, forget, isAfter, isOpen, numberOf } from "./turn.js";

const SILENCE = 10_000; // an open turn that says nothing for so long is looked up
const GRACE = 3_000; // a socket that is away for less is not worth polling for
const REFUSED_WAIT = 2_000;
const POLL_WAIT = 3; // seconds: short, so that the answer so far is shown as it grows
const READ_EVERY = 5_000; // without a socket nobody tells what another window has asked

export class Feed {
  #conversations = new Map();
  #early = new Map();
  #polling = new Set();
  #reloading = new Set();

  /**
   * `onChange(conversation, turn)` after anything changed; `reload(conversation, jobIds)` when there are turns it does not know,
   * `refresh(conversation)` when there may be;
   * `onNotice(notice)` with what is no answer: `{ id, title?, text }`; `onFlow(conversation, event)` with what a flow tells.
   */
  constructor({ api, socket, onChange, onNotice, onFlow, reload, refresh }) {
    Object.assign(this, { api, socket, onChange, onNotice, onFlow, reload, refresh });
    setInterval(() => this.#watch(), 1_000);
  }

  get followed() {
    return [...this.#conversations.values()];
  }

  isFollowing(conversation) {
    return this.#conversations.get(conversation.id) === conversation;
  }

  /**
   * Follow a conversation from its first open turn on, or from its last: the server replays what came after the cursor, every
   * turn that began since, and goes live. So what another window asked meanwhile is not missed either.
   */
  follow(conversation) {
    const { id } = conversation;
    // What was said of the conversation while no page was open is shown too, once in a tab.
    const logCursor = (conversation.logCursor ??= recall(`log.${id}`) ?? "0-0");
    this.#conversations.set(id, conversation);
    this.#drain(conversation);
    const from = conversation.openTurns[0] ?? conversation.turns.findLast((turn) => turn.jobId);
    const resume = from && { job_id: from.jobId, after: cursorText(from) };
    this.socket.send({ type: "subscribe", id, session_id: id, ...(resume && { resume }), log_after: logCursor });
  }

  /** A message was posted, or could not be: what came meanwhile for jobs that nobody knows is looked up. */
  settle(conversation) {
    if (!conversation.posting && this.isFollowing(conversation)) this.#drain(conversation);
  }

  unfollow(conversation) {
    if (!this.#conversations.delete(conversation.id)) return;
    this.socket.send({ type: "unsubscribe", session_id: conversation.id });
  }

  /** The socket is open (again): take up every conversation where it was left. */
  resume() {
    for (const conversation of this.followed) this.follow(conversation);
  }

  /** Take a frame from the server. Types that are not known are ignored. */
  receive(frame) {
    if (frame.type === "subscribed") this.#subscribed(frame);
    else if (frame.type === "refused") this.#refused(frame);
    else if (frame.type === "notification") this.onNotice(frame);
    else if (frame.job_id && frame.id && frame.session_id) this.#event(frame);
  }

  #subscribed({ session_id: sessionId, turns = [], log }) {
    const conversation = this.#conversations.get(sessionId);
    if (!conversation) return;
    if (log?.recovered === false) conversation.logCursor = log.after; // it was lost, and begins anew
    const unknown = turns.map(({ job_id: jobId }) => jobId).filter((jobId) => !conversation.find(jobId));
    if (unknown.length && !conversation.posting) this.#unknown(conversation, unknown);
    for (const { job_id: jobId, recovered } of turns) {
      const turn = conversation.find(jobId);
      if (turn?.cursor && isOpen(turn) && recovered === false) forget(turn);
    }
  }

  #refused({ id, retryable }) {
    const conversation = this.#conversations.get(id); // we subscribe with the session's id as the frame's
    if (conversation && retryable) setTimeout(() => this.isFollowing(conversation) && this.follow(conversation), REFUSED_WAIT);
  }

  #event(event) {
    const conversation = this.#conversations.get(event.session_id);
    if (!conversation) return;
    if (numberOf(event.job_id) === 0) return this.#ownLog(conversation, event);
    const turn = conversation.find(event.job_id);
    if (turn) return this.#take(conversation, turn, event);
    if (!conversation.posting) return this.#unknown(conversation, [event.job_id]); // another tab's: its events are replayed afterwards
    this.#early.set(event.job_id, [...(this.#early.get(event.job_id) ?? []), event]); // ours perhaps, faster than the 202
  }

  /** The session's own log, `.0`: what is no answer. Its ids rise as those of turns do. */
  #ownLog(conversation, event) {
    if (!isAfter(event.id, conversation.logCursor)) return;
    conversation.logCursor = event.id;
    keep(`log.${conversation.id}`, event.id);
    if (event.type === "notice") this.onNotice(event);
    else this.onFlow(conversation, event);
  }

  #unknown(conversation, jobIds) {
    if (this.#reloading.has(conversation)) return;
    this.#reloading.add(conversation);
    this.reload(conversation, jobIds).finally(() => this.#reloading.delete(conversation));
  }

  #drain(conversation) {
    for (const turn of conversation.turns) {
      const early = this.#early.get(turn.jobId);
      if (!early) continue;
      this.#early.delete(turn.jobId);
      for (const event of early) this.#take(conversation, turn, event, { draining: true });
    }
    const others = [...this.#early.keys()].filter((jobId) => jobId.startsWith(`${conversation.id}.`));
    for (const jobId of others) this.#early.delete(jobId);
    if (others.length) this.#unknown(conversation, others);
  }

  #take(conversation, turn, event, { draining = false } = {}) {
    const outcome = apply(turn, event);
    if (outcome === "gap" && !draining) this.follow(conversation); // who drains is about to subscribe anyway
    if (outcome !== "applied") return;
    if (turn.incomplete) this.#look(conversation, turn);
    this.onChange(conversation, turn);
  }

  #watch() {
    const away = !this.socket.isOpen && Date.now() - this.socket.since > GRACE;
    for (const conversation of this.followed) {
      const head = conversation.openTurns[0];
      if (away && !head && !conversation.posting && Date.now() - conversation.readAt > READ_EVERY) this.#refresh(conversation);
      if (head && (away || Date.now() - head.heardAt > SILENCE)) this.#look(conversation, head, away ? POLL_WAIT : 0);
      const cut = conversation.turns.find((turn) => turn.incomplete);
      if (cut && Date.now() - cut.heardAt > GRACE) this.#look(conversation, cut);
    }
  }

  #refresh(conversation) {
    conversation.readAt = Date.now(); // unreachable: read again later; the page already says so
    if (this.#reloading.has(conversation)) return;
    this.#reloading.add(conversation);
    this.refresh(conversation).finally(() => this.#reloading.delete(conversation));
  }

  /** Ask the truth about a turn. */
  async #look(conversation, turn, wait = 0) {
    if (this.#polling.has(turn.jobId)) return;
    this.#polling.add(turn.jobId);
    try {
      applyJob(turn, await this.api.job(turn.jobId, wait));
      this.onChange(conversation, turn);
    } catch (problem) {
      if (problem.status === 404) {
        Object.assign(turn, { status: "failed", error: { code: "not_found", message: "This job no longer exists." } });
        this.onChange(conversation, turn);
      }
      turn.heardAt = Date.now(); // unreachable: asked again later; the page already says so
    } finally {
      this.#polling.delete(turn.jobId);
    }
  }
}
