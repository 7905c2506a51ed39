// The farm's API: its address, the token, and the kinds of failure.

const TOKEN = 'headroom-token';
const TIMEOUT_MS = 15_000;
let memory = '';

// Storage may be denied to a page in another origin's frame; the token is then kept in memory.
function read() {
  try { return sessionStorage.getItem(TOKEN) ?? ''; } catch { return memory; }
}

export function setToken(token) {
  memory = token;
  try {
    if (token) sessionStorage.setItem(TOKEN, token);
    else sessionStorage.removeItem(TOKEN);
  } catch { /* kept in memory */ }
}

export const hasToken = () => read() !== '';

const origins = document.querySelector('meta[name="headroom-origins"]').content.split(' ').filter(Boolean);
const here = new URL('.', location.href);
const asked = new URLSearchParams(location.search).get('url');
export const source = choose();

// ?url= may point the page at another farm, if the operator of this one listed its origin.
function choose() {
  if (!asked) return { base: here, refused: '' };
  let wanted;
  try { wanted = new URL(asked); } catch { return { base: here, refused: asked }; }
  const ours = wanted.origin === location.origin;
  if (!ours && !origins.includes(wanted.origin)) return { base: here, refused: asked };
  wanted.search = wanted.hash = '';
  if (!wanted.pathname.endsWith('/')) wanted.pathname += '/';
  return { base: wanted, refused: '' };
}

export const elsewhere = source.base.origin !== location.origin;

export class Failure extends Error {
  constructor(kind, message, status = 0) {
    super(message);
    this.kind = kind; // unreachable, unauthorized, forbidden, unavailable, refused
    this.status = status;
  }
}

const KINDS = { 401: 'unauthorized', 403: 'forbidden', 503: 'unavailable' };

export async function ask(path, { method = 'GET', body, headers = {} } = {}) {
  const sent = { accept: 'application/json', ...headers };
  if (read()) sent.authorization = `Bearer ${read()}`;
  if (body !== undefined) sent['content-type'] = 'application/json';
  let response;
  try {
    response = await fetch(new URL(path, source.base), {
      method, headers: sent, body: body === undefined ? undefined : JSON.stringify(body),
      cache: 'no-store', credentials: 'omit', redirect: 'error', signal: AbortSignal.timeout(TIMEOUT_MS),
    });
  } catch {
    throw new Failure('unreachable', 'The farm does not answer.');
  }
  let found;
  try { found = await response.json(); } catch { found = null; }
  if (response.ok && found !== null) return found;
  const message = found?.error?.message ?? `HTTP ${response.status}`;
  throw new Failure(KINDS[response.status] ?? 'refused', message, response.status);
}
