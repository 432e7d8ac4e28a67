// A conversation in memory: its turns, by job, in turn order. Knows nothing of the screen.

import { applyMessage, isOpen, newTurn, numberOf } from "./turn.js";

export class Conversation {
  constructor(id = null) {
    this.id = id;
    this.turns = [];
    this.older = null; // the cursor of the page before the first turn
    this.loaded = id === null;
    this.loading = false;
    this.readAt = Date.now();
    this.sending = Promise.resolve(); // messages of one conversation are posted one after the other
    this.posting = 0;
    this.logCursor = null; // of the session's own log
    this.flow = null; // how its messages are answered; null until that is known
    this.profile = null; // what an interview has learned (profile.js)
    this.actions = []; // what the flow has proposed to do, the newest first
  }

  find(jobId) {
    return this.turns.find((turn) => turn.jobId === jobId);
  }

  get openTurns() {
    return this.turns.filter((turn) => turn.jobId && isOpen(turn));
  }

  /** What is on the screen: a turn that was tried again makes room for the one that stands in for it. */
  get shown() {
    const replaced = new Set(this.turns.map((turn) => turn.retryOf));
    return this.turns.filter((turn) => !turn.jobId || !replaced.has(turn.jobId));
  }

  /** How many open turns stand before this one. */
  position(turn) {
    return this.turns.filter((other) => other !== turn && isOpen(other) && this.turns.indexOf(other) < this.turns.indexOf(turn)).length;
  }

  /** Whether a turn still waits for an answer of the user's: it is the last one, and what it proposed is not decided otherwise. */
  isAsking(turn) {
    const proposed = this.actions.filter((action) => turnOf(action) === turn.number);
    const undecided = !proposed.length || proposed.some(({ status }) => status === "staged");
    return undecided && this.shown.at(-1) === turn;
  }

  add(turn) {
    this.turns.push(turn);
    this.sort();
    return turn;
  }

  remove(turn) {
    this.turns = this.turns.filter((other) => other !== turn);
  }

  /** Turn order; what the server has not numbered yet stays at the end, as it was written. */
  sort() {
    this.turns.sort((a, b) => (a.number === b.number ? 0 : a.number - b.number));
  }

  /** Take a page of messages; `messages` come oldest first, a turn as one or two of them. */
  merge(messages) {
    for (const message of messages) {
      const turn = this.find(message.job_id) ?? this.add(fromMessage(message));
      applyMessage(turn, message);
    }
    this.loaded = true;
    this.readAt = Date.now();
  }
}

/** The number of the turn that proposed an action: its id begins with it. */
export const turnOf = ({ action_id: id }) => Number(/^a(\d+)-/.exec(id)?.[1] ?? NaN);

function fromMessage(message) {
  const { job_id: jobId, status } = message;
  return newTurn({ jobId, status, number: numberOf(jobId), createdAt: Date.parse(message.created_at) });
}
