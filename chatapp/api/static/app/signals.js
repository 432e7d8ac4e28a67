// What the page says about itself: the connection, passing notices, the theme.

import { byId, h } from "./dom.js";

const LINK = {
  open: ["Live", "Events arrive over the WebSocket"],
  connecting: ["Connecting", "Opening the WebSocket"],
  waiting: ["Reconnecting", "The WebSocket is away; answers are polled meanwhile"],
  stopped: ["Polling", "The WebSocket was refused; answers are polled instead"],
};
const SHOW_AFTER = 2_500; // a connection that is back by then is not worth a banner

export class LinkState {
  #timer = null;
  #countdown = null;

  show({ state, retryAt }) {
    const [label, title] = LINK[state];
    const element = byId("link-state");
    element.dataset.state = state;
    element.title = title;
    element.lastElementChild.textContent = label;
    if (state === "open") return this.#hide();
    this.retryAt = retryAt;
    this.state = state;
    this.#timer ??= setTimeout(() => this.#banner(), SHOW_AFTER);
  }

  #banner() {
    const banner = byId("banner");
    const write = () => {
      banner.textContent = this.#words();
    };
    write();
    banner.hidden = false;
    this.#countdown ??= setInterval(write, 1_000);
  }

  #words() {
    if (this.state === "stopped") return "Live updates were refused. Answers are fetched every few seconds instead.";
    const seconds = Math.ceil(((this.retryAt ?? 0) - Date.now()) / 1000);
    const when = this.state === "waiting" && seconds > 0 ? `trying again in ${seconds} s` : "trying again";
    const what = navigator.onLine ? "The live connection is away" : "You are offline";
    return `${what}, ${when}. Nothing that was accepted is lost.`;
  }

  #hide() {
    clearTimeout(this.#timer);
    clearInterval(this.#countdown);
    this.#timer = this.#countdown = null;
    byId("banner").hidden = true;
  }
}

/** Show a passing notice. */
export function toast(text) {
  const note = h("div.toast", {}, text);
  byId("toasts").append(note);
  setTimeout(() => note.remove(), 6_000);
}

/** Say something to screen readers only. */
export function announce(text) {
  byId("announce").textContent = text;
}

export function installTheme() {
  byId("theme").onclick = () => {
    const dark = matchMedia("(prefers-color-scheme: dark)").matches;
    const now = document.documentElement.dataset.theme ?? (dark ? "dark" : "light");
    const next = now === "dark" ? "light" : "dark";
    document.documentElement.dataset.theme = next;
    try {
      localStorage.setItem("chatapp.theme", next);
    } catch {
      // Storage is switched off: the choice lasts as long as the page.
    }
  };
}
