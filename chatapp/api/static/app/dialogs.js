// Questions and results that are to be read before anything else.

import { byId } from "./dom.js";
import { profileView } from "./profile_panel.js";

/** Ask before something that cannot be undone: `{ title, text, yes, no }`. */
export function confirmed({ title, text, yes, no }) {
  const dialog = byId("confirm");
  byId("confirm-title").textContent = title;
  byId("confirm-text").textContent = text;
  byId("confirm-yes").textContent = yes;
  byId("confirm-no").textContent = no;
  dialog.returnValue = "no";
  dialog.showModal();
  return new Promise((done) => {
    dialog.onclose = () => done(dialog.returnValue === "yes");
  });
}

/** Show what an interview came to. */
export function showResult(profile) {
  byId("result-text").textContent = `${profile.answered} of ${profile.available} questions were answered.`;
  byId("result-facts").replaceChildren(profileView(profile, { ended: true }));
  byId("result").showModal();
}
