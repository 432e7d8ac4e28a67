// What this tab keeps over a reload: sessionStorage, or memory where that is switched off.

const PREFIX = "chatapp.";
const memory = new Map();

/** Read what was kept under a name; null when nothing was. */
export function recall(name) {
  try {
    return JSON.parse(sessionStorage.getItem(PREFIX + name));
  } catch {
    return memory.get(name) ?? null; // switched off, or not written by us
  }
}

/** Forget everything: another user may come. */
export function forgetAll() {
  memory.clear();
  try {
    for (const name of Object.keys(sessionStorage)) if (name.startsWith(PREFIX)) sessionStorage.removeItem(name);
  } catch {
    // Switched off: there was only the memory.
  }
}

/** Keep a value under a name; null or "" forgets it. */
export function keep(name, value) {
  memory.set(name, value);
  try {
    if (value === null || value === "") sessionStorage.removeItem(PREFIX + name);
    else sessionStorage.setItem(PREFIX + name, JSON.stringify(value));
  } catch {
    // Switched off or full: memory has it for as long as the page lives.
  }
}
