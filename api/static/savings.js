// The savings view: totals, over time, by user, model and engine, reasons for no savings, recent requests.

import { ask } from './api.js';
import { Chart } from './chart.js';
import { h, setText } from './dom.js';
import { count, exactMoney, milliseconds, money, percent, plain, short, time } from './format.js';
import { buttonCell, Table } from './table.js';

const RANGES = [['hour', 'Hour'], ['day', 'Day'], ['month', '30 days'], ['all', 'All']];
const METRICS = {
  money: { label: 'Bill saved', of: (line) => line.cost_saved_usd, format: money },
  saved: { label: 'Tokens saved', of: (line) => line.tokens_saved, format: count },
  requests: { label: 'Requests', of: (line) => line.requests, format: count },
  rate: { label: 'Rate', of: (line) => line.avg_pct, format: percent },
};
const BILL = 'Cost of compressed requests at the provider’s prices: tokens cached from the previous turn cost a tenth, and new tokens are written to its cache.';
const FAST_MS = 5000;
const SLOW_MS = 15_000;

export class SavingsView {
  constructor() {
    this.range = 'all';
    this.who = null; // ['user', name] or ['model', name]
    this.metric = 'money';
    this.values = {};
    this.build();
  }

  interval() {
    return this.range === 'hour' || this.range === 'day' ? FAST_MS : SLOW_MS;
  }

  warning() {
    return [''];
  }

  open(query) {
    const range = query.get('range');
    this.range = RANGES.some(([name]) => name === range) ? range : 'all';
    const named = ['user', 'model'].find((kind) => query.has(kind));
    this.who = named ? [named, query.get(named)] : null;
    for (const link of this.ranges) {
      link.href = `#savings?${this.query({ range: link.dataset.range })}`;
      if (link.dataset.range === this.range) link.setAttribute('aria-current', 'true');
      else link.removeAttribute('aria-current');
    }
    this.filter.hidden = !this.who;
    if (this.who) setText(this.filterName, `Only ${this.who[0]} “${this.who[1]}”`);
    this.filterOff.href = `#savings?${this.query({ who: null })}`;
  }

  query({ range = this.range, who = this.who } = {}) {
    return new URLSearchParams([['range', range], ...(who ? [who] : [])]);
  }

  only(kind, name) {
    location.hash = `savings?${this.query({ who: [kind, name] })}`;
  }

  async refresh() {
    const query = this.query();
    const [stats, insights] = await Promise.all([ask(`stats?${query}`), ask(`stats/insights?${query}&daily=true`)]);
    if (String(query) !== String(this.query())) return; // the filter changed meanwhile
    this.totals(stats);
    this.recent.update(stats.recent_requests.toReversed());
    this.tables(stats, insights);
    this.timeline(stats, insights);
    this.element.dataset.shown = String(query);
  }

  // ── building ──────────────────────────────────────────────────────────────────────

  value(name, attributes = {}) {
    this.values[name] = h('span', { class: 'value', 'data-value-of': name, 'data-flash': '', ...attributes }, '–');
    return this.values[name];
  }

  figure(name, label, detail) {
    return h('div', { class: 'card figure' }, h('dt', {}, label), h('dd', {}, this.value(name),
      detail ? h('span', { class: 'detail' }, this.value(detail)) : null));
  }

