// The composition root: makes the parts and says what happens when.

import { Api, fetchConfig, newKey } from "./api.js";
import { Composer } from "./composer.js";
import { Conversation } from "./conversation.js";
import { byId, h } from "./dom.js";
import { offerExamples } from "./examples.js";
import { Feed } from "./feed.js";
import { Identity } from "./identity.js";
import { Sidebar } from "./sidebar.js";
import { LinkState, announce, installTheme, toast } from "./signals.js";
import { Socket } from "./socket.js";
import { Thread } from "./thread.js";
import { applyJob, isOpen, newTurn, numberOf } from "./turn.js";

class Page {
  #known = new Map();
  #shown = null;

  constructor(config) {
    this.scripted = (config.models ?? []).some((name) => name.startsWith("scripted")); // the model server of `make run`
    this.identity = new Identity(config);
    this.api = new Api(this.identity);
    this.link = new LinkState();
    this.socket = new Socket(config.ws_url, this.identity, {
      onState: (state) => this.#linkChanged(state),
      onFrame: (frame) => this.feed.receive(frame),
    });
    this.feed = new Feed({
      api: this.api,
      socket: this.socket,
      onChange: (conversation, turn) => this.#turnChanged(conversation, turn),
      reload: (conversation) => this.#reload(conversation).catch(notify),
    });
    this.thread = new Thread({
      again: (turn) => this.#again(turn),
      cancel: (turn) => this.#cancel(this.#shown, turn),
      look: (turn) => this.#look(turn),
      older: (conversation) => this.#loadOlder(conversation).catch(notify),
    });
    this.sidebar = new Sidebar({
      api: this.api,
      onDeleted: (id) => this.#forget(id),
      onTitle: () => this.#title(),
      onProblem: notify,
    });
    this.composer = new Composer({ onSend: (text) => this.send(text), scripted: this.scripted });
    offerExamples({ scripted: this.scripted, onPick: (text) => this.send(text) });
    this.#offerModels(config.models ?? []);
    this.#bind();
  }

  start() {
    this.socket.connect();
    this.sidebar.load().then(() => this.#title(), notify);
    this.#route();
  }

  /** Post a message in the conversation that is shown. */
  send(text) {
    const conversation = this.#shown;
    const draft = { idempotencyKey: newKey(), body: { message: text, ...this.#model() } };
    const turn = conversation.add(newTurn({ ...draft, input: text, status: "sending" }));
    this.thread.refresh();
    this.thread.goToEnd();
    this.#post(conversation, turn);
  }

  #post(conversation, turn) {
    conversation.posting += 1;
    conversation.sending = conversation.sending.then(async () => {
      try {
        const session = conversation.id ? { session_id: conversation.id } : {};
        this.#accepted(conversation, turn, await this.api.chat({ ...turn.body, ...session }, turn.idempotencyKey));
      } catch (problem) {
        Object.assign(turn, { status: "unsent", error: problem });
        announce("The message was not sent.");
        this.#turnChanged(conversation, turn);
      } finally {
        conversation.posting -= 1;
      }
    });
  }

  #accepted(conversation, turn, answer) {
    const { job_id: jobId, session_id: sessionId, created_at: createdAt } = answer;
    Object.assign(turn, { jobId, number: numberOf(jobId), createdAt: Date.parse(createdAt), heardAt: Date.now() });
    turn.status = "queued";
    conversation.sort();
    if (!conversation.id) this.#born(conversation, sessionId);
    this.sidebar.touch(sessionId, turn.input);
    this.#title();
    this.feed.follow(conversation);
    if (this.#shown === conversation) this.thread.refresh();
    this.#turnChanged(conversation, turn);
  }

  #born(conversation, sessionId) {
    conversation.id = sessionId;
    this.#known.set(sessionId, conversation);
    if (this.#shown === conversation) history.replaceState(null, "", `#/${sessionId}`);
  }

  /** A message that was not sent keeps its key, so that it cannot be stored twice; a failed one is tried again as a new job. */
  #again(turn) {
    if (turn.status !== "unsent") return this.#retry(this.#shown, turn);
    const lost = turn.error.status === 0 || turn.error.status >= 500;
    Object.assign(turn, { status: "sending", error: null, idempotencyKey: lost ? turn.idempotencyKey : newKey() });
    this.thread.update(turn);
    this.#post(this.#shown, turn);
  }

  async #retry(conversation, turn) {
    conversation.posting += 1;
    try {
      const answer = await this.api.retry(turn.jobId);
      const known = conversation.find(answer.job_id); // another window was faster
      if (known) known.retryOf = turn.jobId;
      else this.#accepted(conversation, conversation.add(newTurn({ input: turn.input, retryOf: turn.jobId })), answer);
      if (this.#shown === conversation) this.thread.refresh();
    } catch (problem) {
      notify(problem);
      this.#turnChanged(conversation, turn);
    } finally {
      conversation.posting -= 1;
    }
  }

  async #cancel(conversation, turn) {
    turn.stopping = true;
    this.thread.update(turn);
    try {
      applyJob(turn, await this.api.cancel(turn.jobId));
    } catch (problem) {
      turn.stopping = false;
      notify(problem);
    }
    this.#turnChanged(conversation, turn);
  }

