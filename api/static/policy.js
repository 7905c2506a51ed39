// The policy's groups side by side, and the engines that are paused for a tool.

import { ask } from './api.js';
import { h, setText } from './dom.js';
import { count, milliseconds, money, percent, plain, time } from './format.js';
import { Table } from './table.js';

const POLL_MS = 15_000;
const RANGES = [['day', '24 hours'], ['week', '7 days'], ['month', '30 days'], ['all', 'All time']];
const GROUPS = { on: 'compressed', control: 'control', audit: 'audited' };
const MEASURES = {
  bill_usd: ['Bill', money], tokens_left: ['Tokens sent', count], latency_ms: ['Time to an answer', milliseconds],
  requests: ['Requests', decimal], retrievals: ['Retrievals', decimal], repeated_reads: ['Repeated reads', decimal],
};
const FAULTS = { missing: 'its file is missing', invalid: 'its file is not valid' };

export class PolicyView {
  constructor() {
    this.range = 'all';
    this.state = null;
    this.build();
  }

  interval() { return POLL_MS; }

  open(query) {
    const range = query.get('range');
    this.range = RANGES.some(([name]) => name === range) ? range : 'all';
    for (const link of this.ranges) {
      if (link.dataset.range === this.range) link.setAttribute('aria-current', 'true');
      else link.removeAttribute('aria-current');
    }
  }

  warning() {
    if (!this.state?.fault) return [''];
    const kept = this.state.all_left_as_they_came ? 'Until it is, every conversation goes through as it came.' : 'The last good one applies.';
    return ['bad', `The policy is not in force: ${FAULTS[this.state.fault] ?? this.state.fault}.`, `${kept} The front end's log says what is wrong, and where.`];
  }

  async refresh() {
    const range = this.range;
    const found = await ask(`stats/policy?range=${range}`);
    if (range !== this.range) return;
    this.state = found.policy;
    setText(this.inForce, said(found.policy));
    this.groups.update(found.rules.flatMap(groupsOf));
    this.differences.update(found.rules.flatMap(differencesOf));
    this.paused.update(found.feedback.paused);
    this.observed.update(found.feedback.observed);
    const { rate, sample } = found.feedback;
    setText(this.limit, rate
      ? `An engine pauses for a tool when ${percent(100 * rate)} of at least ${count(sample)} shortened outputs are asked back.`
      : 'No engine pauses: HEADROOM_FEEDBACK_RATE is 0.');
    this.element.dataset.shown = `range=${range}`;
  }

