// Shows /docs/<name>.md, which the server has checked to exist. Links between the guides stay within this page.
import { marked } from '/static/vendor/marked/marked.esm.js';

const main = document.getElementById('guide');
const answer = await fetch(`${location.pathname}.md`);
if (answer.ok) {
  main.innerHTML = DOMPurify.sanitize(marked.parse(await answer.text()));
  document.title = `${main.querySelector('h1')?.textContent ?? 'Guide'} · chatapp`;
  for (const link of main.querySelectorAll('a[href$=".md"]')) link.setAttribute('href', link.getAttribute('href').slice(0, -3));
} else {
  main.textContent = `This guide could not be loaded (${answer.status}).`;
}
