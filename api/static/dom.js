// The page is built from elements and text, never from markup, so a user's name is always text.

export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
    else if (name === 'class') element.className = value;
    else if (name === 'hidden' || name === 'disabled' || name === 'checked') element[name] = true;
    else element.setAttribute(name, value === true ? '' : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

const MOVED = [{ backgroundColor: 'var(--accent-soft)' }, { backgroundColor: 'transparent' }];
const calm = matchMedia('(prefers-reduced-motion: reduce)');

// Change a text in place, only if it changed; a changed number is highlighted for a moment.
export function setText(element, text) {
  if (element.textContent === text) return false;
  const known = element.textContent !== '' && element.textContent !== '–';
  element.textContent = text;
  if (known && element.dataset.flash !== undefined) {
    if (!calm.matches) element.animate(MOVED, 1200);
  }
  return true;
}

export function clear(element) {
  element.replaceChildren();
  return element;
}

export function download(name, text, type) {
  const url = URL.createObjectURL(new Blob([text], { type }));
  const link = h('a', { href: url, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
}