  async #look(turn) {
    try {
      applyJob(turn, await this.api.job(turn.jobId));
      this.thread.update(turn);
    } catch (problem) {
      notify(problem);
    }
  }

  #turnChanged(conversation, turn) {
    if (conversation === this.#shown) {
      this.thread.update(turn);
      if (turn.announced !== turn.status) announce(SAID[turn.status] ?? "");
      turn.announced = turn.status;
    } else if (!conversation.openTurns.length) this.feed.unfollow(conversation);
    this.sidebar.mark({ busy: new Set(this.feed.followed.filter((c) => c.openTurns.length).map((c) => c.id)) });
  }

  #linkChanged(state) {
    this.link.show(state);
    if (state.state === "open") this.feed.resume();
  }

  #route() {
    const id = /^#\/([0-9a-f]{32})$/.exec(location.hash)?.[1] ?? null;
    if (!this.#shown || (this.#shown.id ?? null) !== id || id === null) this.#open(id);
  }

  /** Show a conversation, or an empty one. A conversation with open turns stays followed when another is shown. */
  async #open(id) {
    const left = this.#shown;
    if (left?.id && !left.openTurns.length) this.feed.unfollow(left);
    const conversation = (id && this.#known.get(id)) || new Conversation(id);
    if (id) this.#known.set(id, conversation);
    this.#shown = conversation;
    this.thread.show(conversation);
    this.#title();
    this.composer.focus();
    if (!id || this.feed.isFollowing(conversation)) return;
    try {
      await this.#reload(conversation);
    } catch (problem) {
      if (problem.status !== 404) return notify(problem);
      toast("That conversation does not exist, or has expired.");
      this.#forget(id);
    }
  }

  async #reload(conversation) {
    const first = !conversation.loaded;
    const page = await this.api.conversation(conversation.id);
    conversation.merge(page.messages);
    if (first) conversation.older = page.next;
    this.feed.follow(conversation);
    for (const turn of conversation.turns) this.#turnChanged(conversation, turn);
    if (this.#shown !== conversation) return;
    this.thread.refresh();
    if (first) this.thread.goToEnd();
  }

  async #loadOlder(conversation) {
    const page = await this.api.conversation(conversation.id, conversation.older);
    conversation.merge(page.messages);
    conversation.older = page.next;
    this.thread.refresh();
  }

  #forget(id) {
    const conversation = this.#known.get(id);
    if (conversation) this.feed.unfollow(conversation);
    this.#known.delete(id);
    if (this.#shown?.id === id) this.newChat();
  }

  newChat() {
    history.pushState(null, "", "#/");
    this.#route();
    this.sidebar.drawer(false);
    this.composer.focus();
  }

  #title() {
    const title = this.sidebar.title(this.#shown?.id);
    byId("title").textContent = title;
    document.title = this.#shown?.id ? `${title} · chatapp` : "chatapp";
    this.sidebar.mark({ current: this.#shown?.id ?? null });
  }

  #offerModels(models) {
    byId("model").replaceChildren(...models.map((name) => h("option", { value: name }, name)));
    byId("model-label").hidden = models.length < 2;
  }

  #model() {
    const name = byId("model").value;
    return byId("model-label").hidden || !name ? {} : { model: name };
  }

  #bind() {
    installTheme();
    const mac = /mac|iphone|ipad/i.test(navigator.platform);
    byId("new-chat-key").textContent = mac ? "⌘ K" : "Ctrl K";
    byId("new-chat").onclick = () => this.newChat();
    byId("sign-out").hidden = this.identity.isDev;
    byId("sign-out").onclick = () => {
      this.identity.forget();
      location.assign("/");
    };
    addEventListener("hashchange", () => this.#route());
    addEventListener("popstate", () => this.#route());
    addEventListener("keydown", (event) => this.#key(event));
    document.addEventListener("visibilitychange", () => {
      if (document.visibilityState === "visible") this.sidebar.load().catch(notify); // another tab may have begun one
    });
  }

  #key(event) {
    if ((event.ctrlKey || event.metaKey) && !event.shiftKey && event.key.toLowerCase() === "k") {
      event.preventDefault();
      this.newChat();
    } else if (event.key === "/" && !/^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName)) {
      event.preventDefault();
      this.composer.field.focus();
    }
  }
}

const SAID = {
  queued: "Queued.",
  running: "The answer is being written.",
  retrying: "The attempt failed and will be repeated.",
  completed: "The answer is complete.",
  failed: "The answer failed.",
  cancelled: "Stopped.",
};

function notify(problem) {
  toast(problem.requestId ? `${problem.message} (request ${problem.requestId})` : problem.message);
}

try {
  new Page(await fetchConfig()).start();
} catch (problem) {
  byId("banner").textContent = `The page cannot start: ${problem.message} Reload to try again.`;
  byId("banner").hidden = false;
}
