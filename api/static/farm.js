// State and load of the farm: what an operator needs to decide which pool to scale.

import { ask } from './api.js';
import { Chart } from './chart.js';
import { clear, h, setText } from './dom.js';
import { count, milliseconds, percent, plain, seconds, short, time } from './format.js';

const POLL_MS = 3000;
const KEPT = 600; // snapshots: half an hour
const RATE_SECONDS = 60;
const POOLS = {
  cpu: { title: 'cpu pool', what: 'JSON, logs, grep, diff, HTML: one core per worker' },
  gpu: { title: 'gpu pool', what: 'free text, in batches' },
};

// The conclusion about a pool from its figures; docs/dashboard.md has the same rules.
export function verdict(name, pool, busy) {
  const { oldest_seconds: oldest } = pool.queue;
  const full = Math.max(pool.queue.blocks / pool.queue.max_blocks, pool.queue.bytes / pool.queue.max_bytes);
  if (pool.workers === 0) return ['bad', `No ${name} worker is alive`, 'Its blocks stay verbatim. Start a worker.'];
  if (full > 0.4) return ['bad', `The ${name} pool is filling up`, `It holds ${percent(Math.round(100 * full))} of its limit: add ${name} workers, or new blocks stay verbatim.`];
  if (oldest > 1) return ['warn', `The ${name} pool falls behind`, `A job waits ${seconds(oldest)}: add ${name} workers.`];
  if (busy !== null && busy > 0.8) return ['warn', `The ${name} pool is at its limit`, `Its workers are busy ${percent(Math.round(100 * busy))} of the time: add one before jobs queue.`];
  return ['good', `The ${name} pool keeps up`, busy === null ? 'No job waits.' : `Busy ${percent(Math.round(100 * busy))} of the time, no job waits long.`];
}

export class FarmView {
  constructor() {
    this.history = [];
    this.values = {};
    this.redis = 'ok';
    this.build();
  }

  interval() { return POLL_MS; }

  open() { /* it has no filters */ }

  warning() {
    if (this.redis === 'ok') return [''];
    return ['bad', 'Redis is unavailable.', `Requests are answered uncompressed until it is back. ${this.at ? `The counters are from ${time(this.at)}.` : 'No counters were read yet.'}`];
  }

  async refresh() {
    const farm = await ask('stats/farm?range=hour');
    this.redis = farm.redis;
    this.at = farm.at;
    this.remember(farm);
    this.states(farm);
    if (farm.pools) for (const name of Object.keys(POOLS)) this.pool(name, farm);
    if (farm.requests) this.requests(farm.requests);
    if (farm.proxy) this.proxied(farm.proxy);
    this.draw();
    this.element.dataset.shown = farm.redis;
  }

  // ── building ──────────────────────────────────────────────────────────────────────

  value(name) {
    this.values[name] = h('span', { class: 'value', 'data-value-of': name, 'data-flash': '' }, '–');
    return this.values[name];
  }

  facts(...pairs) {
    return h('dl', { class: 'facts' }, ...pairs.map(([name, label]) => h('div', {}, h('dt', {}, label), h('dd', {}, this.value(name)))));
  }

