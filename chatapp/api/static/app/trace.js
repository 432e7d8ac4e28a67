// The events of a turn, as a table that opens below the answer.

import { h } from "./dom.js";
import { count, span } from "./words.js";

/** Make the table. Times count from the moment the message was accepted. */
export function traceTable(turn) {
  const rows = turn.events ? turn.trace.map((entry) => traceLine(entry, turn.createdAt)) : jobLines(turn);
  return h("table.trace", {}, h("tbody", {}, line("202", "accepted", 0, turn.jobId ?? ""), ...rows));
}

/** What the job itself says, for turns whose events were not seen here. */
function jobLines(turn) {
  const { createdAt, startedAt, endedAt, status, attempt } = turn;
  if (!startedAt || !endedAt) return [];
  return [
    line("", "started", startedAt - createdAt, attempt > 1 ? `attempt ${attempt}` : turn.model ?? ""),
    line("", status, endedAt - createdAt, turn.finishReason ?? turn.error?.code ?? ""),
  ];
}

function traceLine(entry, from) {
  const id = entry.id === entry.lastId ? entry.id : `${entry.id} … ${entry.lastId}`;
  return line(id, entry.type, Math.max(0, entry.at - from), DETAILS[entry.type]?.(entry) ?? "");
}

function line(id, type, at, detail) {
  return h("tr", {}, h("td", {}, id), h("td", {}, type), h("td", {}, `+${span(at)}`), h("td", {}, detail));
}

const DETAILS = {
  message_started: ({ event }) => event.model ?? "",
  message_delta: (entry) => `${entry.count > 1 ? `${count(entry.count, "event")}, ` : ""}${count(entry.chars, "character")}`,
  message_retrying: ({ event }) => `${event.reason ?? ""}, again in ${span((event.retry_in ?? 0) * 1000)}`,
  message_reset: ({ event }) => `attempt ${event.attempt}${event.reason ? `, ${event.reason}` : ""}`,
  message_snapshot: ({ event }) => `through ${event.through ?? event.id}`,
  message_completed: ({ event }) => event.finish_reason ?? "",
  error: ({ event }) => event.code ?? "",
};
