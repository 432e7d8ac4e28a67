// How states, times and numbers are said.

const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const day = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short" });
const number = new Intl.NumberFormat();

export const timeOf = (ms) => clock.format(ms);
export const count = (n, one, many = `${one}s`) => `${number.format(n)} ${n === 1 ? one : many}`;

/** Milliseconds as "840 ms" or "2.4 s". */
export function span(ms) {
  if (ms < 1000) return `${Math.max(0, Math.round(ms))} ms`;
  return ms < 60_000 ? `${(ms / 1000).toFixed(1)} s` : `${Math.floor(ms / 60_000)} min ${Math.round((ms % 60_000) / 1000)} s`;
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

/** What an open turn is doing. `position` is the number of open turns before it. */
export function stateOf(turn, position, now = Date.now()) {
  if (turn.status === "sending") return "Sending";
  if (turn.stopping) return "Stopping";
  if (turn.status === "retrying") {
    const seconds = Math.ceil((turn.retry.at - now) / 1000);
    const what = turn.retry.failures ? `Attempt ${turn.attempt} failed` : "The model cannot be asked yet";
    const why = turn.retry.reason ? ` (${turn.retry.reason})` : "";
    return `${what}${why}. Trying again${seconds > 0 ? ` in ${seconds} s` : " now"}`;
  }
  if (turn.status === "queued" && position === 1) return "Queued, waiting for the previous turn";
  if (turn.status === "queued" && position > 1) return `Queued, waiting for ${position} earlier turns`;
  if (turn.status === "queued") return "Queued, waiting for a worker";
  return turn.attempt > 1 ? `Answering, attempt ${turn.attempt}` : "Answering";
}

/** Tokens of an ended turn: "12 → 48 tokens". */
export function usageOf(usage) {
  if (!usage) return null;
  return `${usage.estimated ? "~" : ""}${number.format(usage.input_tokens)} → ${number.format(usage.output_tokens)} tokens`;
}

const ENDED_EARLY = { length: "cut at the token limit", content_filter: "stopped by the content filter", tool_calls: "asked for a tool" };
export const finishOf = (turn) => ENDED_EARLY[turn.finishReason] ?? null;
