// A turn as a client sees it: a pure state machine over its events. No DOM, no network.
//
// Events carry `<attempt>-<seq>`, compared as a pair; `seq` counts from 0 within its attempt. So a client can tell
// what it has already seen (drop it) from what it is missing (ask again from its cursor).

export const OPEN = new Set(["sending", "queued", "running", "retrying"]);
const ENDS = { message_completed: "completed", message_cancelled: "cancelled", error: "failed" };

let made = 0;

/** Make a turn. `jobId` is null until the server has accepted it. */
export function newTurn(fields) {
  return {
    key: `turn-${++made}`,
    jobId: null,
    number: Infinity,
    input: "",
    createdAt: Date.now(),
    status: "queued",
    text: "",
    preview: null, // the answer so far from GET /jobs, while no events arrive
    incomplete: false, // the end was too long for an event: its text must be fetched
    model: null,
    usage: null,
    finishReason: null,
    quickReplies: [], // what may be chosen instead of typing
    error: null,
    attempt: 0,
    retry: null,
    retryOf: null, // the job that this one tries again, and stands in for
    againAt: null, // when the server says that it may be asked again
    held: null, // "unreachable" or "unable": why a message that is being sent has to wait
    stopping: false, // asked to stop
    cursor: null,
    askedAgainAt: null,
    heardAt: Date.now(), // when anything was last known of it
    newsAt: Date.now(), // when it last got on
    trace: [],
    events: 0,
    ...fields,
  };
}

export const isOpen = (turn) => OPEN.has(turn.status);
export const numberOf = (jobId) => Number(jobId.slice(jobId.indexOf(".") + 1));
export const cursorText = (turn) => (turn.cursor ? turn.cursor.join("-") : null);
export const shownText = (turn) => turn.preview ?? turn.text;

function parse(id) {
  const match = /^(\d+)-(\d+)$/.exec(id ?? "");
  return match ? [Number(match[1]), Number(match[2])] : null;
}

function compare(a, b) {
  if (!a || !b) return (a ? 1 : 0) - (b ? 1 : 0);
  return a[0] - b[0] || a[1] - b[1];
}

/** Whether an event comes after a cursor, both as text; without a cursor it does. */
export const isAfter = (id, cursor) => compare(parse(id), parse(cursor)) > 0;

/**
 * Take an event into the turn.
 * Returns "applied"; "stale" when it was seen before; "gap" when events before it are missing and the caller should
 * subscribe again from the cursor (asked for once per cursor: after that the event is taken as it is).
 */
export function apply(turn, event) {
  const id = parse(event.id) ?? parse(event.through);
  if (!id || compare(id, turn.cursor) <= 0) return "stale";
  if (leavesGap(turn, event, id)) {
    turn.askedAgainAt = cursorText(turn) ?? "start";
    return "gap";
  }
  turn.cursor = event.type === "message_snapshot" ? later(id, parse(event.through)) : id;
  turn.attempt = id[0];
  turn.heardAt = turn.newsAt = Date.now();
  turn.preview = null;
  turn.events += 1;
  note(turn, event);
  if (isOpen(turn) || event.type in ENDS) HANDLERS[event.type]?.(turn, event); // once ended a turn never changes
  return "applied";
}

/** The server cannot go on from the cursor and sends all it has: drop what events have said so far. */
export function forget(turn) {
  Object.assign(turn, { text: "", cursor: null, askedAgainAt: null, trace: [], events: 0 });
}

const later = (a, b) => (compare(a, b) >= 0 ? a : b);

function leavesGap(turn, event, id) {
  if (event.type !== "message_delta") return false; // all the others stand for themselves
  const follows = turn.cursor && id[0] === turn.cursor[0] && id[1] === turn.cursor[1] + 1;
  return !follows && turn.askedAgainAt !== (cursorText(turn) ?? "start");
}

