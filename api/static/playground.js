// The playground: runs a text through the real compressor and shows the path it took.

import { ask, Failure } from './api.js';
import { markers, missing, share } from './compare.js';
import { clear, h, setText } from './dom.js';
import { count, milliseconds, percent, plain } from './format.js';
import { PRESETS } from './presets.js';

const STAGES = [
  ['read', 'Read', 'split the body, count tokens'], ['plan', 'Plan', 'what may shrink, by headroom’s rules'],
  ['lookup', 'Look up', 'the session cache'], ['wait', 'Wait', 'queue, worker, engine'],
  ['assemble', 'Assemble', 'insert the texts'],
];
const SOURCES = {
  engine: 'miss: computed by an engine', session_cache: 'hit: session cache in Redis', front_end: 'hit: memory of this front end',
};
const OUTCOMES = {
  compressed: 'compressed', unchanged: 'the engine found nothing to remove', failed: 'the engine failed: unchanged',
  not_done: 'not done in time: unchanged',
};
// headroom's names of the reasons why a text stays unchanged, in plain words.
const WHY = [
  [/protected:user_message/, 'A user’s own text is never changed.'],
  [/protected:system|protected:developer/, 'System prompts are never changed.'],
  [/protected:error_output/, 'It looks like an error: tracebacks and failures stay whole, because the model needs every line.'],
  [/protected:recent_code/, 'Source code in the recent messages is protected.'],
  [/protected:analysis_context/, 'The user asks about code, so code stays whole.'],
  [/read_protected|excluded:tool/, 'The output of this tool stays whole (fresh reads, writes and edits must match the file).'],
  [/verbatim:grew/, 'The result would have had more tokens than the original.'],
  [/verbatim:no_workers/, 'No worker of its pool is alive.'], [/verbatim:redis/, 'Redis is unavailable.'],
  [/verbatim:deadline/, 'It was not finished by the deadline; the next request finds it in the cache.'],
  [/verbatim:overload/, 'The queue is full.'], [/verbatim:engine/, 'The engine failed.'],
];
const TOOLS = {
  command: { label: 'the output of a command', role: 'tool' },
  read: { label: 'a file that the agent has read', role: 'tool' },
  user: { label: 'the text of a user', role: 'user' },
};

export class PlaygroundView {
  constructor() {
    // A separate sandbox: the first run of a text is a real one, the second shows the cache.
    this.headers = { 'x-headroom-playground': crypto.getRandomValues(new Uint32Array(3)).join('-') };
    this.build();
  }

  interval() { return 0; }

  open() { /* the address has no parameters */ }

  warning() { return ['']; }

  async refresh() { /* runs only when the user asks for it */ }

  // ── building ──────────────────────────────────────────────────────────────────────

