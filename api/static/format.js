// Formats numbers and times for display. The API's own number stays in data-value.

const whole = new Intl.NumberFormat('en-US', { maximumFractionDigits: 0 });
const NONE = '–';

const missing = (value) => value === null || value === undefined || Number.isNaN(value);

export function count(value) {
  return missing(value) ? NONE : whole.format(value);
}

export function short(value) {
  if (missing(value)) return NONE;
  const size = Math.abs(value);
  for (const [limit, unit] of [[1e9, 'B'], [1e6, 'M'], [1e3, 'k']]) {
    if (size >= limit) return `${trimmed(value / limit)}${unit}`;
  }
  return trimmed(value);
}

function trimmed(value) {
  const size = Math.abs(value);
  return String(Number(value.toFixed(size >= 100 ? 0 : size >= 10 ? 1 : 2)));
}

// Creating a formatter is expensive and using it is cheap, so each is created once.
const dollars = Object.fromEntries([2, 4, 6].map((digits) => [digits, new Intl.NumberFormat('en-US', {
  style: 'currency', currency: 'USD', minimumFractionDigits: digits, maximumFractionDigits: digits,
})]));
const share = new Intl.NumberFormat('en-US', { maximumFractionDigits: 2 });

// Two decimals from one dollar on; below it, enough digits to show the amount.
export function money(value) {
  if (missing(value)) return NONE;
  const size = Math.abs(value);
  return dollars[size === 0 || size >= 1 ? 2 : size >= 0.01 ? 4 : 6].format(value);
}

// For columns: the same number of decimals in every row.
export function exactMoney(value) {
  return missing(value) ? NONE : dollars[4].format(value);
}

export function percent(value) {
  return missing(value) ? NONE : `${share.format(value)} %`;
}

export function milliseconds(value) {
  if (missing(value)) return NONE;
  if (value >= 10_000) return `${(value / 1000).toFixed(1)} s`;
  return `${value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2)} ms`;
}

export function seconds(value) {
  if (missing(value)) return NONE;
  if (value < 1) return `${Math.round(value * 1000)} ms`;
  if (value < 60) return `${value.toFixed(value < 10 ? 1 : 0)} s`;
  if (value < 3600) return `${Math.floor(value / 60)} min ${Math.round(value % 60)} s`;
  if (value < 86_400) return `${Math.floor(value / 3600)} h ${Math.floor((value % 3600) / 60)} min`;
  return `${Math.floor(value / 86_400)} d ${Math.floor((value % 86_400) / 3600)} h`;
}

const clock = new Intl.DateTimeFormat('en-GB', { hour: '2-digit', minute: '2-digit', second: '2-digit' });
const dayClock = new Intl.DateTimeFormat('en-GB', {
  day: 'numeric', month: 'short', hour: '2-digit', minute: '2-digit', second: '2-digit',
});

export function time(stamp) {
  const date = new Date(stamp);
  if (Number.isNaN(date.getTime())) return NONE;
  return (date.toDateString() === new Date().toDateString() ? clock : dayClock).format(date);
}

// Names of headroom and of the farm in plain words. Unknown names are shown unchanged.
const PLAIN = {
  smart_crusher: 'SmartCrusher (JSON)', log: 'Log', lossless_log: 'Log (lossless)', search: 'Search',
  lossless_search: 'Search (lossless)', diff: 'Diff', lossless_diff: 'Diff (lossless)', html: 'HTML',
  text: 'Text', kompress: 'Kompress', mixed: 'Mixed content', code_aware: 'Code', several: 'Several in one message',
  farm_json: 'JSON (lossless)', farm_rows: 'JSON rows', farm_extract: 'Extract of lines', farm_prefix: 'Shared beginnings (lossless)',
  farm_records: 'Rows of like lines (lossless)', farm_repeats: 'Repeated lines (lossless)', farm_search: 'Search (lossless)', farm_plain: 'Plain text (lossless)', farm_tools: 'Tool definitions (lossless)', fold: 'Reference to the same lines above',
  json_array: 'JSON', source_code: 'Source code', build: 'Log or build output',
  read_lifecycle: 'Stale reads', tabular: 'Table', config: 'Config',
  nothing_to_compress: 'Nothing to compress', no_gain: 'No gain', protected: 'Protected content',
  bypass: 'Bypass requested', empty: 'No messages', deadline: 'Deadline passed', overload: 'Queue full',
  no_workers: 'No workers', redis: 'Redis unavailable', engine: 'Engine failed', internal: 'Internal error',
  quarantine: 'Blocks that killed workers', quota: 'Quota used up',
  policy_audit: 'Audited by the policy', policy_control: 'Control group of the policy', policy_off: 'Switched off by the policy',
};

export function plain(word) {
  return PLAIN[word] ?? word.replaceAll('_', ' ');
}