const HANDLERS = {
  message_started(turn, event) {
    Object.assign(turn, { status: "running", retry: null, model: event.model ?? turn.model });
  },
  message_delta(turn, event) {
    turn.status = "running";
    if (!event.kind || event.kind === "text") turn.text += event.text ?? "";
  },
  message_retrying(turn, event) {
    const wait = (Number(event.retry_in) || 0) * 1000;
    // When the event is read again later, part of the time has passed; the server's clock may be ahead of ours.
    const at = Math.min(Date.now() + wait, (Date.parse(event.created_at) || Date.now()) + wait);
    Object.assign(turn, { status: "retrying", retry: { at, reason: event.reason ?? "", failures: event.failures ?? 0 } });
  },
  message_reset(turn, event) {
    Object.assign(turn, { status: "running", text: "", retry: null, model: event.model ?? turn.model });
  },
  message_snapshot(turn, event) {
    Object.assign(turn, { status: "running", text: event.text ?? "", retry: null });
  },
  message_completed: end,
  message_cancelled: end,
  error(turn, event) {
    end(turn, { ...event, text: turn.text });
    turn.error = { code: event.code, message: event.message, retryable: event.retryable };
  },
};

function end(turn, event) {
  const wasRead = !isOpen(turn) && turn.text !== ""; // over HTTP, before this event
  turn.status = ENDS[event.type];
  turn.endedAt = Date.parse(event.created_at) || Date.now();
  turn.stopping = false;
  if (typeof event.text === "string") turn.text = event.text;
  else turn.incomplete = !wasRead;
  Object.assign(turn, { retry: null, model: event.model ?? turn.model, usage: event.usage ?? turn.usage });
  turn.finishReason = event.finish_reason ?? null;
  turn.quickReplies = event.quick_replies ?? [];
}

/** Remember an event for the list below the answer; deltas in a row share a line. */
function note(turn, event) {
  const at = Date.parse(event.created_at) || Date.now();
  const last = turn.trace.at(-1);
  const chars = (event.text ?? "").length;
  if (event.type === "message_delta" && last?.type === "message_delta") {
    Object.assign(last, { lastId: event.id, until: at, count: last.count + 1, chars: last.chars + chars });
    return;
  }
  turn.trace.push({ type: event.type, id: event.id, lastId: event.id, at, until: at, count: 1, chars, event });
}

/** Take what GET /jobs/{id} says: the end when it has ended, else how far it is. */
export function applyJob(turn, job) {
  const before = progress(turn);
  takeJob(turn, job);
  turn.heardAt = Date.now();
  if (progress(turn) !== before) turn.newsAt = turn.heardAt;
}

const progress = (turn) => `${turn.status} ${turn.attempt} ${shownText(turn).length}`;

function takeJob(turn, job) {
  turn.model = job.model ?? turn.model;
  turn.retryOf = job.retry_of ?? turn.retryOf;
  if (OPEN.has(job.status)) {
    if (!isOpen(turn)) return; // said before its end, which an event was faster to tell
    const at = job.status === "queued" && Date.parse(job.retry_at);
    turn.retry = at ? { at, reason: job.last_error?.code ?? "", failures: job.failures ?? 0 } : null;
    turn.status = turn.retry ? "retrying" : job.status;
    turn.attempt = Math.max(turn.attempt, job.attempt);
    turn.stopping ||= job.cancelling === true;
    if ((job.answer_partial ?? "").length > turn.text.length) turn.preview = job.answer_partial;
    return;
  }
  Object.assign(turn, { status: job.status, preview: null, retry: null, incomplete: false, stopping: false, error: job.error ?? null });
  Object.assign(turn, { usage: job.usage ?? null, finishReason: job.finish_reason ?? null, attempt: job.attempt });
  if (job.answer !== null && job.answer !== undefined) turn.text = job.answer;
  turn.quickReplies = job.quick_replies ?? [];
  turn.startedAt = Date.parse(job.started_at) || null;
  turn.endedAt = Date.parse(job.ended_at) || turn.endedAt;
}

/** Take a message of GET /sessions/{id}/conversation. What events have said about an open turn is newer, and stays. */
export function applyMessage(turn, message) {
  if (message.role === "user") Object.assign(turn, { input: message.text, createdAt: Date.parse(message.created_at) });
  turn.retryOf = message.retry_of ?? turn.retryOf;
  if (OPEN.has(message.status)) return;
  turn.status = message.status;
  turn.error = message.error ?? turn.error;
  if (message.role === "assistant") {
    Object.assign(turn, { text: message.text, preview: null, incomplete: false });
    turn.endedAt ??= Date.parse(message.created_at);
    turn.quickReplies = message.quick_replies ?? [];
  }
}