  build() {
    this.text = h('textarea', { id: 'play-text', rows: '12', spellcheck: 'false', placeholder: 'Paste what a tool printed, or choose one below.' });
    this.command = h('input', { id: 'play-command', type: 'text', value: 'make build', spellcheck: 'false', autocomplete: 'off' });
    this.as = h('select', { id: 'play-as' }, ...Object.entries(TOOLS).map(([value, tool]) => h('option', { value }, tool.label)));
    this.mode = h('select', { id: 'play-mode' }, h('option', { value: 'ccr' }, 'all engines, with markers'), h('option', { value: 'marker-free' }, 'lossless only'));
    this.model = h('input', { id: 'play-model', type: 'text', value: 'claude-sonnet-4-20250514', spellcheck: 'false', autocomplete: 'off' });
    this.run = h('button', { type: 'submit', class: 'primary' }, 'Compress');
    this.problem = h('p', { class: 'problem', role: 'alert', hidden: true });
    this.said = h('p', { class: 'hidden', role: 'status' });
    this.presets = Object.entries(PRESETS).map(([name, preset]) => h('button', { type: 'button', class: 'chip', 'data-preset': name,
      'aria-pressed': 'false', onclick: () => this.choose(name) }, preset.label));
    this.result = h('div', { class: 'result', hidden: true });
    const form = h('form', { class: 'card play', onsubmit: (event) => { event.preventDefault(); this.compress(); } },
      h('div', { class: 'card-head' }, h('h2', {}, 'Playground'), h('p', { class: 'note' }, 'The real engines, in a sandbox of this page. Results do not count in the reports.')),
      h('div', { class: 'chips', role: 'group', 'aria-label': 'Examples' }, ...this.presets),
      h('label', { for: 'play-text' }, 'Text'), this.text,
      h('div', { class: 'fields' }, field('Kind of text', this.as), field('Printed by', this.command), field('Model', this.model), field('Engines', this.mode)),
      h('div', { class: 'row' }, this.run, h('span', { class: 'hint' }, 'or Ctrl+Enter in the text'), this.problem));
    this.text.addEventListener('keydown', (event) => {
      if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) this.compress();
    });
    this.text.addEventListener('input', () => this.press(null));
    this.element = h('div', { class: 'view' }, form, this.said, this.result);
  }

  press(name) {
    for (const chip of this.presets) chip.setAttribute('aria-pressed', String(chip.dataset.preset === name));
  }

  choose(name) {
    const preset = PRESETS[name];
    this.text.value = preset.text();
    this.command.value = preset.command;
    this.as.value = preset.as ?? 'command';
    this.press(name);
    this.compress();
  }

  // ── asking ────────────────────────────────────────────────────────────────────────

  conversation() {
    const text = this.text.value;
    if (this.as.value === 'user') return [{ role: 'user', content: text }];
    const [name, input] = this.as.value === 'read' ? ['Read', { file_path: this.command.value }] : ['Bash', { command: this.command.value }];
    return [
      { role: 'user', content: 'What does this say?' },
      { role: 'assistant', content: [{ type: 'tool_use', id: 'playground', name, input }] },
      { role: 'user', content: [{ type: 'tool_result', tool_use_id: 'playground', content: text }] },
    ];
  }

  async compress() {
    if (!this.text.value.trim()) return this.fail('There is no text to compress.');
    const asked = this.conversation();
    this.run.disabled = true;
    this.problem.hidden = true;
    try {
      const answer = await ask('v1/playground', { method: 'POST', headers: this.headers,
        body: { messages: asked, model: this.model.value, mode: this.mode.value } });
      this.show(asked, answer);
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      const scope = error.kind === 'unauthorized' || error.kind === 'forbidden' ? ' A token with the scopes compress and retrieve is required.' : '';
      this.fail(`${error.message}${scope}`);
    } finally {
      this.run.disabled = false;
    }
  }

  fail(message) {
    this.problem.hidden = false;
    setText(this.problem, message);
  }

  // ── showing ───────────────────────────────────────────────────────────────────────

  show(asked, answer) {
    const last = answer.trace.messages.at(-1);
    const before = textOf(asked.at(-1));
    const after = textOf(answer.messages.at(-1));
    clear(this.result).append(this.summary(answer), h('div', { class: 'pair' }, this.way(answer.trace), this.facts(answer, last)), this.sides(before, after));
    this.result.hidden = false;
    this.result.dataset.run = String(Number(this.result.dataset.run ?? 0) + 1);
    setText(this.said, `${count(answer.tokens_saved)} of ${count(answer.tokens_before)} tokens saved in ${milliseconds(answer.trace.total_ms)}.`);
  }

  summary(answer) {
    const pct = 100 * answer.compression_ratio;
    const bar = h('i', { class: 'back-accent' });
    bar.style.inlineSize = `${100 - pct}%`;
    return h('section', { class: 'card verdict-card', 'aria-label': 'Result' },
      h('p', { class: answer.tokens_saved ? 'big' : 'big none' }, answer.tokens_saved ? percent(pct) : 'Nothing', h('span', { class: 'big-more' }, ' saved')),
      h('dl', { class: 'facts' }, pair('Tokens before', count(answer.tokens_before), 'before'), pair('Tokens after', count(answer.tokens_after), 'after'),
        pair('Saved', count(answer.tokens_saved), 'saved'), pair('Time', milliseconds(answer.trace.total_ms), 'ms')),
      h('i', { class: 'share tall' }, bar));
  }

  way(trace) {
    const total = Object.values(trace.stages_ms).reduce((a, b) => a + b, 0) || 1;
    const took = STAGES.filter(([name]) => name in trace.stages_ms);
    return h('section', { class: 'card', 'aria-labelledby': 'way' }, h('div', { class: 'card-head' }, h('h2', { id: 'way' }, 'Path through the farm')),
      h('ol', { class: 'way' }, ...took.map(([name, label, what]) => {
        const spent = trace.stages_ms[name];
        const bar = h('i', { class: 'back-accent' });
        bar.style.inlineSize = `${(100 * spent) / total}%`;
        return h('li', { 'data-stage': name }, h('b', {}, label), h('span', { class: 'ms' }, milliseconds(spent)), h('i', { class: 'share' }, bar), h('span', { class: 'note' }, what));
      })));
  }

  facts(answer, last) {
    const block = last?.blocks[0];
    const reasons = why(last, answer);
    const rows = [];
    if (block) {
      rows.push(['Detected', block.detected === null ? 'a large text, read in a child process' : `${plain(block.detected)} (confidence ${percent(100 * block.confidence)})`], ['Pool', block.pool],
        ['Engine', block.engines.map(plain).join(', ') || 'none'], ['Outcome', OUTCOMES[block.outcome] ?? block.outcome],
        ['Cache', SOURCES[block.source] ?? 'no cached result'],
        ['Engine time', `${milliseconds(block.engine_ms)}${block.source && block.source !== 'engine' ? ' (when it was computed)' : ''}`],
        ['Text alone', `${count(block.tokens_before)} to ${count(block.tokens_after)} tokens`]);
    } else {
      rows.push(['Detected', 'not run: no engine was needed'], ['Pool', 'none'], ['Engine', 'none']);
    }
    rows.push(['Transforms', (last?.transforms ?? answer.transforms_applied).join(', ') || 'none']);
    if (answer.degraded.length) rows.push(['Degraded', answer.degraded.map(plain).join(', ')]);
    return h('section', { class: 'card', 'aria-labelledby': 'how' }, h('div', { class: 'card-head' }, h('h2', { id: 'how' }, 'How it was decided')),
      ...reasons.map((reason) => h('p', { class: 'why' }, reason)),
      h('dl', { class: 'facts wide' }, ...rows.map(([label, value]) => pair(label, value, label.toLowerCase().replace(' ', '-')))));
  }

  sides(before, after) {
    const runs = missing(before, after);
    const gone = share(runs);
    return h('section', { class: 'sides', 'aria-label': 'Input and output' },
      pane('Input', gone ? `${percent(100 * gone)} of its characters were removed` : 'all of it is in the output', marked(runs)),
      pane('Output', markers(after).some((piece) => piece.hash) ? 'choose a marker to see the original' : before === after ? 'the same text' : 'every change can be reversed: no marker needed',
        linked(after, (hash) => this.original(hash, after))));
  }

  async original(hash, after) {
    const dialog = document.getElementById('original-dialog');
    const title = h('h2', { id: 'original-title' }, 'The original');
    const close = h('button', { type: 'button', class: 'primary', onclick: () => dialog.close() }, 'Close');
    let parts;
    try {
      const found = await ask(`v1/retrieve/${hash}`, { headers: this.headers });
      const runs = missing(found.original_content, after);
      const gone = runs.filter((run) => run.gone);
      const lines = gone.reduce((sum, run) => sum + run.text.split('\n').filter((line) => line.trim()).length, 0);
      const inner = [...new Set(markers(found.original_content).map((piece) => piece.hash).filter(Boolean))];
      parts = [h('p', { class: 'note' }, `hash ${hash} ·${found.original_tokens ? ` ${count(found.original_tokens)} tokens ·` : ''} retrieved ${count(found.retrieval_count)} ${found.retrieval_count === 1 ? 'time' : 'times'}`),
        h('p', { class: 'legend' }, h('span', {}, h('del', {}, 'marked'), ` text was removed: ${count(lines)} lines or parts of lines, ${percent(100 * share(runs))} of its characters.`)),
        h('pre', { class: 'code', tabindex: '0', 'aria-label': 'Original, removed parts are marked' }, ...marked(runs)),
        ...inner.map((one) => h('p', {}, 'It contains another marker: ', h('button', { type: 'button', class: 'link', onclick: () => this.original(one, after) }, one)))];
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      parts = [h('p', { class: 'problem', role: 'alert' }, `It cannot be retrieved: ${error.message}`)];
    }
    clear(dialog).append(title, ...parts, h('div', { class: 'row end' }, close));
    if (!dialog.open) dialog.showModal();
    close.focus();
  }
}

