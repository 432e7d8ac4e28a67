// The panel beside a conversation in which an interview's profile fills in. On narrow windows it is a line that opens.

import { byId, h, icon } from "./dom.js";

const WIDE = matchMedia("(min-width: 1080px)");

export class ProfilePanel {
  #shownAs = "";

  /** `onEnd()` when the interview is to end. */
  constructor({ onEnd }) {
    this.main = byId("main");
    this.panel = byId("profile");
    this.box = byId("profile-box");
    this.end = byId("profile-end");
    this.end.onclick = onEnd;
    const fold = () => (this.box.open = WIDE.matches);
    WIDE.addEventListener("change", fold);
    fold();
  }

  /** Show what is known; null hides the panel. */
  show(profile) {
    const shownAs = JSON.stringify(profile);
    if (shownAs === this.#shownAs) return;
    this.#shownAs = shownAs;
    this.panel.hidden = !profile;
    this.main.classList.toggle("with-profile", profile !== null);
    if (!profile) return;
    byId("profile-count").textContent = `${profile.answered} of ${profile.available}`;
    Object.assign(byId("profile-progress"), { max: profile.available, value: profile.answered });
    byId("profile-brief").textContent = profile.destination?.title ?? "";
    byId("profile-facts").replaceChildren(profileView(profile));
  }

  get busy() {
    return this.end.disabled;
  }

  set busy(busy) {
    this.end.disabled = busy;
  }
}

/** The answers in the order of the questions, and the destination; `ended`: nothing more is asked. */
export function profileView({ answers, destination }, { ended = false } = {}) {
  const rows = answers.map(({ key, label, value, isNext }) => {
    const row = h("div", { dataset: { answer: key } }, h("dt", {}, label), h("dd", { dir: "auto" }, value ?? unanswered(ended, isNext)));
    row.classList.toggle("known", value !== null);
    row.classList.toggle("next", value === null && isNext && !ended);
    return row;
  });
  return h("div", {}, h("dl.profile-list", {}, ...rows), destination && destinationView(destination));
}

function unanswered(ended, isNext) {
  if (ended) return "no answer";
  return isNext ? "being asked" : "not yet";
}

function destinationView({ title, reason, price }) {
  return h(
    "div.destination",
    {},
    h("span.destination-label", {}, icon("pin"), "Recommended destination"),
    h("strong", { dir: "auto" }, title),
    reason && h("p", { dir: "auto" }, reason),
    price && h("p.destination-price", { dir: "auto" }, price),
  );
}
