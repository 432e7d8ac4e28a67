// Who is talking: the development token that /app-config hands out, or one that the user pastes.

import { fetchConfig } from "./api.js";
import { byId } from "./dom.js";
import { forgetAll, keep, recall } from "./kept.js";

const KEPT = "token";

export class Identity {
  #token;
  #asking = null;

  constructor(config) {
    this.isDev = config.dev_token !== null && config.dev_token !== undefined;
    this.#token = this.isDev ? config.dev_token : recall(KEPT);
  }

  /** The token; asks for one when there is none. */
  async token() {
    return this.#token ?? this.#ask("");
  }

  /** Replace a token that was refused. `refused` tells it from one that came meanwhile. */
  async renew(refused) {
    if (this.#token !== refused) return this.token();
    if (this.isDev) {
      this.#token = (await fetchConfig()).dev_token;
      return this.#token;
    }
    this.#token = null;
    keep(KEPT, null);
    return this.#ask("That token was refused: it is wrong or has expired.");
  }

  /** Sign out: what this tab keeps of the user goes too. */
  forget() {
    this.#token = null;
    forgetAll();
  }

  #ask(reason) {
    this.#asking ??= new Promise((done) => {
      const dialog = byId("sign-in");
      const field = byId("token");
      const error = byId("sign-in-error");
      error.textContent = reason;
      error.hidden = !reason;
      dialog.oncancel = (event) => event.preventDefault();
      dialog.querySelector("form").onsubmit = (event) => {
        event.preventDefault();
        this.#token = field.value.trim().replace(/^bearer\s+/i, "");
        if (!this.#token) return;
        keep(KEPT, this.#token);
        field.value = "";
        this.#asking = null;
        dialog.close();
        done(this.#token);
      };
      dialog.showModal();
    });
    return this.#asking;
  }
}
