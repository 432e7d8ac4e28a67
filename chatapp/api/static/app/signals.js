// What is said to screen readers only, and the theme.

import { byId } from "./dom.js";

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
