// The frame of the views: navigation, age of the numbers, token, theme.

import { ask, elsewhere, Failure, hasToken, setToken, source } from './api.js';
import { redrawCharts } from './chart.js';
import { clear, h, setText } from './dom.js';
import { FarmView } from './farm.js';
import { time } from './format.js';
import { PlaygroundView } from './playground.js';
import { PolicyView } from './policy.js';
import { SavingsView } from './savings.js';

const byId = (id) => document.getElementById(id);
const main = byId('main');
const views = { savings: new SavingsView(), farm: new FarmView(), policy: new PolicyView(), playground: new PlaygroundView() };
const fresh = new Map(); // view -> when its numbers were last read
const RETRY_MS = 3000;

let shown = null;
let timer = 0;
let turn = 0;

// ── selecting the view ────────────────────────────────────────────────────────────────

function route() {
  const [name, query] = location.hash.slice(1).split('?');
  const view = views[name] ?? views.savings;
  if (view !== shown) {
    shown = view;
    for (const other of Object.values(views)) if (other.element.isConnected) other.element.hidden = other !== view;
    if (!view.element.isConnected) main.append(view.element);
    view.element.hidden = false;
    for (const link of document.querySelectorAll('nav [data-view]')) {
      if (views[link.dataset.view] === view) link.setAttribute('aria-current', 'page');
      else link.removeAttribute('aria-current');
    }
  }
  view.open(new URLSearchParams(query ?? ''));
  refresh();
}

// ── age of the numbers ────────────────────────────────────────────────────────────────

async function refresh() {
  clearTimeout(timer);
  const view = shown;
  const mine = ++turn;
  let wait = view.interval();
  try {
    await view.refresh();
    if (mine !== turn) return;
    fresh.set(view, Date.now());
    const [kind, ...warning] = view.warning();
    if (kind) tell('stale', 'Stale');
    else tell('live', wait ? `Live · ${time(Date.now())}` : 'Ready');
    notice(kind, ...warning);
  } catch (error) {
    if (mine !== turn) return;
    if (!(error instanceof Failure)) throw error;
    wait = error.kind === 'unauthorized' ? 0 : RETRY_MS;
    failed(view, error);
  }
  if (wait && !document.hidden) timer = setTimeout(refresh, wait);
}

function failed(view, error) {
  const since = fresh.get(view);
  tell(since ? 'stale' : 'down', since ? `Stale · ${time(since)}` : 'No numbers');
  const old = since ? ` The numbers below are from ${time(since)} and do not change until it answers.` : '';
  if (error.kind === 'unauthorized') {
    notice('bad', 'This farm requires a token.', `Nothing is shown without one.${old}`, ['Enter a token', askToken]);
    byId('token-button').hidden = false;
    askToken(hasToken() ? 'The farm does not know this token.' : '');
  } else if (error.kind === 'forbidden') {
    notice('bad', 'This token lacks the scope for this view.', `${error.message}.${old}`, ['Enter another', askToken]);
  } else if (error.kind === 'unavailable') {
    notice('bad', 'Reports are unavailable: Redis is unavailable.', `Requests are answered uncompressed.${old}`);
  } else if (error.kind === 'unreachable') {
    notice('bad', 'The farm does not answer.', `Trying again every few seconds.${old}`);
  } else {
    notice('bad', 'The farm refused this request.', `${error.message}.${old}`);
  }
}

function tell(state, text) {
  byId('live').dataset.state = state;
  setText(byId('live-text'), text);
}

let told = '';

function notice(kind, title, text = '', action = null) {
  const box = byId('notice');
  box.hidden = !kind;
  // A notice is set only if it changed, so that screen readers do not repeat it.
  if (told === `${kind}${title}${text}`) return;
  told = `${kind}${title}${text}`;
  clear(box);
  if (!kind) return;
  box.dataset.kind = kind;
  box.append(h('strong', {}, title), ' ', text);
  if (action) box.append(' ', h('button', { type: 'button', class: 'link', onclick: () => action[1]() }, action[0]));
}

document.addEventListener('visibilitychange', () => (document.hidden ? clearTimeout(timer) : refresh()));
window.addEventListener('hashchange', route);

// ── the token ─────────────────────────────────────────────────────────────────────────

const dialog = byId('token-dialog');

function askToken(problem = '') {
  byId('token-problem').hidden = !problem;
  setText(byId('token-problem'), problem);
  if (!dialog.open) dialog.showModal();
}

byId('token-form').addEventListener('submit', async (event) => {
  event.preventDefault();
  setToken(byId('token-input').value.trim());
  try {
    await ask('pricing');
  } catch (error) {
    if (error.kind === 'unauthorized') {
      setToken('');
      return askToken('The farm does not know this token.');
    }
    if (error.kind === 'forbidden') askToken('This token lacks the scope “books”: only the playground is available.');
  }
  byId('token-input').value = '';
  byId('token-button').hidden = false;
  dialog.close();
  refresh();
});
byId('token-cancel').addEventListener('click', () => dialog.close());
byId('token-button').addEventListener('click', () => {
  setToken('');
  askToken();
});
byId('token-button').hidden = !hasToken();

// ── the theme ─────────────────────────────────────────────────────────────────────────

const THEMES = ['auto', 'light', 'dark'];
const themeButton = byId('theme-button');

function showTheme() {
  setText(themeButton, `Theme: ${document.documentElement.dataset.theme ?? 'auto'}`);
}

themeButton.addEventListener('click', () => {
  const root = document.documentElement;
  const next = THEMES[(THEMES.indexOf(root.dataset.theme ?? 'auto') + 1) % THEMES.length];
  if (next === 'auto') delete root.dataset.theme;
  else root.dataset.theme = next;
  try { localStorage.setItem('headroom-theme', next); } catch { /* for this page only */ }
  showTheme();
  redrawCharts();
});

// ── source of the numbers ─────────────────────────────────────────────────────────────

if (source.refused) {
  byId('source').hidden = false;
  setText(byId('source'), `“${source.refused}” is not on this farm's list, so these are this farm's own numbers.`);
} else if (elsewhere) {
  byId('source').hidden = false;
  setText(byId('source'), `Numbers from ${source.base.href}`);
}

showTheme();
route();
