// What an interview has learned so far: read from a session's state, its events or its result. No DOM, no network.

import { labelOf, readable } from "./words.js";

const QUESTIONS = {
  origin: "Leaving from",
  budget: "Budget",
  passengers: "Travellers",
  months: "Months",
  activities: "Activities",
  purpose: "Purpose",
  hobbies: "Hobbies",
};

const isRecord = (value) => typeof value === "object" && value !== null && !Array.isArray(value);

/** The profile in what GET /sessions/{id}/state answers; null when the session has none. */
export function profileOf({ version, state }) {
  if (!isRecord(state?.ProfileData)) return null;
  const { ProfileData, CurrentQuestionIndex, QuestionsAvailable, RecommendedDestination } = state;
  return made(version, ProfileData, CurrentQuestionIndex, QuestionsAvailable, RecommendedDestination);
}

/** The profile in a `profile_updated`, or in what the end of an interview answers; null when there is none. */
export function profileTold(told) {
  if (!isRecord(told?.profile)) return null;
  return made(told.version ?? 0, told.profile, told.current_question_index, told.questions_available, told.recommended_destination);
}

function made(version, profile, index, available, destination) {
  const keys = new Set([...Object.keys(QUESTIONS).filter((key) => key in profile), ...Object.keys(profile)]);
  const answers = [...keys].map((key, place) => {
    const value = profile[key] ?? null;
    return { key, label: QUESTIONS[key] ?? labelOf(key), value: value === null ? null : shown(key, value), isNext: place === index };
  });
  const answered = answers.filter(({ value }) => value !== null).length;
  return { version, answers, answered, available: Number(available) || answers.length, destination: destinationOf(destination) };
}

const SHOWN = {
  origin: ({ city, iata }) => named(city, iata),
  budget: (amount) => money(amount, "BRL"),
  passengers: ({ adults, children }) => [people(adults, "adult", "adults"), people(children, "child", "children")].filter(Boolean).join(", "),
  months: (months) => (new Set(months).size === 12 ? "any month" : months.map((month) => monthName.format(Date.UTC(2000, month - 1, 15))).join(", ")),
};

/** An answer as text. What is not of the form that we know is shown all the same. */
function shown(key, value) {
  try {
    return SHOWN[key]?.(value) || readable(value);
  } catch {
    return readable(value);
  }
}

const monthName = new Intl.DateTimeFormat(undefined, { month: "long", timeZone: "UTC" });
const people = (n, one, many) => (n ? `${n} ${n === 1 ? one : many}` : "");
const named = (name, code) => [name && String(name), code && `(${code})`].filter(Boolean).join(" ");

function money(amount, currency) {
  if (typeof amount !== "number") return "";
  return new Intl.NumberFormat(undefined, { style: "currency", currency, maximumFractionDigits: 2, trailingZeroDisplay: "stripIfInteger" }).format(amount);
}

/** A recommended destination, as text: null, or `{ title, reason, price }`. It may be a name, or an object with more. */
export function destinationOf(destination) {
  if (!destination) return null;
  if (!isRecord(destination)) return { title: String(destination), reason: "", price: "" };
  const { name, iata, reason, price, currency, departure_date: date, over_budget: over } = destination;
  return { title: named(name, iata) || readable(destination), reason: reason ? String(reason) : "", price: priced(price, currency, date, over === true) };
}

const travelDay = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "long", year: "numeric", timeZone: "UTC" });

function priced(price, currency, date, over) {
  try {
    const amount = money(price, currency ?? "BRL");
    const when = date ? `, on ${travelDay.format(Date.parse(date))}` : "";
    return amount && `Flights from ${amount} for everybody${when}${over ? ": over the budget" : ""}`;
  } catch {
    return ""; // no currency, or no date, that anybody knows
  }
}
