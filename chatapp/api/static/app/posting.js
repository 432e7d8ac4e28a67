// What the user asks of the server: post a message, try a turn again, stop it.
//
// No message is lost: it stays in the outbox until the server has accepted it, and is posted again for as long as nothing is
// heard, under the same Idempotency-Key, so that it is stored once. The messages of a conversation go one after the other.

import { newKey } from "./api.js";
import { Outbox } from "./outbox.js";
import { applyJob, newTurn, numberOf } from "./turn.js";

const FIRST_WAIT = 500;
const LONGEST_WAIT = 15_000;

export class Posting {
  #outbox = new Outbox();
  #sleepers = new Set();

  /**
   * `onAccepted(conversation, turn, sessionId)`, `onChange(conversation, turn)`, `onListed(conversation)` when turns were added,
   * removed or put in order, `onProblem(problem)`; `onSettled(conversation)` after a try, whatever came of it.
   */
  constructor({ api, onAccepted, onChange, onListed, onProblem, onSettled }) {
    Object.assign(this, { api, onAccepted, onChange, onListed, onProblem, onSettled });
    addEventListener("online", () => this.wake());
  }

  /** Post what an earlier life of this tab could not. `conversationOf(sessionId or null)` says where it belongs. */
  restore(conversationOf) {
    for (const { key, asked, sessionId, tried, at } of this.#outbox.entries) {
      const conversation = conversationOf(sessionId);
      const turn = this.#add(conversation, { idempotencyKey: key, asked, createdAt: at, held: "unreachable" });
      if (tried) turn.postedTo = sessionId;
      this.#enqueue(conversation, turn);
    }
  }

  /** Post a message in a conversation. `asked` is the request without its session. */
  send(conversation, asked) {
    const turn = this.#add(conversation, { idempotencyKey: newKey(), asked });
    this.#keep(conversation, turn);
    this.#enqueue(conversation, turn);
    this.onListed(conversation);
  }

  /** Try again what was not sent (the same message) or did not end well (a new job for the same question). */
  again(conversation, turn) {
    if (turn.status !== "unsent") return this.#retry(conversation, turn);
    if (!turn.error.isUnsure) this.#renew(turn);
    Object.assign(turn, { status: "sending", error: null, againAt: null });
    this.onChange(conversation, turn);
    return this.#enqueue(conversation, turn);
  }

  /** Take back a message that was not sent. One that is being posted at this moment may still be accepted. */
  withdraw(conversation, turn) {
    turn.withdrawn = true;
    if (turn.status === "unsent") this.#drop(conversation, turn);
    else this.wake();
  }

  /** Ask for the end of a turn. It is shown as stopping until it has ended. */
  async cancel(conversation, turn) {
    turn.stopping = true;
    this.onChange(conversation, turn);
    try {
      applyJob(turn, await this.api.cancel(turn.jobId));
    } catch (problem) {
      turn.stopping = false;
      this.onProblem(problem);
    }
    this.onChange(conversation, turn);
  }

  /** The server can probably be reached again: wait no longer. */
  wake() {
    for (const wake of [...this.#sleepers]) wake();
  }

  #add(conversation, fields) {
    return conversation.add(newTurn({ ...fields, input: fields.asked.message, status: "sending" }));
  }

  #keep(conversation, { idempotencyKey: key, asked, postedTo, createdAt: at }) {
    const tried = postedTo !== undefined;
    this.#outbox.put({ key, asked, sessionId: tried ? postedTo : conversation.id, tried, at });
  }

  /** What was surely refused may be sent as another message: where it belongs may have changed. */
  #renew(turn) {
    this.#outbox.remove(turn.idempotencyKey);
    Object.assign(turn, { idempotencyKey: newKey(), postedTo: undefined });
  }

  #enqueue(conversation, turn) {
    conversation.sending = conversation.sending.then(() => this.#post(conversation, turn));
    return conversation.sending;
  }

  async #post(conversation, turn) {
    if (turn.postedTo === undefined) turn.postedTo = conversation.id; // from here on part of what the key stands for
    this.#keep(conversation, turn);
    try {
      const answer = await this.#deliver(conversation, turn);
      if (!answer) return this.#drop(conversation, turn);
      this.#outbox.remove(turn.idempotencyKey);
      this.#accepted(conversation, turn, answer);
    } catch (problem) {
      if (problem.status === 404) this.#outbox.remove(turn.idempotencyKey); // its conversation is gone
      Object.assign(turn, { status: "unsent", held: null, error: problem, againAt: againAt(problem) });
      this.onChange(conversation, turn);
    }
  }

  /** Post until there is an answer; null when the message was taken back. Throws a refusal. */
  async #deliver(conversation, turn) {
    const body = { ...turn.asked, ...(turn.postedTo && { session_id: turn.postedTo }) };
    for (let tries = 0; !turn.withdrawn; tries++) {
      try {
        return await this.#counted(conversation, () => this.api.chat(body, turn.idempotencyKey));
      } catch (problem) {
        if (!problem.isPassing) throw problem;
        const backOff = Math.min(LONGEST_WAIT, FIRST_WAIT * 2 ** tries) * (0.5 + Math.random() / 2);
        turn.held = problem.status === 0 ? "unreachable" : "unable";
        this.onChange(conversation, turn);
        await this.#sleep(Math.max((problem.retryAfter ?? 0) * 1000, backOff));
      }
    }
    return null;
  }

  async #retry(conversation, turn) {
    try {
      const answer = await this.#counted(conversation, () => this.api.retry(turn.jobId));
      const known = conversation.find(answer.job_id); // another window was faster
      if (known) known.retryOf = turn.jobId;
      else this.#accepted(conversation, conversation.add(newTurn({ input: turn.input, retryOf: turn.jobId })), answer);
    } catch (problem) {
      turn.againAt = againAt(problem);
      this.onProblem(problem);
    }
    this.onListed(conversation);
    this.onChange(conversation, turn);
  }

  /** Count what is being posted: an event of an unknown job may be an answer to it that is faster than the 202. */
  async #counted(conversation, ask) {
    conversation.posting += 1;
    try {
      return await ask();
    } finally {
      conversation.posting -= 1;
      setTimeout(() => this.onSettled(conversation)); // once the answer has been taken
    }
  }

  #accepted(conversation, turn, { job_id: jobId, session_id: sessionId, created_at: createdAt }) {
    const known = conversation.find(jobId); // accepted in an earlier life, and loaded since
    if (known) conversation.remove(turn);
    else Object.assign(turn, { jobId, number: numberOf(jobId), createdAt: Date.parse(createdAt), status: "queued", held: null });
    turn.heardAt = turn.newsAt = Date.now();
    conversation.sort();
    this.onAccepted(conversation, known ?? turn, sessionId);
    this.onListed(conversation);
    this.onChange(conversation, known ?? turn);
  }

  #drop(conversation, turn) {
    this.#outbox.remove(turn.idempotencyKey);
    conversation.remove(turn);
    this.onListed(conversation);
  }

  #sleep(ms) {
    return new Promise((done) => {
      const wake = () => {
        clearTimeout(timer);
        this.#sleepers.delete(wake);
        done();
      };
      const timer = setTimeout(wake, ms);
      this.#sleepers.add(wake);
    });
  }
}

const againAt = (problem) => (problem.retryAfter ? Date.now() + problem.retryAfter * 1000 : null);
