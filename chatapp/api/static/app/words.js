// How states, times and numbers are said.

const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const day = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short" });
const number = new Intl.NumberFormat();

export const timeOf = (ms) => clock.format(ms);
export const count = (n, one, many = `${one}s`) => `${number.format(n)} ${n === 1 ? one : many}`;

/** Milliseconds as "840 ms" or "2.4 s". */
export function span(ms, digits = 1) {
  if (ms < 1000) return `${Math.max(0, Math.round(ms))} ms`;
  return ms < 60_000 ? `${(ms / 1000).toFixed(digits)} s` : `${Math.floor(ms / 60_000)} min ${Math.round((ms % 60_000) / 1000)} s`;
}

/** The heading that a conversation of that time stands under. */
export function dayOf(ms, now = Date.now()) {
  const midnight = new Date(now).setHours(0, 0, 0, 0);
  if (ms >= midnight) return "Today";
  if (ms >= midnight - 86_400_000) return "Yesterday";
  if (ms >= midnight - 6 * 86_400_000) return "This week";
  return day.format(ms);
}

/** A job id that fits a line: "3fa2…9c41.7". */
export const shortJob = (jobId) => jobId.replace(/^(.{4}).*(.{4}\.\d+)$/, "$1…$2");

/** A title without the directives of the scripted model, unless nothing else is left. */
export function titleOf(title) {
  const line = (title ?? "").replace(/\s+/g, " ").trim();
  return line.replace(/\[\[.*?(\]\]|$)/g, "").replace(/ {2,}/g, " ").trim() || line.replace(/\[\[|\]\]/g, "") || "Untitled";
}

const QUIET = 6_000; // so long nothing new is no news

/** "in 4 s", or "now" once the time has come. */
export function inSeconds(at, now = Date.now()) {
  const seconds = Math.ceil((at - now) / 1000);
  return seconds > 0 ? `in ${seconds} s` : "now";
}

/** What an open turn is doing. `position` is the number of open turns before it. */
export function stateOf(turn, position, now = Date.now()) {
  if (turn.held) return HELD[turn.held];
  if (turn.status === "sending") return "Sending";
  if (turn.status === "queued" && position > 0 && !turn.stopping) return waitingFor(position);
  if (turn.status === "retrying" && !turn.stopping) return retrying(turn, now);
  const quiet = now - turn.newsAt;
  return quiet < QUIET ? doing(turn) : `${doing(turn, true)}, no news for ${span(quiet - (quiet % 1000), 0)}`;
}

const HELD = {
  unreachable: "Waiting for the connection. It will be sent by itself",
  unable: "The server cannot take it now. It will be sent by itself",
};

function doing(turn, quiet = false) {
  if (turn.stopping) return "Stopping…";
  if (turn.status === "queued") return quiet ? "Still waiting for a worker" : "Queued, waiting for a worker";
  const what = quiet ? "Still working" : "Answering";
  return turn.attempt > 1 ? `${what}, attempt ${turn.attempt}` : what;
}

const waitingFor = (position) => (position === 1 ? "Queued, waiting for the previous turn" : `Queued, ${position} before this one`);

function retrying({ attempt, retry }, now) {
  if (!retry.failures) return `The model cannot be asked yet (${retry.reason}). Next attempt ${inSeconds(retry.at, now)}`;
  return `Attempt ${attempt} failed${retry.reason ? ` (${retry.reason})` : ""}. Attempt ${attempt + 1} ${inSeconds(retry.at, now)}`;
}

/** What is wrong with a turn, as `{ title, text, code }`; null when nothing is. */
export function problemOf(turn, now = Date.now()) {
  const { status, error } = turn;
  if (status === "cancelled") return { title: "Stopped.", text: turn.text ? "What had been answered by then was kept." : "Nothing had been answered yet." };
  if (status !== "failed" && status !== "unsent") return null;
  const why = (error?.message || "No reason was given").replace(/[^.!?…]$/, "$&.");
  return { title: status === "failed" ? "The answer failed." : "Not sent.", text: `${why} ${nextStep(turn, now)}`.trim(), code: error?.code };
}

function nextStep({ error, againAt }, now) {
  if (againAt) return againAt > now ? `It can be tried again ${inSeconds(againAt, now)}.` : "It can be tried again now.";
  return error?.retryable === false ? "As it is, it would fail again." : "";
}

/** Whether asking the same again makes sense. */
export const isRetryable = (turn) => turn.status === "cancelled" || turn.error?.retryable !== false;

/** Tokens of an ended turn: "12 → 48 tokens". */
export function usageOf(usage) {
  if (!usage) return null;
  return `${usage.estimated ? "~" : ""}${number.format(usage.input_tokens)} → ${number.format(usage.output_tokens)} tokens`;
}

const ENDED_EARLY = { length: "cut at the token limit", content_filter: "stopped by the content filter", tool_calls: "asked for a tool" };
export const finishOf = (turn) => ENDED_EARLY[turn.finishReason] ?? null;

/** How units are written that stand at the end of a field's name. */
const UNITS = { mmhg: "mmHg", bpm: "bpm", percent: "%", celsius: "°C", "mg dl": "mg/dL" };

/** A name of a program, for people: "heart_rate_bpm" becomes "Heart rate (bpm)". */

export function labelOf(name) {
  const words = String(name).replace(/([a-z])([A-Z])/g, "$1 $2").replace(/[_-]+/g, " ").trim();
  const label = words.charAt(0).toUpperCase() + words.slice(1);
  const unit = Object.keys(UNITS).find((word) => label.endsWith(` ${word}`));
  return unit ? `${label.slice(0, -unit.length - 1)} (${UNITS[unit]})` : label;
}

const INSTANT = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$/;
const instant = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", year: "numeric", hour: "2-digit", minute: "2-digit", timeZoneName: "short" });

/** Any JSON value as a line of text. */
export function readable(value) {
  if (value === null || value === undefined) return "";
  if (Array.isArray(value)) return value.map(readable).join(", ");
  if (typeof value === "object") return JSON.stringify(value);
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (typeof value === "number") return number.format(value);
  return INSTANT.test(value) && Date.parse(value) ? instant.format(Date.parse(value)) : value;
}

/** The name of a flow, for people. */
export const flowName = (flow) => labelOf(flow ?? "");
