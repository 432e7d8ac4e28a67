// The box to write in.

import { byId, h } from "./dom.js";
import { keep, recall } from "./kept.js";

const FAULTS = [
  ["[[delay=0.1]]", "a slow model: 0.1 s between tokens"],
  ["[[tokens=400]]", "a long answer, 400 tokens"],
  ["[[ttft=3]]", "3 s until the first token"],
  ["[[status=500]]", "the provider answers 500"],
  ["[[status=429 retry_after=2]]", "the provider is rate limited"],
  ["[[fail=2]]", "fails twice, then answers"],
  ["[[cut=10]]", "the connection drops after 10 chunks"],
  ["[[echo=**text**]]", "answers with exactly that"],
];

export class Composer {
  #last = "";
  #draft = draftOf(null);

  /** `onSend(text)`; `onEscape()` when the key closed nothing here. */
  constructor({ onSend, onEscape, scripted }) {
    this.field = byId("message");
    this.button = byId("send");
    this.faults = byId("faults");
    Object.assign(this, { onSend, onEscape });
    byId("composer").onsubmit = (event) => {
      event.preventDefault();
      this.#send();
    };
    this.field.oninput = () => this.#changed();
    this.field.onkeydown = (event) => this.#key(event);
    if (scripted) this.#offerFaults();
    this.field.disabled = false; // in the page's source it is: what is typed before anybody listens would be lost
    this.open(null);
  }

  /** Show what was begun in a conversation (null: a new one) and not sent. */
  open(sessionId) {
    this.#draft = draftOf(sessionId);
    this.field.value = recall(this.#draft) ?? "";
    this.#grow();
  }

  /** A new conversation got its id: what is being written belongs to it. */
  born(sessionId) {
    keep(this.#draft, null);
    this.#draft = draftOf(sessionId);
    keep(this.#draft, this.field.value);
  }

  focus() {
    if (matchMedia("(pointer: fine)").matches) this.field.focus({ preventScroll: true });
  }

  set text(text) {
    this.field.value = text;
    this.#changed();
  }

  /** Put a message back to be changed; what is being written stays, below it. */
  edit(text) {
    this.text = [text, this.field.value.trim()].filter(Boolean).join("\n\n");
    this.field.focus();
  }

  #changed() {
    keep(this.#draft, this.field.value);
    this.#grow();
  }

  #key(event) {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      this.#send();
    } else if (event.key === "ArrowUp" && !this.field.value && this.#last) {
      event.preventDefault();
      this.text = this.#last;
    } else if (event.key === "Escape" && !event.isComposing) this.onEscape();
  }

  #send() {
    const text = this.field.value.trim();
    if (!text) return;
    this.#last = text;
    this.faults.open = false;
    this.onSend(text);
    this.text = ""; // last: it is in the outbox by now
    this.focus();
  }

  #grow() {
    this.button.disabled = !this.field.value.trim();
    this.field.style.height = "auto";
    this.field.style.height = `${this.field.scrollHeight}px`;
  }

  #offerFaults() {
    const items = FAULTS.map(([directive, meaning]) =>
      h("button", { type: "button", onclick: () => this.#insert(directive) }, h("code", {}, directive), h("span", {}, meaning)),
    );
    byId("faults-panel").append(h("p", {}, "The scripted model obeys directives in your message:"), ...items);
    this.faults.hidden = false;
    document.addEventListener("click", (event) => {
      if (!this.faults.contains(event.target)) this.faults.open = false;
    });
    this.faults.onkeydown = (event) => {
      if (event.key !== "Escape" || !this.faults.open) return;
      event.stopPropagation();
      this.faults.open = false;
      this.field.focus();
    };
  }

  #insert(directive) {
    const before = this.field.value.trimEnd();
    this.text = before ? `${before} ${directive}` : `Hello ${directive}`;
    this.faults.open = false;
    this.field.focus();
  }
}

const draftOf = (sessionId) => `draft.${sessionId ?? "new"}`;