  build() {
    this.ranges = RANGES.map(([name, label]) => h('a', { href: '#savings', 'data-range': name }, label));
    this.filterName = h('span', { class: 'filter-name' });
    this.filterOff = h('a', { href: '#savings' }, 'Show all users');
    this.filter = h('p', { class: 'filter', hidden: true }, this.filterName, this.filterOff);
    this.bars = { removed: h('i', { class: 'back-accent' }), without: h('i', { class: 'money-bar back-before' }), with: h('i', { class: 'money-bar back-after' }) };
    this.priced = h('p', { class: 'note', hidden: true });
    this.costlier = h('p', { class: 'note problem', hidden: true });
    this.measured = h('p', { class: 'note', hidden: true });
    const hero = h('section', { class: 'card hero', 'aria-label': 'Saved' },
      h('div', { class: 'hero-half' }, h('h2', {}, 'Saved on the bill'), h('p', { class: 'big' }, this.value('money')),
        h('dl', { class: 'money' },
          h('div', {}, h('dt', {}, 'Without headroom'), h('dd', {}, this.value('without')), h('dd', { class: 'track' }, this.bars.without)),
          h('div', {}, h('dt', {}, 'With headroom'), h('dd', {}, this.value('with')), h('dd', { class: 'track' }, this.bars.with))),
        h('p', { class: 'note' }, BILL), this.costlier, this.measured, this.priced),
      h('div', { class: 'hero-half' }, h('h2', {}, 'Tokens saved'), h('p', { class: 'big' }, this.value('saved')),
        h('p', { class: 'note' }, 'At list price, without the cache: ', this.value('list')),
        h('div', { class: 'removed' }, h('span', {}, 'Removed from compressed requests'), h('b', {}, this.value('removed')),
          h('i', { class: 'share whole' }, this.bars.removed))));
    const figures = h('dl', { class: 'figures' },
      this.figure('requests', 'Requests', 'requests-detail'), this.figure('compressed', 'Compressed', 'compressed-detail'),
      this.figure('rate', 'Rate', 'rate-detail'), this.figure('best', 'Best compression', 'best-detail'));
    this.metricButtons = Object.entries(METRICS).map(([name, metric]) => h('button', {
      type: 'button', 'aria-pressed': String(name === this.metric), onclick: () => this.choose(name),
    }, metric.label));
    this.chartNote = h('p', { class: 'note' });
    this.chartEmpty = h('p', { class: 'empty' }, 'No requests in this time yet. Post a conversation to /v1/compress, or see what it does in the ',
      h('a', { href: '#playground' }, 'playground'), '.');
    this.chart = new Chart({
      label: 'Over time', kind: 'bars', yFormat: (value) => (this.metric === 'money' ? money(value) : short(value)), xFormat: (at, axis) => this.moment(at, axis),
      series: [{ label: METRICS.money.label, ink: 'accent', format: METRICS.money.format }],
    });
    const timeline = h('section', { class: 'card', 'aria-labelledby': 'timeline' },
      h('div', { class: 'card-head' }, h('h2', { id: 'timeline' }, 'Over time'),
        h('div', { class: 'segments', role: 'group', 'aria-label': 'What the chart shows' }, ...this.metricButtons)),
      this.chartNote, this.chart.element, this.chartEmpty);
    this.makeTables();
    this.element = h('div', { class: 'view' },
      h('div', { class: 'bar' }, h('h2', { class: 'hidden' }, 'Savings'),
        h('nav', { class: 'segments', 'aria-label': 'Time' }, ...this.ranges), this.filter),
      hero, figures, timeline,
      h('div', { class: 'pair' }, this.users.element, this.models.element),
      h('div', { class: 'pair' }, this.engines.element, this.reasons.element),
      this.recent.element);
  }

  makeTables() {
    const saved = (name, kind) => [
      { key: name, label: kind, value: (row) => row[name], text: (row) => row[name],
        cell: buttonCell((row) => row[name], (row) => this.only(name, row[name]), (row) => `Only ${row[name]}`) },
      number('requests', 'Requests', count), number('tokens_saved', 'Tokens saved', count),
      number('avg_compression_pct', 'Rate', percent), number('cost_saved_usd', 'Bill saved', exactMoney),
    ];
    this.users = new Table({ title: 'By user', file: 'headroom-users.csv', columns: saved('user', 'User'),
      key: (row) => row.user, empty: 'No user sent a request in this time.', search: 'Find a user', sort: { index: 2, direction: -1 } });
    this.models = new Table({ title: 'By model', file: 'headroom-models.csv', columns: saved('model', 'Model'),
      key: (row) => row.model, empty: 'No model was used in this time.', sort: { index: 2, direction: -1 } });
    this.engines = new Table({ title: 'By engine', file: 'headroom-engines.csv', key: (row) => row.engine,
      columns: [{ key: 'engine', label: 'Engine', value: (row) => row.engine, text: (row) => plain(row.engine) },
        number('blocks', 'Messages', count), number('tokens_saved', 'Tokens saved', count), share()],
      empty: 'No engine has compressed anything yet.', sort: { index: 2, direction: -1 } });
    this.reasons = new Table({ title: 'Why nothing was saved', file: 'headroom-reasons.csv', key: (row) => row.reason,
      columns: [{ key: 'reason', label: 'Reason', value: (row) => row.reason, text: (row) => plain(row.reason) },
        number('requests', 'Requests', count), share()],
      empty: '', sort: { index: 1, direction: -1 } });
    this.recent = new Table({ title: 'Recent activity', file: 'headroom-recent.csv', key: (row) => row.request_id,
      columns: [
        { key: 'timestamp', label: 'Time', value: (row) => row.timestamp, text: (row) => time(row.timestamp) },
        { key: 'user', label: 'User', value: (row) => row.tags['user-id'], text: (row) => row.tags['user-id'] },
        { key: 'model', label: 'Model', value: (row) => row.model, text: (row) => row.model },
        number('input_tokens_original', 'Before', count), number('input_tokens_optimized', 'After', count),
        number('tokens_saved', 'Saved', count), number('savings_percent', 'Rate', percent),
        { ...number('cost_saved_usd', 'Bill saved', exactMoney), text: (row) => (row.cost_saved_usd < 0 ? `${exactMoney(row.cost_saved_usd)} (cost more)` : exactMoney(row.cost_saved_usd)) },
        number('total_latency_ms', 'Took', milliseconds),
        { key: 'reason', label: 'Nothing saved', value: (row) => row.reason, text: (row) => (row.reason ? plain(row.reason) : '') },
        { key: 'request_id', label: 'Request', value: (row) => row.request_id, text: (row) => row.request_id.slice(0, 8) },
      ],
      empty: 'No request yet. Post one to /v1/compress, or try the playground.', shown: 15,
      search: 'Find user, model, reason', note: 'The last 100 requests, newest first.' });
  }

