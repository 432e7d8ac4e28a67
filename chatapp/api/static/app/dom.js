// Making elements. Text is always set as text, never as markup.

export const byId = (id) => document.getElementById(id);

/** Make an element: `h("button.icon-button", { ariaLabel: "Copy", onclick }, icon("copy"), "Copy")`. */
export function h(spec, props = {}, ...children) {
  const [tag, ...classes] = spec.split(".");
  const element = document.createElement(tag);
  if (classes.length) element.className = classes.join(" ");
  for (const [name, value] of Object.entries(props)) {
    if (name === "dataset") Object.assign(element.dataset, value);
    else if (value !== undefined && value !== null) element[name] = value;
  }
  element.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

const SVG = "http://www.w3.org/2000/svg";

/** Make an icon from the sheet in index.html. */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("aria-hidden", "true");
  const use = svg.appendChild(document.createElementNS(SVG, "use"));
  use.setAttribute("href", `#i-${name}`);
  return svg;
}

/** Copy text, also on pages that are not a secure context, where the clipboard API is missing. */
export async function copy(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const area = document.body.appendChild(h("textarea.unseen", { value: text, readOnly: true }));
  area.select();
  document.execCommand("copy");
  area.remove();
}

/** A button that copies what `text()` gives and says so for a moment. */
export function copyButton(text, label, spec = "button.icon-button.small") {
  const button = h(spec, { type: "button", ariaLabel: label, title: label }, icon("copy"));
  button.onclick = async () => {
    await copy(text());
    button.replaceChildren(icon("check"));
    button.classList.add("done");
    setTimeout(() => {
      button.replaceChildren(icon("copy"));
      button.classList.remove("done");
    }, 1200);
  };
  return button;
}