  build() {
    this.inForce = h('p', { 'data-value-of': 'policy' }, '–');
    this.limit = h('p', { class: 'note' });
    this.ranges = RANGES.map(([name, label]) => h('a', { href: `#policy?range=${name}`, 'data-range': name }, label));
    this.groups = new Table({
      title: 'Groups', file: 'policy-groups.csv', key: (row) => `${row.rule} ${row.group}`, shown: 12,
      empty: 'No session was answered under a rule of the policy.',
      note: 'Means a session, with their 95 % intervals. For an audit, bill and tokens are what would have been.',
      columns: [
        { label: 'Rule', value: (row) => row.rule, text: (row) => row.rule },
        { label: 'Group', value: (row) => row.group, text: (row) => GROUPS[row.group] ?? row.group },
        { label: 'Sessions', numeric: true, value: (row) => row.sessions, text: (row) => count(row.sessions) },
        { label: 'Requests', numeric: true, value: (row) => row.requests, text: (row) => count(row.requests) },
        spread('Bill', (row) => row.a_session.bill_usd, money),
        spread('Bill saved', (row) => row.saved_share_of_bill, share),
        spread('Tokens saved', (row) => row.saved_share_of_tokens, share),
        spread('Time to an answer', (row) => row.latency_ms, milliseconds),
        spread('Retrievals', (row) => row.a_session.retrievals, decimal),
        spread('Repeated reads', (row) => row.a_session.repeated_reads, decimal),
      ],
    });
    this.differences = new Table({
      title: 'Compressed sessions against the control group', file: 'policy-differences.csv',
      key: (row) => `${row.rule} ${row.measure}`, shown: 12,
      empty: 'No rule has sessions in both groups: set a share below 100 to compare.',
      note: 'A difference is beyond chance where its 95 % interval does not hold zero.',
      columns: [
        { label: 'Rule', value: (row) => row.rule, text: (row) => row.rule },
        { label: 'Measure, a session', value: (row) => row.measure, text: (row) => MEASURES[row.measure][0] },
        spread('Difference', (row) => row.difference, (value, row) => signed(value, MEASURES[row.measure][1])),
        spread('Relative', (row) => row.relative, (value) => signed(value, share)),
        { label: 'Reading', value: reading, text: reading },
      ],
    });
    this.paused = new Table({
      title: 'Engines that pause for a tool', file: 'policy-paused.csv', key: (row) => `${row.scope} ${row.engine} ${row.tool}`,
      empty: 'None: no engine is asked back too often.',
      columns: [
        { label: 'Tenant', value: (row) => row.scope, text: (row) => row.scope || 'all without one' },
        { label: 'Engine', value: (row) => row.engine, text: (row) => plain(row.engine) },
        { label: 'Tool', value: (row) => row.tool, text: (row) => row.tool || 'unknown' },
        { label: 'Asked back', numeric: true, value: (row) => row.asked_back, text: (row) => `${decimal(row.asked_back)} of ${decimal(row.shortened)}` },
        { label: 'Since', value: (row) => row.since, text: (row) => time(1000 * row.since) },
        { label: 'Until', value: (row) => row.until, text: (row) => time(1000 * row.until) },
      ],
    });
    this.observed = new Table({
      title: 'Shortened outputs that were asked back', file: 'policy-feedback.csv', key: (row) => `${row.scope} ${row.engine} ${row.tool}`,
      empty: 'Nothing was shortened lately.', sort: { index: 5, direction: -1 },
      note: 'Retrieved, or called for again. Counts weigh half after a day.',
      columns: [
        { label: 'Tenant', value: (row) => row.scope, text: (row) => row.scope || 'all without one' },
        { label: 'Engine', value: (row) => row.engine, text: (row) => plain(row.engine) },
        { label: 'Tool', value: (row) => row.tool, text: (row) => row.tool || 'unknown' },
        { label: 'Shortened', numeric: true, value: (row) => row.shortened, text: (row) => decimal(row.shortened) },
        { label: 'Asked back', numeric: true, value: (row) => row.asked_back, text: (row) => decimal(row.asked_back) },
        { label: 'Share', numeric: true, value: (row) => row.rate ?? 0, text: (row) => share(row.rate) },
      ],
    });
    this.element = h('div', { class: 'view' },
      h('div', { class: 'bar' }, h('h2', { class: 'hidden' }, 'Policy'),
        h('nav', { class: 'segments', 'aria-label': 'Time' }, ...this.ranges)),
      h('section', { class: 'card', 'aria-labelledby': 'in-force' },
        h('div', { class: 'card-head' }, h('h2', { id: 'in-force' }, 'In force')), this.inForce, this.limit),
      this.groups.element, this.differences.element, this.paused.element, this.observed.element);
  }
}

function said(policy) {
  if (!policy) return 'No policy file is set: every conversation is compressed by the settings.';
  return `${count(policy.rules)} ${policy.rules === 1 ? 'rule' : 'rules'}, read ${time(1000 * policy.since)}, version ${policy.version || 'none'}.`;
}

const groupsOf = (rule) => Object.entries(rule.groups).map(([group, found]) => ({ rule: rule.rule, group, ...found }));

function differencesOf(rule) {
  return Object.entries(rule.comparison ?? {}).map(([measure, found]) => ({ rule: rule.rule, measure, ...found }));
}

// A column of an estimate, its interval in small print below it.
function spread(label, of, format) {
  return {
    label, numeric: true, value: (row) => of(row)?.value ?? '',
    text: (row) => `${format(of(row)?.value ?? null, row)} ${between(of(row), format, row)}`.trim(),
    cell: (row, element) => {
      if (!element.firstChild) element.append(h('span'), h('br'), h('small', { class: 'note' }));
      setText(element.firstChild, format(of(row)?.value ?? null, row));
      setText(element.lastChild, between(of(row), format, row));
    },
  };
}

function between(interval, format, row) {
  if (!interval || interval.low === null || interval.high === null) return '';
  return `${format(interval.low, row)} to ${format(interval.high, row)}`;
}

function reading({ difference: { value, low, high } }) {
  if (low === null || high === null) return value === null ? 'not known' : 'too few sessions';
  if (low > 0) return 'more, beyond chance';
  if (high < 0) return 'less, beyond chance';
  return 'no difference is shown';
}

function decimal(value) {
  return value === null || value === undefined ? '–' : String(Number(value.toFixed(2)));
}

const share = (value) => percent(value === null || value === undefined ? null : 100 * value);

function signed(value, format) {
  return value === null || value === undefined ? '–' : `${value > 0 ? '+' : ''}${format(value)}`;
}