  // ── filling ───────────────────────────────────────────────────────────────────────

  set(name, text, exact) {
    setText(this.values[name], text);
    if (exact !== undefined) this.values[name].dataset.value = String(exact);
  }

  totals({ summary, recent_requests: recent }) {
    const { compression, cost, uncompressed_requests: kept } = summary;
    const requests = summary.api_requests;
    this.set('saved', count(compression.total_tokens_removed), compression.total_tokens_removed);
    this.set('removed', percent(compression.avg_compression_pct));
    this.bars.removed.style.inlineSize = `${compression.avg_compression_pct}%`;
    this.set('money', money(cost.total_saved_usd), cost.total_saved_usd);
    this.set('without', money(cost.without_headroom_usd), cost.without_headroom_usd);
    this.set('with', money(cost.with_headroom_usd), cost.with_headroom_usd);
    const most = cost.without_headroom_usd || 1;
    this.bars.without.style.inlineSize = cost.without_headroom_usd ? '100%' : '0';
    this.bars.with.style.inlineSize = `${Math.min(100, (100 * cost.with_headroom_usd) / most)}%`;
    this.set('list', money(cost.list_price_saved_usd), cost.list_price_saved_usd);
    this.costlier.hidden = !cost.requests_that_cost_more;
    setText(this.costlier, `${count(cost.requests_that_cost_more)} requests cost more than without headroom: ${money(cost.cost_more_usd)} in total, included above.`);
    this.measured.hidden = !cost.measured_requests;
    setText(this.measured, `Providers reported ${money(cost.measured_usd)} of input for ${count(cost.measured_requests)} whole requests, tools and system prompt included.`);
    const guessed = recent.filter((row) => row.cost_is_fallback).length;
    this.priced.hidden = !guessed;
    setText(this.priced, `${guessed} of the last ${recent.length} requests had a model without a price and were counted at the fallback price.`);
    this.set('requests', count(requests), requests);
    this.set('requests-detail', `${count(kept.total)} saved nothing`);
    this.set('compressed', count(compression.requests_compressed), compression.requests_compressed);
    this.set('compressed-detail', requests ? `${percent((100 * compression.requests_compressed) / requests)} of requests` : '');
    this.set('rate', percent(compression.avg_compression_pct), compression.avg_compression_pct);
    this.set('rate-detail', 'tokens removed from compressed requests');
    this.set('best', percent(compression.best_compression_pct), compression.best_compression_pct);
    this.set('best-detail', compression.best_detail);
  }

  tables({ summary }, insights) {
    this.users.update(insights.by_user);
    this.models.update(insights.by_model);
    const engines = Object.entries(insights.engines ?? {}).map(([engine, row]) => (
      { engine, blocks: row.blocks ?? 0, tokens_saved: row.tokens_saved ?? 0 }));
    this.engines.emptyText = insights.engines ? 'No engine has compressed anything yet.'
      : 'Engines are counted over all users: show all users to see them.';
    this.engines.update(shared(engines, 'tokens_saved'));
    const reasons = Object.entries(summary.uncompressed_requests.reasons).map(([reason, requests]) => ({ reason, requests }));
    this.reasons.emptyText = summary.api_requests ? 'Every request saved something.' : 'No requests in this time yet.';
    this.reasons.update(shared(reasons, 'requests'));
  }

