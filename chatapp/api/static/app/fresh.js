// Keeps what was read from the server up to date: one request at a time, and another when something may have changed meanwhile.

const AGAIN = 2_000;

const pause = (ms) => new Promise((done) => setTimeout(done, ms));

export class Fresh {
  #busy = false;
  #stale = false;

  /** `read()` fetches, `take(what)` is given the newest; `isWanted()` says whether it is worth trying after a failure. */
  constructor({ read, take, isWanted, onProblem }) {
    Object.assign(this, { read, take, isWanted, onProblem, readAt: 0 });
  }

  /** Something may have changed: read again. */
  async again() {
    if (this.#busy) {
      this.#stale = true;
      return;
    }
    this.#busy = true;
    try {
      do await this.#once();
      while (this.#stale);
    } finally {
      this.#busy = false;
    }
  }

  /** Something is known better than an answer that is on its way: that one is not taken. */
  outdate() {
    this.#stale = this.#busy;
  }

  async #once() {
    this.#stale = false;
    this.readAt = Date.now();
    try {
      const found = await this.read();
      if (!this.#stale) this.take(found);
    } catch (problem) {
      if (problem.status === 404) return; // the conversation is gone; whoever shows it hears of that elsewhere
      if (!problem.isPassing) return this.onProblem(problem);
      await pause(Math.max(AGAIN, (problem.retryAfter ?? 0) * 1000));
      this.#stale = this.isWanted();
    }
  }
}