  build() {
    this.verdicts = {};
    const pools = Object.entries(POOLS).map(([name, pool]) => this.poolCard(name, pool));
    this.depth = new Chart({ label: 'Waiting jobs by pool', kind: 'lines', height: 180, yFormat: short, xFormat: clock,
      series: [{ label: 'cpu', ink: 'accent', format: count }, { label: 'gpu', ink: 'second', format: count }] });
    this.rate = new Chart({ label: 'Blocks per second by pool', kind: 'lines', height: 180, yFormat: short, xFormat: clock,
      series: [{ label: 'cpu', ink: 'accent', format: perSecond }, { label: 'gpu', ink: 'second', format: perSecond }] });
    this.histogram = h('div', { class: 'histogram', role: 'img' });
    this.degraded = h('ul', { class: 'reasons' });
    this.proxy = h('section', { class: 'card', 'aria-labelledby': 'proxy', hidden: '' },
      h('div', { class: 'card-head' }, h('h2', { id: 'proxy' }, 'Proxy'), h('p', { class: 'note' }, 'Since the front end started.')),
      this.facts(['proxy-answers', 'Answers of providers'], ['proxy-failed', 'Did not come or broke off'], ['proxy-refused', 'Refused by providers'], ['proxy-streams', 'Open now'],
        ['proxy-added', 'Added time p50'], ['proxy-added-p99', 'Added time p99'], ['proxy-upstream', 'Provider p50'], ['proxy-retrievals', 'Retrieved inside turns']));
    this.element = h('div', { class: 'view' }, h('h2', { class: 'hidden' }, 'Farm'),
      h('div', { class: 'pair' }, ...pools),
      this.proxy, h('div', { class: 'pair' }, this.chartCard('Waiting jobs', this.depth), this.chartCard('Blocks per second', this.rate)),
      h('div', { class: 'pair' },
        h('section', { class: 'card', 'aria-labelledby': 'answers' }, h('div', { class: 'card-head' }, h('h2', { id: 'answers' }, 'Answers in this hour and the last')),
          this.facts(['requests', 'Requests'], ['p50', 'p50'], ['p95', 'p95'], ['p99', 'p99'], ['hit', 'Cache hit rate'], ['errors', 'Errors']),
          this.histogram),
        h('section', { class: 'card', 'aria-labelledby': 'degraded' }, h('div', { class: 'card-head' }, h('h2', { id: 'degraded' }, 'Degraded answers by reason')),
          this.degraded, h('h2', { class: 'second' }, 'Dependencies'),
          this.facts(['redis', 'Redis'], ['postgres', 'Postgres (prices)'], ['backlog', 'Ledger entries to write'], ['dropped', 'Ledger entries lost'], ['uptime', 'Front end up for'], ['retrievals', 'Originals retrieved']))));
  }

  poolCard(name, pool) {
    const word = h('strong', {});
    const advice = h('span', {});
    const box = h('p', { class: 'verdict', role: 'status' }, word, ' ', advice);
    this.verdicts[name] = { box, word, advice };
    this.values[`${name}-meter`] = h('i', { class: 'back-accent' });
    return h('section', { class: 'card', 'aria-labelledby': `pool-${name}`, 'data-pool': name },
      h('div', { class: 'card-head' }, h('h2', { id: `pool-${name}` }, pool.title), h('p', { class: 'note' }, pool.what)), box,
      h('div', { class: 'meter' }, h('span', {}, 'Workers busy'), h('i', { class: 'share' }, this.values[`${name}-meter`]), this.value(`${name}-busy`)),
      this.facts([`${name}-workers`, 'Workers'], [`${name}-depth`, 'Waiting jobs'], [`${name}-oldest`, 'Oldest job waits'], [`${name}-blocks`, 'Blocks held'], [`${name}-rate`, 'Blocks per second'],
        [`${name}-p50`, 'Engine p50'], [`${name}-p95`, 'Engine p95'], [`${name}-p99`, 'Engine p99'], [`${name}-failed`, 'Blocks failed'],
        [`${name}-jobs`, 'Jobs done'], [`${name}-on`, 'Runs on'], ...(name === 'gpu' ? [['gpu-batch', 'Texts per batch']] : [])),
      h('p', { class: 'note provider' }, this.value(`${name}-provider`)));
  }

  chartCard(title, chart) {
    return h('section', { class: 'card' }, h('div', { class: 'card-head' }, h('h2', {}, title),
      h('p', { class: 'legend' }, ...chart.series.map((one) => h('span', {}, h('i', { class: `swatch back-${one.ink}` }), one.label)))),
    h('p', { class: 'note' }, 'Since this page was opened.'), chart.element);
  }

  // ── filling ───────────────────────────────────────────────────────────────────────

  set(name, text, exact) {
    setText(this.values[name], text);
    if (exact !== undefined && exact !== null) this.values[name].dataset.value = String(exact);
  }

  remember(farm) {
    if (!farm.pools || farm.redis !== 'ok') return;
    const now = { at: Date.parse(farm.at) / 1000 };
    for (const [name, pool] of Object.entries(farm.pools)) {
      now[name] = { done: total(pool.blocks), engine: pool.engine.seconds_total, depth: pool.queue.depth };
    }
    const last = this.history.at(-1);
    if (last && now.at <= last.at) return;
    // If counters decreased, Redis was replaced: earlier values cannot be used for rates.
    if (last && Object.keys(POOLS).some((name) => now[name].done < last[name].done)) this.history = [];
    this.history.push(now);
    this.history.splice(0, Math.max(0, this.history.length - KEPT));
  }

