// Messages on their way: kept over a reload until the server has accepted them or the user takes them back.
//
// Each keeps its Idempotency-Key and all that the key stands for. Posted again it is the same message: when the 202 was lost, the
// server answers with the job that it has already.

import { keep, recall } from "./kept.js";

const NAME = "outbox";

export class Outbox {
  #entries = new Map((recall(NAME) ?? []).map((entry) => [entry.key, entry]));

  /** All that is on its way, oldest first. */
  get entries() {
    return [...this.#entries.values()];
  }

  /** Keep `{ key, asked, sessionId, tried, at }`; `sessionId` null begins a conversation, and may change until it was `tried`. */
  put(entry) {
    this.#entries.set(entry.key, entry);
    keep(NAME, this.entries);
  }

  remove(key) {
    if (this.#entries.delete(key)) keep(NAME, this.#entries.size ? this.entries : null);
  }
}
