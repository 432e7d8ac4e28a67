// The list of conversations: newest first, by day; open, rename, delete. Other tabs hear of what changes here.

import { confirmed } from "./dialogs.js";
import { byId, h, icon } from "./dom.js";
import { destinationOf } from "./profile.js";
import { dayOf, flowName, titleOf } from "./words.js";

export class Sidebar {
  #sessions = new Map();
  #next = null;
  #current = null;
  #busy = new Set();
  #tabs = new BroadcastChannel("chatapp.sessions");
  #loaded = false;

  /** `api`; `onDeleted(id)`, `onTitle()`, `onProblem(problem)`. */
  constructor({ api, onDeleted, onTitle, onProblem }) {
    Object.assign(this, { api, onDeleted, onTitle, onProblem });
    this.list = byId("sessions");
    this.app = byId("app");
    byId("open-side").onclick = () => this.drawer(true);
    byId("close-side").onclick = () => this.drawer(false);
    byId("scrim").onclick = () => this.drawer(false);
    addEventListener("keydown", (event) => event.key === "Escape" && this.drawer(false));
    this.#tabs.onmessage = ({ data }) => this.#changedElsewhere(data);
  }

  /** Open or close the drawer of narrow windows. */
  drawer(open) {
    if (open === this.app.classList.contains("side-open")) return;
    this.app.classList.toggle("side-open", open);
    byId(open ? "close-side" : "open-side").focus();
  }

