// The state of the connection: a word in the corner, and a banner when something is wrong for longer than a moment.

import { byId } from "./dom.js";

const LINK = {
  open: ["Live", "Events arrive over the WebSocket"],
  connecting: ["Connecting", "Opening the WebSocket"],
  waiting: ["Reconnecting", "The WebSocket is away; answers are polled meanwhile"],
  stopped: ["Polling", "The WebSocket was refused; answers are polled instead"],
};
const REFUSALS = {
  address: "its address cannot be used from this page (PUBLIC_WS_URL)",
  4500: "the access token is not valid",
  4501: "the server could not read what this page said",
  4502: "this page was too slow to say who you are",
  4507: "this address may not connect (CORS_ORIGINS)",
};
const SHOW_AFTER = 1_500; // a connection that is back by then is not worth a banner

export class LinkState {
  #link = { state: "connecting" };
  #awaySince = Date.now();
  #timer = null;

  /** `onInsist()`: the user wants to connect although the server said not to. */
  constructor({ onInsist }) {
    byId("banner-retry").onclick = onInsist;
    addEventListener("online", () => this.#paint());
    addEventListener("offline", () => this.#paint());
    this.#paint();
  }

  /** Show what the socket says of itself. */
  show(link) {
    if (link.state !== "open" && this.#link.state === "open") this.#awaySince = Date.now();
    this.#link = link;
    const [label, title] = LINK[link.state];
    const element = byId("link-state");
    element.dataset.state = link.state;
    element.title = title;
    element.lastElementChild.textContent = label;
    this.#paint();
  }

  #paint() {
    clearTimeout(this.#timer);
    const words = this.#words();
    byId("banner").hidden = !words;
    byId("banner-retry").hidden = this.#link.state !== "stopped" || !navigator.onLine;
    write("banner-text", words ?? "");
    write("banner-when", words ? this.#when() : "");
    if (this.#link.state !== "open" || !navigator.onLine) this.#timer = setTimeout(() => this.#paint(), 500);
  }

  #words() {
    const { state, code } = this.#link;
    if (!navigator.onLine) return "You are offline. What you send waits here until the connection is back.";
    if (state === "stopped") return `Live updates were refused: ${REFUSALS[code] ?? `code ${code}`}. Answers are fetched every few seconds instead.`;
    if (state === "open" || Date.now() - this.#awaySince < SHOW_AFTER) return null;
    return "The live connection is away. Nothing that was accepted is lost.";
  }

  /** Apart from the words: it changes every second, and screen readers need not say so. */
  #when() {
    const { state, retryAt } = this.#link;
    if (!navigator.onLine || state === "stopped") return "";
    const seconds = Math.ceil(((retryAt ?? 0) - Date.now()) / 1000);
    return state === "waiting" && seconds > 0 ? `Trying again in ${seconds} s.` : "Trying again…";
  }
}

/** Untouched when nothing has changed: a status that is written again is read out again. */
function write(id, text) {
  if (byId(id).textContent !== text) byId(id).textContent = text;
}
