// Markdown to sanitised DOM, block by block, so that a growing answer repaints its last block only.
//
// Raw HTML in an answer is shown as the text it is; images become links; DOMPurify has the last word on everything.

import { Marked } from "/static/vendor/marked/marked.esm.js";
import { copyButton, h } from "./dom.js";

const TAGS = `p br strong em del code pre blockquote ul ol li a h1 h2 h3 h4 h5 h6 hr
  table thead tbody tr th td input`.split(/\s+/);
const ATTRIBUTES = ["href", "start", "align", "type", "checked", "disabled", "data-language"];
const SAFE_LINK = /^(https?:|mailto:)/i;

const escape = (text) => text.replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`);

const marked = new Marked({
  gfm: true,
  breaks: true,
  renderer: {
    html: ({ text }) => escape(text),
    image: ({ href, text }) => `<a href="${escape(href)}">${escape(text || href)}</a>`,
    code: ({ text, lang }) => `<pre><code data-language="${escape((lang ?? "").split(/\s/)[0])}">${escape(text)}\n</code></pre>`,
  },
});

const purify = globalThis.DOMPurify;
purify.addHook("afterSanitizeAttributes", (node) => {
  if (node.tagName !== "A") return;
  if (!SAFE_LINK.test(node.getAttribute("href") ?? "")) return node.removeAttribute("href");
  node.setAttribute("target", "_blank");
  node.setAttribute("rel", "noopener noreferrer nofollow");
});

function fragment(html) {
  return purify.sanitize(html, {
    ALLOWED_TAGS: TAGS,
    ALLOWED_ATTR: ATTRIBUTES,
    ALLOW_DATA_ATTR: false,
    RETURN_DOM_FRAGMENT: true,
  });
}

/** Shows a text that grows in `container`. */
export class Prose {
  #shown = []; // { raw, element }

  constructor(container) {
    this.container = container;
  }

  /** Show `text`. With `final`, everything is rendered again: a link definition may have come after its use. */
  show(text, { final = false } = {}) {
    if (final) this.clear();
    const tokens = marked.lexer(text).filter((token) => token.type !== "space");
    let same = 0;
    while (same < tokens.length && this.#shown[same]?.raw === tokens[same].raw) same++;
    for (const { element } of this.#shown.splice(same)) element.remove();
    for (const token of tokens.slice(same)) {
      const element = h("div.block", {}, fragment(marked.parser([token])));
      for (const pre of element.querySelectorAll("pre")) dress(pre);
      for (const table of element.querySelectorAll("table")) table.replaceWith(h("div.table", { tabIndex: 0 }, table.cloneNode(true)));
      this.container.append(element);
      this.#shown.push({ raw: token.raw, element });
    }
  }

  clear() {
    this.#shown = [];
    this.container.replaceChildren();
  }
}

/** Give a code block its language and a copy button. */
function dress(pre) {
  const code = pre.querySelector("code");
  const bar = h("div.code-bar", {}, h("span", {}, code.dataset.language || "text"), copyButton(() => code.textContent.replace(/\n$/, ""), "Copy code"));
  pre.tabIndex = 0;
  const figure = h("div.code");
  pre.replaceWith(figure);
  figure.append(bar, pre);
}
