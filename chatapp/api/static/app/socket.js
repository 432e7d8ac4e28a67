// One WebSocket for the whole page: authenticates, keeps itself alive, comes back with jittered back-off.
//
// It knows frames and close codes, not conversations: whoever uses it subscribes again at every "open".

const FIRST_WAIT = 400;
const LONGEST_WAIT = 20_000;
const ANSWER_TIME = 8_000;

export class Socket {
  #ws = null;
  #tries = 0;
  #timer = null;
  #pinger = null;
  #deadline = null;
  #token = null;

  /** `onState({ state: "connecting" | "open" | "waiting" | "stopped", retryAt })`, `onFrame(frame)` after authentication. */
  constructor(url, identity, { onState, onFrame }) {
    Object.assign(this, { url, identity, onState, onFrame, state: "connecting", connectionId: null, since: Date.now() });
    addEventListener("online", () => this.#hurry());
    addEventListener("offline", () => this.#probe());
    document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && this.#hurry());
  }

  get isOpen() {
    return this.state === "open";
  }

  async connect() {
    clearTimeout(this.#timer);
    this.#enter("connecting");
    this.#token = await this.identity.token();
    const ws = (this.#ws = new WebSocket(this.url));
    ws.onopen = () => ws.send(JSON.stringify({ type: "auth", id: "auth", token: this.#token }));
    ws.onmessage = ({ data }) => this.#receive(ws, data);
    ws.onclose = ({ code, reason }) => ws === this.#ws && this.#closed(code, reason);
    this.#expectAnswer(ws);
  }

  /** Send a frame; false when there is no connection (the caller will subscribe again at the next "open"). */
  send(frame) {
    if (!this.isOpen || this.#ws.readyState !== WebSocket.OPEN) return false;
    this.#ws.send(JSON.stringify(frame));
    return true;
  }

  #receive(ws, data) {
    if (ws !== this.#ws) return;
    clearTimeout(this.#deadline);
    let frame;
    try {
      frame = JSON.parse(data);
    } catch {
      return; // not a frame of ours; the watchdog would notice a server that says nothing else
    }
    if (frame.type === "connected") {
      this.connectionId = frame.connection_id;
      this.#keepAlive(ws, (frame.ping_interval || 25) * 1000);
      if (frame.auth_required === false) this.#authenticated();
    } else if (frame.type === "ack" && frame.id === "auth") this.#authenticated();
    else if (frame.type !== "pong") this.onFrame(frame);
  }

  #authenticated() {
    if (this.isOpen) return;
    this.#tries = 0;
    this.#enter("open");
  }

  #keepAlive(ws, every) {
    clearInterval(this.#pinger);
    this.#pinger = setInterval(() => this.#probe(ws), every);
  }

  #probe(ws = this.#ws) {
    if (!this.send({ type: "ping" })) return;
    this.#expectAnswer(ws);
  }

  /** A connection that does not answer is dead, whatever the browser thinks. */
  #expectAnswer(ws) {
    clearTimeout(this.#deadline);
    this.#deadline = setTimeout(() => {
      ws.onclose = null;
      ws.close();
      if (ws === this.#ws) this.#closed(1006);
    }, ANSWER_TIME);
  }

  #hurry() {
    if (this.state === "waiting") this.connect();
    else this.#probe();
  }

  #closed(code, reason = "") {
    clearInterval(this.#pinger);
    clearTimeout(this.#deadline);
    this.#ws = null;
    if (code === 4500 || code === 4001) {
      this.#enter("connecting");
      this.identity.renew(this.#token).then(() => this.#later(code), () => this.#later(code));
    } else if (code >= 4500 && code < 5000) this.#enter("stopped");
    else this.#later(code, /reconnect_in=([\d.]+)/.exec(reason)?.[1]);
  }

  /** Come back after a while; a server that restarts says after how many seconds (`told`), so that not all come at once. */
  #later(code, told) {
    const slow = code === 1013 || code === 4013 ? 4 : 1;
    const backOff = Math.min(LONGEST_WAIT, FIRST_WAIT * slow * 2 ** this.#tries++) * (0.5 + Math.random() / 2);
    const wait = told ? Number(told) * 1000 : backOff;
    this.#enter("waiting", Date.now() + wait);
    this.#timer = setTimeout(() => this.connect(), wait);
  }

  #enter(state, retryAt = null) {
    const wasOpen = this.isOpen;
    this.state = state;
    if (wasOpen || state === "open") this.since = Date.now();
    this.onState({ state, retryAt, tries: this.#tries });
  }
}
