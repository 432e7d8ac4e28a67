// The composition root: makes the parts and says what happens when.

import { Api, fetchConfig } from "./api.js";
import { Composer } from "./composer.js";
import { Conversation } from "./conversation.js";
import { byId, h } from "./dom.js";
import { Feed } from "./feed.js";
import { Flows } from "./flows.js";
import { Identity } from "./identity.js";
import { LinkState } from "./link.js";
import { notice, notify, toast } from "./notices.js";
import { Posting } from "./posting.js";
import { Sidebar } from "./sidebar.js";
import { announce, installTheme } from "./signals.js";
import { Socket } from "./socket.js";
import { Thread } from "./thread.js";
import { applyJob, isOpen, newTurn, numberOf } from "./turn.js";

const START_AGAIN = 2_000;
const READ_AGAIN = 2_000;
const READ_OUT = 1_000; // characters of an answer that screen readers are given when it is complete

class Page {
  #known = new Map();
  #unborn = new Set(); // conversations whose first message has not been accepted yet
  #shown = null;

  constructor(config) {
    this.scripted = (config.models ?? []).some((name) => name.startsWith("scripted")); // the model server of `make run`
    this.identity = new Identity(config);
    this.api = new Api(this.identity);
    this.link = new LinkState({ onInsist: () => this.socket.insist() });
    this.socket = new Socket(config.ws_url, this.identity, {
      onState: (state) => this.#linkChanged(state),
      onFrame: (frame) => this.feed.receive(frame),
    });
    this.feed = new Feed({
      api: this.api,
      socket: this.socket,
      onChange: (conversation, turn) => this.#turnChanged(conversation, turn),
      onNotice: notice,
      onFlow: (conversation, event) => this.flows.feed.take(conversation, event),
      reload: (conversation, jobIds) => this.#read(conversation, jobIds).catch(notify),
      refresh: (conversation) => this.#reload(conversation).catch(() => {}),
    });
    this.posting = new Posting({
      api: this.api,
      onAccepted: (conversation, turn, sessionId) => this.#accepted(conversation, turn, sessionId),
      onChange: (conversation, turn) => this.#turnChanged(conversation, turn),
      onListed: (conversation) => conversation === this.#shown && this.thread.refresh(),
      onProblem: notify,
      onSettled: (conversation) => this.feed.settle(conversation),
    });
    this.thread = new Thread(this.#actions());
    this.sidebar = new Sidebar({
      api: this.api,
      onDeleted: (id) => this.#forget(id),
      onTitle: () => this.#title(),
      onProblem: notify,
    });
    this.composer = new Composer({ onSend: (text) => this.send(text), onEscape: () => this.#stopHead(), scripted: this.scripted });
    this.flows = new Flows({
      api: this.api,
      socket: this.socket,
      flows: config.flows ?? [],
      scripted: this.scripted,
      shown: () => this.#shown,
      onBegun: (session, from) => this.#begun(session, from),
      onEnded: (id) => this.sidebar.gone(id),
      onCards: () => this.thread.refresh(),
      onSession: (session) => this.sidebar.take(session),
      onChoose: () => this.composer.focus(),
      onPick: (text) => this.send(text),
      onProblem: notify,
    });
    this.#offerModels(config.models ?? []);
    this.#bind();
  }

  start() {
    const begun = new Conversation();
    this.posting.restore((id) => (id ? this.#conversation(id) : begun));
    if (begun.turns.length) this.#unborn.add(begun);
    this.socket.connect();
    untilAnswered(() => this.sidebar.catchUp()).catch(notify);
    this.#route();
  }

  /** Post a message in the conversation that is shown. */
  send(text) {
    const conversation = this.#shown;
    const begins = !conversation.id;
    if (begins) {
      this.#unborn.add(conversation);
      conversation.flow = this.flows.chosen;
    }
    this.posting.send(conversation, { message: text, ...this.#model(), ...(begins && this.flows.asked) });
    this.thread.goToEnd();
  }

  #actions() {
    return {
      again: (turn) => this.#leave(() => this.posting.again(this.#shown, turn)),
      cancel: (turn) => this.#leave(() => this.posting.cancel(this.#shown, turn)),
      edit: (turn) => this.#edit(turn),
      look: (turn) => this.#look(turn),
      older: (conversation) => this.#loadOlder(conversation).catch(notify),
      reply: (text) => this.#leave(() => this.send(text)),
      decide: (action, answer) => this.#leave(() => this.flows.decide(action, answer)),
    };
  }

  /** The button that was pressed is about to vanish: the focus goes to the box. */
  #leave(action) {
    action();
    this.composer.focus();
  }

  #edit(turn) {
    if (turn.status === "unsent" || turn.status === "sending") this.posting.withdraw(this.#shown, turn);
    this.composer.edit(turn.input);
  }

  #stopHead() {
    const head = this.#shown.openTurns.find((turn) => !turn.stopping);
    if (head) this.posting.cancel(this.#shown, head);
  }

  #accepted(conversation, turn, sessionId) {
    if (!conversation.id) this.#born(conversation, sessionId);
    this.sidebar.touch(sessionId, turn.input);
    this.#title();
    this.feed.follow(conversation);
  }

  #born(conversation, sessionId) {
    conversation.id = sessionId;
    this.#unborn.delete(conversation);
    this.#known.set(sessionId, conversation);
    if (this.#shown !== conversation) return;
    history.replaceState(null, "", `#/${sessionId}`);
    this.composer.born(sessionId);
  }

  /** A flow speaks first: its turn has no question. It is shown unless the user has gone elsewhere meanwhile. */
  #begun({ job, ...session }, from) {
    const id = session.session_id;
    const conversation = this.#conversation(id);
    Object.assign(conversation, { loaded: true, flow: session.flow });
    if (job && !conversation.find(job.job_id)) conversation.add(unasked(job));
    this.feed.follow(conversation);
    this.sidebar.take(session);
    if (this.#shown !== from || from.turns.length) return;
    history.pushState(null, "", `#/${id}`);
    this.#route();
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
    if (!isOpen(turn) && turn.jobId && !turn.settled) this.flows.feed.refresh(conversation);
    turn.settled = !isOpen(turn);
    if (conversation === this.#shown) {
      this.thread.update(turn);
      if (turn.announced !== turn.status) announce(said(turn));
      turn.announced = turn.status;
    } else if (!conversation.openTurns.length) this.feed.unfollow(conversation);
    this.sidebar.mark({ busy: new Set(this.feed.followed.filter((c) => c.openTurns.length).map((c) => c.id)) });
  }

  #linkChanged(state) {
    this.link.show(state);
    if (state.state !== "open") return;
    this.feed.resume();
    this.posting.wake();
    this.sidebar.catchUp().catch(notify);
    if (this.#shown?.loaded) this.flows.feed.refresh(this.#shown);
    if (this.#shown && !this.#shown.loaded) this.#load(this.#shown);
  }

  #route() {
    const id = /^#\/([0-9a-f]{32})$/.exec(location.hash)?.[1] ?? null;
    if (!this.#shown || (this.#shown.id ?? null) !== id || id === null) this.#open(id);
  }

  /** Show a conversation, or an empty one. A conversation with open turns stays followed when another is shown. */
  #open(id) {
    const left = this.#shown;
    if (left?.id && !left.openTurns.length) this.feed.unfollow(left);
    this.#shown = this.#conversation(id);
    this.thread.show(this.#shown);
    this.composer.open(id);
    this.composer.focus();
    this.#title();
    this.#shown.flow ??= this.sidebar.flow(id);
    this.flows.show(this.#shown);
    if (id && !(this.#shown.loaded && this.feed.isFollowing(this.#shown))) this.#load(this.#shown);
  }

  /** Find a conversation. Without an id that is an empty one, or the one whose first message is held up. */
  #conversation(id) {
    if (!id) return [...this.#unborn].find(({ turns }) => turns.some((turn) => turn.held || turn.status === "unsent")) ?? new Conversation();
    if (!this.#known.has(id)) this.#known.set(id, new Conversation(id));
    return this.#known.get(id);
  }

  async #load(conversation) {
    if (conversation.loading) return;
    conversation.loading = true;
    try {
      await this.#read(conversation);
    } catch (problem) {
      if (problem.status !== 404) return notify(problem); // tried again when the socket opens
      toast("That conversation does not exist, or has expired.");
      this.#forget(conversation.id);
    } finally {
      conversation.loading = false;
    }
  }

  #read(conversation, jobIds) {
    return untilAnswered(
      () => this.#reload(conversation, jobIds),
      () => conversation === this.#shown || this.feed.isFollowing(conversation),
    );
  }

  /** Read the newest messages, and the jobs among `jobIds` that have none: a flow's own words that are not said yet. */
  async #reload(conversation, jobIds = []) {
    const first = !conversation.loaded;
    const page = await this.api.conversation(conversation.id);
    const seen = new Set([...conversation.turns, ...page.messages.map((message) => ({ jobId: message.job_id }))].map(({ jobId }) => jobId));
    const wanted = seen.size ? jobIds : [...jobIds, `${conversation.id}.1`];
    await Promise.all([...new Set(wanted)].filter((jobId) => !seen.has(jobId)).map((jobId) => this.#readUnasked(conversation, jobId)));
    conversation.merge(page.messages);
    for (const turn of conversation.turns) turn.settled ??= !isOpen(turn);
    if (first) conversation.older = page.next;
    this.feed.follow(conversation);
    for (const turn of conversation.turns) this.#turnChanged(conversation, turn);
    if (this.#shown !== conversation) return;
    this.thread.refresh();
    if (first) this.thread.goToEnd();
  }

  async #readUnasked(conversation, jobId) {
    try {
      const job = await this.api.job(jobId);
      if (!conversation.find(jobId)) applyJob(conversation.add(unasked(job)), job);
    } catch (problem) {
      if (problem.status !== 404) throw problem; // a conversation without any turn
    }
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
    this.sidebar.drop(id);
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
    byId("skip").onclick = (event) => {
      event.preventDefault(); // the address names the conversation
      this.composer.field.focus();
    };
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

/** A turn of the flow's own, as a job tells of it. */
const unasked = ({ job_id: jobId, created_at: at }) => newTurn({ jobId, number: numberOf(jobId), createdAt: Date.parse(at), status: "queued" });

const SAID = {
  queued: "Queued.",
  running: "The answer is being written.",
  retrying: "The attempt failed and will be repeated.",
  failed: "The answer failed.",
  unsent: "The message was not sent.",
  cancelled: "Stopped.",
};

/** An answer is read out once, when it is complete, and not token by token. */
const said = (turn) => (turn.status === "completed" ? `The answer: ${turn.text.slice(0, READ_OUT)}` : SAID[turn.status] ?? "");

/** Ask; while the server is away again and again, for as long as `isWanted()`. The first failure is shown. */
async function untilAnswered(ask, isWanted = () => true) {
  for (let tries = 0; !tries || isWanted(); tries++) {
    try {
      return await ask();
    } catch (problem) {
      if (!problem.isPassing) throw problem;
      if (!tries) notify(problem);
      const wait = Math.max((problem.retryAfter ?? 0) * 1000, READ_AGAIN * (0.5 + Math.random()));
      await new Promise((done) => setTimeout(done, wait));
    }
  }
  return null;
}

/** Begin, and keep trying while the server is away. */
async function begin() {
  try {
    const config = await fetchConfig();
    byId("banner").hidden = true;
    new Page(config).start();
  } catch (problem) {
    byId("banner-text").textContent = `The page cannot start: ${problem.message}`;
    byId("banner-when").textContent = problem.isPassing ? "Trying again…" : "";
    byId("banner").hidden = false;
    if (!problem.isPassing) throw problem;
    setTimeout(begin, START_AGAIN);
  }
}

await begin();
