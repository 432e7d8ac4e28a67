// The HTTP API. Every failure becomes a Problem (RFC 9457) whose `message` can be shown.

export class Problem extends Error {
  constructor({ status = 0, code = "unreachable", detail, title, retryable = true, requestId = null, retryAfter = null }) {
    super(detail || title || "The server cannot be reached.");
    Object.assign(this, { status, code, retryable, requestId, retryAfter });
  }

  /** Nothing is known, or something is away for the moment: the same request is worth sending again by itself. */
  get isPassing() {
    return [0, 502, 504].includes(this.status) || (this.status === 503 && this.code !== "provider_unavailable");
  }

  /** The server may have done what was asked all the same. */
  get isUnsure() {
    return this.status === 0 || (this.status >= 500 && this.status !== 503);
  }
}

const LONGEST_ANSWER = 30_000; // beside a `wait`: who says nothing for so long is not going to

const pause = (ms) => new Promise((done) => setTimeout(done, ms));

export class Api {
  /** `identity.token()` gives the token, `identity.renew()` another one after a 401. */
  constructor(identity) {
    this.identity = identity;
  }

  sessions(cursor = null) {
    return this.#call("GET", `/sessions${query({ limit: 30, cursor })}`).then(page);
  }

  conversation(sessionId, cursor = null) {
    return this.#call("GET", `/sessions/${sessionId}/conversation${query({ limit: 30, cursor })}`).then(page);
  }

  /** Begin a conversation whose flow speaks first. The same key begins the same one, however often it is sent. */
  begin(flow, language, key) {
    return this.#insist("/sessions", { body: { flow, language }, headers: { "Idempotency-Key": key } });
  }

  /** End a conversation. Gives what its flow came to. */
  end(sessionId) {
    return this.#insist(`/sessions/${sessionId}/end`);
  }

  session(sessionId) {
    return this.#call("GET", `/sessions/${sessionId}`);
  }

  state(sessionId) {
    return this.#call("GET", `/sessions/${sessionId}/state`);
  }

  /** What the flow has proposed to do, the newest first. */
  actions(sessionId) {
    return this.#call("GET", `/sessions/${sessionId}/actions`).then(({ actions }) => actions);
  }

  /** Say yes or no to a proposed action: `answer` is "confirm" or "cancel". Gives the action as it is now. */
  decide(sessionId, actionId, answer) {
    return this.#insist(`/sessions/${sessionId}/actions/${actionId}/${answer}`);
  }

  rename(sessionId, title) {
    return this.#call("PATCH", `/sessions/${sessionId}`, { body: { title } });
  }

  remove(sessionId) {
    return this.#call("DELETE", `/sessions/${sessionId}`);
  }

  job(jobId, wait = 0) {
    return this.#call("GET", `/jobs/${jobId}${query({ wait: wait || null })}`);
  }

  /** Stop a job. Gives the job as it is now. */
  cancel(jobId) {
    return this.#insist(`/jobs/${jobId}/cancel`);
  }

  /** Try an ended job again. Gives the new job, the same one however often it is asked for. */
  retry(jobId) {
    return this.#insist(`/jobs/${jobId}/retry`);
  }

  /** Post a message. The key makes it safe to send again when the answer was lost. */
  chat(message, key) {
    return this.#call("POST", "/chat", { body: message, headers: { "Idempotency-Key": key } });
  }

  /** Post what may be posted twice, and again when the answer was lost. */
  async #insist(path, options) {
    for (let tries = 0; ; tries++) {
      try {
        return await this.#call("POST", path, options);
      } catch (problem) {
        if (!problem.isPassing || tries === 3) throw problem;
        await pause(Math.max((problem.retryAfter ?? 0) * 1000, 300 * 2 ** tries * (0.5 + Math.random())));
      }
    }
  }

  async #call(method, path, { body, headers = {} } = {}, renewed = false) {
    const token = await this.identity.token();
    const response = await request(method, path, body, { ...headers, Authorization: `Bearer ${token}` });
    if (response.status === 401 && !renewed) {
      await this.identity.renew(token);
      return this.#call(method, path, { body, headers }, true);
    }
    return read(response);
  }
}

/** GET /app-config: the only call without a token. */
export async function fetchConfig() {
  return read(await request("GET", "/app-config"));
}

/** A random key; `crypto.randomUUID` exists on secure pages only. */
export function newKey() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

const page = (answer) => ({ ...answer, next: answer.cursor });

function query(values) {
  const given = Object.entries(values).filter(([, value]) => value !== null);
  return given.length ? `?${new URLSearchParams(given)}` : "";
}

async function request(method, path, body, headers = {}) {
  if (body !== undefined) headers["Content-Type"] = "application/json";
  try {
    const signal = AbortSignal.timeout(LONGEST_ANSWER);
    return await fetch(path, { method, headers, signal, body: body === undefined ? undefined : JSON.stringify(body) });
  } catch {
    throw new Problem({}); // fetch says no more than "failed"
  }
}

async function read(response) {
  const isJson = (response.headers.get("Content-Type") ?? "").includes("json");
  const answer = isJson ? await response.json().catch(() => null) : null;
  if (response.ok && isJson && answer === null) throw new Problem({}); // cut off within the answer
  if (response.ok) return answer;
  const seconds = Number(response.headers.get("Retry-After"));
  throw new Problem({
    ...answer,
    detail: [answer?.detail, ...(answer?.errors ?? []).map((error) => error.detail)].filter(Boolean).join(" ") || `HTTP ${response.status}`,
    status: response.status,
    retryable: answer?.retryable ?? response.status >= 500,
    requestId: answer?.request_id ?? response.headers.get("X-Request-ID"),
    retryAfter: Number.isFinite(seconds) && seconds > 0 ? seconds : null,
  });
}