  /** Fetch the newest page again; what is known beyond it stays. */
  async load() {
    const page = await this.api.sessions();
    this.#take(page.sessions);
    if (!this.#loaded) this.#next = page.next;
    this.#loaded = true;
    this.paint();
    this.onTitle();
  }

  /** Fetch the list if that could not be done before. */
  async catchUp() {
    if (!this.#loaded) await this.load();
  }

  /** What the server says of one conversation. */
  take(session) {
    const isNew = !this.#sessions.has(session.session_id);
    this.#take([session]);
    this.paint();
    this.onTitle();
    if (isNew) this.#tabs.postMessage({});
  }

  /** How the messages of a conversation are answered; null when it is not in the list. */
  flow(sessionId) {
    return this.#sessions.get(sessionId)?.flow ?? null;
  }

  /** A conversation was removed on the server: say so, here and in the other tabs. */
  gone(sessionId) {
    this.#tabs.postMessage({ gone: sessionId });
    this.onDeleted(sessionId);
  }

  /** A conversation is gone: here, or on the server. */
  drop(sessionId) {
    if (this.#sessions.delete(sessionId)) this.paint();
  }

  /** Another tab of this browser, perhaps of another user: what is there is asked of the server. */
  #changedElsewhere({ gone }) {
    if (gone) this.onDeleted(gone);
    else this.load().catch(() => {}); // a courtesy: the list is fetched again when the tab is looked at
  }

  async #loadMore() {
    const page = await this.api.sessions(this.#next);
    this.#take(page.sessions);
    this.#next = page.next;
    this.paint();
  }

  #take(sessions) {
    for (const session of sessions) this.#sessions.set(session.session_id, session);
  }

  /** A conversation was used just now: it goes to the top. */
  touch(sessionId, text) {
    const known = this.#sessions.get(sessionId) ?? { session_id: sessionId, title: text };
    this.#sessions.set(sessionId, { ...known, updated_at: new Date().toISOString() });
    this.paint();
    this.#tabs.postMessage({});
  }

  title(sessionId) {
    return sessionId ? nameOf(this.#sessions.get(sessionId)) : "New chat";
  }

  mark({ current = this.#current, busy = this.#busy }) {
    if (current === this.#current && busy.size === this.#busy.size && [...busy].every((id) => this.#busy.has(id))) return;
    this.#current = current;
    this.#busy = busy;
    this.paint();
  }

  paint() {
    if (this.list.querySelector("input")) return; // a title is being edited
    const sorted = [...this.#sessions.values()].sort((a, b) => Date.parse(b.updated_at) - Date.parse(a.updated_at));
    const parts = [];
    let heading = null;
    for (const session of sorted) {
      const label = dayOf(Date.parse(session.updated_at));
      if (label !== heading) parts.push(h("h2", {}, (heading = label)));
      parts.push(this.#item(session));
    }
    if (!parts.length) parts.push(h("p.none", {}, "Your conversations will be listed here."));
    if (this.#next) parts.push(h("button.more", { onclick: () => this.#loadMore().catch(this.onProblem) }, "Show older"));
    const focused = focusedIn(this.list);
    this.list.replaceChildren(...parts);
    if (focused) this.list.querySelector(`[data-session="${focused.id}"]`)?.children[focused.place]?.focus();
  }

  #item(session) {
    const { session_id: id } = session;
    const name = nameOf(session);
    const about = aboutOf(session);
    const lines = h("span.session-lines", {}, h("span", { dir: "auto" }, name), about && h("small", { dir: "auto" }, about));
    const hover = [name, about].filter(Boolean).join("\n");
    const link = h("a.session-link", { href: `#/${id}`, title: hover, onclick: () => this.drawer(false) }, h("i.busy"), lines);
    if (id === this.#current) link.setAttribute("aria-current", "page");
    const row = h("div.session", { dataset: { session: id } }, link);
    row.classList.toggle("is-busy", this.#busy.has(id));
    row.append(
      h("button.icon-button.small", { type: "button", ariaLabel: `Rename ${name}`, title: "Rename", onclick: () => this.#rename(row, session) }, icon("pen")),
      h("button.icon-button.small", { type: "button", ariaLabel: `Delete ${name}`, title: "Delete", onclick: () => this.#delete(session) }, icon("bin")),
    );
    return row;
  }

  #rename(row, session) {
    const field = h("input", { value: session.title ?? "", maxLength: 200, ariaLabel: "Title" });
    let done = false;
    const finish = (keep) => {
      if (done) return;
      done = true;
      field.remove();
      const title = field.value.replace(/\s+/g, " ").trim();
      if (keep && title && title !== session.title) this.#save(session, title);
      this.paint();
    };
    field.onblur = () => finish(true);
    field.onkeydown = (event) => {
      event.stopPropagation();
      if (event.isComposing || (event.key !== "Enter" && event.key !== "Escape")) return;
      finish(event.key === "Enter");
      this.#linkOf(session)?.focus();
    };
    row.replaceChildren(field);
    field.select();
  }

  #linkOf({ session_id: id }) {
    return this.list.querySelector(`[data-session="${id}"] a`);
  }

  async #save({ session_id: id, title: before }, title) {
    this.#retitle(id, title);
    try {
      await this.api.rename(id, title);
      this.#tabs.postMessage({});
    } catch (problem) {
      this.#retitle(id, before);
      this.onProblem(problem);
      this.paint();
    }
  }

  /** Change the title of what is known now: the list may have been read again while the new one was being written. */
  #retitle(id, title) {
    const session = this.#sessions.get(id);
    if (session) session.title = title;
    this.onTitle();
  }

  async #delete(session) {
    const text = `“${nameOf(session)}” can then be reached by nobody. What is stored of it is erased some days later.`;
    if (!(await confirmed({ title: "Delete this conversation?", text, yes: "Delete", no: "Keep it" }))) return;
    try {
      await this.api.remove(session.session_id);
    } catch (problem) {
      if (problem.status !== 404) return this.onProblem(problem);
    }
    this.gone(session.session_id);
  }
}

const isPlain = (flow) => !flow || flow === "chat";

/** A conversation that its flow has begun has no title yet. */
const nameOf = (session) => (session?.title || isPlain(session?.flow) ? titleOf(session?.title) : flowName(session.flow));

/** The second line of a conversation: its flow, what that says of it, and the destination if that does not name it. */
function aboutOf({ flow, summary, recommended_destination: found }) {
  if (isPlain(flow)) return summary ?? "";
  const destination = destinationOf(found)?.title ?? "";
  const name = flowName(flow);
  const parts = [(summary ?? "").startsWith(name) ? "" : name, summary, (summary ?? "").includes(destination) ? "" : destination];
  return parts.filter(Boolean).join(" · ");
}

/** Which session's link or button has the focus. */
function focusedIn(list) {
  const row = list.contains(document.activeElement) && document.activeElement.closest(".session");
  return row ? { id: row.dataset.session, place: [...row.children].indexOf(document.activeElement) } : null;
}