  // A pool's blocks per second and the busy share of its workers, over the last minute.
  rates(name, workers) {
    const last = this.history.at(-1);
    const first = this.history.find((one) => last.at - one.at <= RATE_SECONDS);
    const span = last ? last.at - first.at : 0;
    if (span < 1) return { rate: null, busy: null };
    const busy = workers ? Math.min(1, (last[name].engine - first[name].engine) / span / workers) : null;
    return { rate: (last[name].done - first[name].done) / span, busy };
  }

  pool(name, farm) {
    const pool = farm.pools[name];
    const { rate, busy } = this.rates(name, pool.workers);
    const [kind, word, advice] = farm.redis === 'ok' ? verdict(name, pool, busy)
      : ['bad', 'Redis is unavailable', 'More workers would not help.'];
    const shown = this.verdicts[name];
    shown.box.dataset.kind = kind;
    setText(shown.word, word);
    setText(shown.advice, advice);
    this.values[`${name}-meter`].style.inlineSize = `${100 * (busy ?? 0)}%`;
    this.set(`${name}-busy`, busy === null ? 'measuring' : percent(Math.round(100 * busy)));
    this.set(`${name}-workers`, count(pool.workers), pool.workers);
    this.set(`${name}-depth`, count(pool.queue.depth), pool.queue.depth);
    this.set(`${name}-blocks`, `${count(pool.queue.blocks)} of ${count(pool.queue.max_blocks)}`, pool.queue.blocks);
    this.set(`${name}-oldest`, pool.queue.depth ? seconds(pool.queue.oldest_seconds) : 'none', pool.queue.oldest_seconds);
    this.set(`${name}-rate`, rate === null ? 'measuring' : perSecond(rate));
    for (const p of ['p50', 'p95', 'p99']) this.set(`${name}-${p}`, milliseconds(pool.engine[`${p}_ms`]), pool.engine[`${p}_ms`]);
    this.set(`${name}-failed`, count(pool.blocks.failed ?? 0), pool.blocks.failed ?? 0);
    this.set(`${name}-jobs`, count(pool.jobs.done ?? 0), pool.jobs.done ?? 0);
    if (name === 'cpu') {
      this.set('cpu-on', 'CPU');
      this.set('cpu-provider', 'The structural engines are native code.');
      return;
    }
    const batches = pool.batches.count;
    this.set('gpu-batch', batches ? short(pool.batches.rows / batches) : 'one by one');
    this.set('gpu-on', [...new Set(farm.text_engines.map(runsOn))].join(', ') || 'not known');
    this.set('gpu-provider', provider(farm.text_engines));
  }

  requests(found) {
    this.set('requests', count(found.total), found.total);
    for (const p of ['p50', 'p95', 'p99']) this.set(p, milliseconds(found.latency[`${p}_ms`]), found.latency[`${p}_ms`]);
    this.set('hit', percent(found.cache.hit_pct), found.cache.hit_pct);
    this.set('errors', count(found.errors), found.errors);
    this.set('retrievals', count(found.retrievals), found.retrievals);
    this.bars(found.latency.buckets);
    const reasons = Object.entries(found.degraded).sort((a, b) => b[1] - a[1]);
    const wanted = JSON.stringify(reasons);
    if (this.degraded.dataset.told === wanted) return;
    this.degraded.dataset.told = wanted;
    clear(this.degraded).append(...(reasons.length ? reasons.map(([reason, n]) => h('li', { 'data-reason': reason },
      h('span', {}, plain(reason)), h('b', {}, count(n)))) : [h('li', { class: 'none' }, 'None: every answer was complete.')]));
  }

  proxied(found) {
    const answers = Object.entries(found.answers);
    const refused = answers.filter(([name]) => !name.endsWith(':2xx')).reduce((sum, [, n]) => sum + n, 0);
    const all = { answers: total(found.answers), failed: total(found.failures), refused, streams: found.open_streams, retrievals: total(found.retrievals) };
    for (const [name, n] of Object.entries(all)) this.set(`proxy-${name}`, count(n), n);
    this.set('proxy-added', milliseconds(found.added.p50_ms), found.added.p50_ms);
    this.set('proxy-added-p99', milliseconds(found.added.p99_ms), found.added.p99_ms);
    this.set('proxy-upstream', milliseconds(found.upstream.p50_ms), found.upstream.p50_ms);
    this.proxy.hidden = false;
  }