function why(last, answer) {
  const words = [...(last?.kept_because ?? []), ...answer.transforms_applied.filter((t) => t.startsWith('farm:verbatim'))];
  const known = [...new Set(words.map((word) => WHY.find(([rule]) => rule.test(word))?.[1] ?? `Headroom's rule: ${word}.`))];
  if (known.length || answer.tokens_saved) return known;
  return [last?.blocks.length ? 'The engine kept all of it.' : 'Too short, or not a kind of text that an engine handles.'];
}

function textOf(message) {
  if (typeof message.content === 'string') return message.content;
  const { content } = message.content.at(-1);
  return typeof content === 'string' ? content : content.map((part) => part.text ?? '').join('');
}

const marked = (runs) => runs.map((run) => (run.gone ? h('del', {}, run.text) : document.createTextNode(run.text)));

function linked(text, open) {
  return markers(text).map((piece) => (piece.hash === null ? document.createTextNode(piece.text)
    : h('button', { type: 'button', class: 'marker', 'data-hash': piece.hash, title: 'Show the original', onclick: () => open(piece.hash) }, piece.text)));
}

function pane(title, note, content) {
  return h('section', { class: 'card pane' }, h('div', { class: 'card-head' }, h('h2', {}, title), h('p', { class: 'note' }, note)),
    h('pre', { class: 'code', tabindex: '0', 'aria-label': title, 'data-pane': title.toLowerCase() }, ...content));
}

function pair(label, value, name) {
  return h('div', {}, h('dt', {}, label), h('dd', { 'data-fact': name }, value));
}

function field(label, control) {
  return h('div', { class: 'field' }, h('label', { for: control.id }, label), control);
}
