// One WebSocket for the whole page: authenticates, keeps itself alive, comes back with jittered back-off.
//
// It knows frames and close codes (docs/websocket.md), not conversations: whoever uses it subscribes again at every "open".

const FIRST_WAIT = 400;
const LONGEST_WAIT = 20_000;
const ANSWER_TIME = 8_000;
const QUICK_ANSWER_TIME = 3_000; // when there is reason to doubt that anybody is there
const STABLE = 10_000; // a connection that lasted for so long was a good one: the back-off begins anew

const TOKEN_CODES = new Set([4001, 4500]); // expired, not valid: come back with another one
const BUSY_CODES = new Set([1013, 4013]); // try later, asked too often

export class Socket {
  #ws = null;
  #tries = 0;
  #timer = null;
  #pinger = null;
  #deadline = null;
  #token = null;

  /** `onState({ state: "connecting" | "open" | "waiting" | "stopped", retryAt, code })`, `onFrame(frame)` once authenticated. */
  constructor(url, identity, { onState, onFrame }) {
    Object.assign(this, { url, identity, onState, onFrame, state: "connecting", since: Date.now() });
    addEventListener("online", () => this.hurry());
    addEventListener("offline", () => this.#probe(QUICK_ANSWER_TIME));
    document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && this.hurry());
  }

  get isOpen() {
    return this.state === "open";
  }

  async connect() {
    clearTimeout(this.#timer);
    this.#enter("connecting");
    this.#token = await this.identity.token();
    let ws;
    try {
      ws = this.#ws = new WebSocket(this.url);
    } catch {
      return this.#enter("stopped", { code: "address" }); // ws:// from an https page, or no address at all
    }
    ws.onopen = () => ws.send(JSON.stringify({ type: "auth", id: "auth", token: this.#token }));
    ws.onmessage = ({ data }) => ws === this.#ws && this.#receive(data);
    ws.onclose = ({ code, reason }) => ws === this.#ws && this.#closed(code, reason);
    this.#expectAnswer(ANSWER_TIME);
  }

  /** Send a frame; false when there is no connection (the caller will subscribe again at the next "open"). */
  send(frame) {
    if (!this.isOpen || this.#ws.readyState !== WebSocket.OPEN) return false;
    this.#ws.send(JSON.stringify(frame));
    return true;
  }

  /** The network is back, or somebody looks: do not wait for the back-off, and make sure that a connection lives. */
  hurry() {
    if (this.state === "waiting") this.connect();
    else this.#probe(QUICK_ANSWER_TIME);
  }

  /** Try once more after the server said not to. */
  insist() {
    if (this.state === "stopped") this.connect();
  }

  #receive(data) {
    clearTimeout(this.#deadline);
    let frame;
    try {
      frame = JSON.parse(data);
    } catch {
      return; // not a frame of ours; the watchdog would notice a server that says nothing else
    }
    if (frame?.type === "connected") {
      this.#keepAlive((frame.ping_interval || 25) * 1000);
      if (frame.auth_required === false) this.#authenticated();
      else this.#expectAnswer(ANSWER_TIME);
    } else if (frame?.type === "ack" && frame.id === "auth") this.#authenticated();
    else if (frame?.type && frame.type !== "pong") this.onFrame(frame);
  }

  #authenticated() {
    if (!this.isOpen) this.#enter("open");
  }

  #keepAlive(every) {
    clearInterval(this.#pinger);
    this.#pinger = setInterval(() => this.#probe(ANSWER_TIME), every);
  }

  #probe(time) {
    if (this.send({ type: "ping" })) this.#expectAnswer(time);
  }

  /** A connection that does not answer is dead, whatever the browser thinks. */
  #expectAnswer(time) {
    clearTimeout(this.#deadline);
    const ws = this.#ws;
    this.#deadline = setTimeout(() => {
      ws.close();
      if (ws === this.#ws) this.#closed(1006);
    }, time);
  }

  #closed(code, reason = "") {
    clearInterval(this.#pinger);
    clearTimeout(this.#deadline);
    this.#ws = null;
    if (this.isOpen && Date.now() - this.since > STABLE) this.#tries = 0;
    if (TOKEN_CODES.has(code)) this.#renewed().then(() => this.#later(code));
    else if (code >= 4500 && code < 5000) this.#enter("stopped", { code });
    else this.#later(code, /reconnect_in=([\d.]+)/.exec(reason)?.[1]);
  }

  async #renewed() {
    this.#enter("connecting");
    try {
      await this.identity.renew(this.#token);
    } catch {
      // The API is away too: the old token is refused again, and this is tried again.
    }
  }

  /** Come back after a while; a server that restarts says after how many seconds (`told`), so that not all come at once. */
  #later(code, told) {
    const slow = BUSY_CODES.has(code) ? 4 : 1;
    const backOff = Math.min(LONGEST_WAIT, FIRST_WAIT * slow * 2 ** this.#tries++) * (0.5 + Math.random() / 2);
    const wait = told ? Math.min(LONGEST_WAIT, parseFloat(told) * 1000) : backOff;
    this.#enter("waiting", { retryAt: Date.now() + wait });
    this.#timer = setTimeout(() => this.connect(), wait);
  }

  #enter(state, { retryAt = null, code = null } = {}) {
    const wasOpen = this.isOpen;
    this.state = state;
    if (wasOpen || state === "open") this.since = Date.now();
    this.onState({ state, retryAt, code });
  }
}