  bars(buckets) {
    const most = Math.max(1, ...buckets.map((bucket) => bucket.count));
    const named = buckets.map((bucket) => [bucket.le === null ? 'more' : bucket.le < 1 ? `${Math.round(bucket.le * 10_000) / 10}` : `${bucket.le} s`, bucket.count]);
    if (this.histogram.childElementCount !== named.length) {
      clear(this.histogram).append(...named.map(([label]) => h('span', { class: 'column' }, h('i', { class: 'back-accent' }), h('span', {}, label))));
    }
    named.forEach(([label, n], index) => {
      const column = this.histogram.children[index];
      column.firstElementChild.style.blockSize = `${(100 * n) / most}%`;
      column.title = `up to ${label}${/^[\d.]+$/.test(label) ? ' ms' : ''}: ${count(n)}`;
    });
    this.histogram.setAttribute('aria-label', `Answers by time: ${named.filter(([, n]) => n).map(([label, n]) => `${count(n)} up to ${label}${/^[\d.]+$/.test(label) ? ' ms' : ''}`).join(', ') || 'none yet'}`);
  }

  states(farm) {
    const users = farm.stores.state ?? 'ok'; // the separate Redis for users' state, if there is one
    const redis = farm.redis === 'ok' && users === 'ok';
    this.set('redis', redis ? 'answers' : farm.redis === 'ok' ? `users’ state: ${users}` : 'does not answer', farm.redis);
    this.values.redis.dataset.kind = redis ? 'good' : 'bad';
    const words = { ok: 'answers', not_configured: 'not set up: fallback prices' };
    const db = farm.pricing_db.state;
    const age = farm.pricing_db.age_seconds;
    this.set('postgres', `${words[db] ?? plain(db)}${age === null ? '' : `, prices ${seconds(age)} old`}`, db);
    this.values.postgres.dataset.kind = db === 'ok' ? 'good' : db === 'not_configured' ? '' : 'warn';
    this.set('backlog', count(farm.ledger.backlog), farm.ledger.backlog);
    this.set('dropped', count(farm.ledger.dropped), farm.ledger.dropped);
    this.set('uptime', seconds(farm.uptime_seconds));
    if (!redis) for (const name of Object.keys(POOLS)) if (!farm.pools) {
      this.verdicts[name].box.dataset.kind = 'bad';
      setText(this.verdicts[name].word, 'Redis is unavailable');
      setText(this.verdicts[name].advice, 'More workers would not help.');
    }
  }

  draw() {
    const x = this.history.map((one) => one.at);
    if (!x.length) return;
    const depths = Object.keys(POOLS).map((name) => this.history.map((one) => one[name].depth));
    const rates = Object.keys(POOLS).map((name) => this.history.map((one, i) => {
      const before = this.history[i - 1];
      return before ? (one[name].done - before[name].done) / (one.at - before.at) : null;
    }));
    const now = (lists, format) => Object.keys(POOLS).map((name, i) => `${name} ${format(lists[i].at(-1) ?? 0)}`).join(', ');
    this.depth.update([x, ...depths], `Now ${now(depths, count)}.`);
    this.rate.update([x, ...rates], `Now ${now(rates, perSecond)}.`);
  }
}

const total = (counters) => Object.values(counters).reduce((sum, n) => sum + n, 0);
const perSecond = (value) => `${short(value)} /s`;

function clock(at) {
  return new Date(at * 1000).toLocaleTimeString('en-GB', { hour: '2-digit', minute: '2-digit', second: '2-digit' });
}

// ONNX Runtime's names, and `native` for an engine that needs no runtime.
function runsOn(engine) {
  return engine.provider === 'native' ? 'CPU' : engine.provider.replace('ExecutionProvider', '');
}

function provider(engines) {
  if (!engines.length) return 'No text engine is known: no gpu worker has reported one.';
  return engines.map((one) => {
    return `${one.workers} × ${one.engine.replaceAll('_', ' ')} on ${runsOn(one)}${one.graph ? ` (${one.graph})` : ''}${one.reason ? `: ${one.reason}` : ''}`;
  }).join('. ');
}