  choose(name) {
    this.metric = name;
    Object.keys(METRICS).forEach((key, index) => this.metricButtons[index].setAttribute('aria-pressed', String(key === name)));
    const metric = METRICS[name];
    this.chart.series = [{ label: metric.label, ink: 'accent', format: metric.format }];
    if (this.lines) this.draw();
    this.chart.redraw();
  }

  timeline(stats, insights) {
    const { lines, step, note } = series(this.range, stats, insights);
    Object.assign(this, { lines, step });
    setText(this.chartNote, note);
    this.draw();
  }

  draw() {
    const metric = METRICS[this.metric];
    const values = this.lines.map(metric.of);
    const any = this.lines.some((line) => line.requests);
    this.chartEmpty.hidden = any;
    this.chart.element.hidden = !any;
    if (!any) return;
    const top = values.indexOf(Math.max(...values));
    const sum = values.reduce((a, b) => a + b, 0);
    const total = this.metric === 'rate' ? '' : `${metric.format(sum)} in total. `;
    this.chart.update([this.lines.map((line) => line.at), values],
      `${metric.label}: ${total}Highest ${metric.format(values[top])}, ${this.moment(this.lines[top].at, false)}.`);
  }

  moment(at, axis) {
    const date = new Date(at * 1000);
    if (this.step >= 86_400) {
      return date.toLocaleDateString('en-GB', { day: 'numeric', month: 'short', timeZone: 'UTC', ...(axis ? {} : { year: 'numeric' }) });
    }
    const clock = date.toLocaleTimeString('en-GB', { hour: '2-digit', minute: '2-digit' });
    return axis ? clock : `${date.toLocaleDateString('en-GB', { day: 'numeric', month: 'short' })}, ${clock}`;
  }
}

function number(key, label, format) {
  return { key, label, numeric: true, value: (row) => row[key], text: (row) => format(row[key]) };
}

function share() {
  return { key: 'share', label: 'Share', numeric: true, value: (row) => row.share, text: (row) => percent(row.share),
    cell: (row, element) => {
      if (!element.firstElementChild) element.append(h('span', { class: 'share-text' }), h('i', { class: 'share' }, h('i', { class: 'back-accent' })));
      setText(element.firstElementChild, percent(row.share));
      element.lastElementChild.firstElementChild.style.inlineSize = `${row.share}%`;
    } };
}

function shared(rows, key) {
  const total = rows.reduce((sum, row) => sum + row[key], 0);
  return rows.map((row) => ({ ...row, share: total ? Number(((100 * row[key]) / total).toFixed(2)) : 0 }));
}

// The lines of the chart: minutes, hours or days, depending on the length of the range.
function series(range, stats, insights) {
  if (range === 'hour') return minutes(stats);
  const hours = insights.hourly.map((line) => ({ ...line, at: Date.parse(line.hour) / 1000 }));
  const days = (insights.daily ?? []).map((line) => ({ ...line, at: Date.parse(`${line.day}T00:00:00Z`) / 1000 }));
  if (range === 'day') return { lines: hours, step: 3600, note: 'Per hour.' };
  if (range === 'all' && days.length < 3) return { lines: hours, step: 3600, note: 'Per hour, the last 24 hours.' };
  return { lines: days, step: 86_400, note: 'Per day (UTC).' };
}

function minutes({ window, summary, recent_requests: recent }) {
  const last = Math.floor(Date.now() / 60_000);
  const first = Math.floor(Date.parse(window.since) / 60_000);
  const lines = [];
  for (let minute = first; minute <= last; minute += 1) {
    lines.push({ at: minute * 60, requests: 0, tokens_saved: 0, cost_saved_usd: 0, before: 0, avg_pct: 0 });
  }
  for (const row of recent) {
    const line = lines[Math.floor(Date.parse(row.timestamp) / 60_000) - first];
    if (!line) continue;
    line.requests += 1;
    line.tokens_saved += row.tokens_saved;
    line.cost_saved_usd += row.cost_saved_usd;
    if (row.tokens_saved) line.before += row.input_tokens_original;
    line.avg_pct = line.before ? (100 * line.tokens_saved) / line.before : 0;
  }
  const all = recent.length >= summary.api_requests;
  return { lines, step: 60, note: all ? 'Per minute.' : `Per minute, the last ${recent.length} of ${count(summary.api_requests)} requests.` };
}
