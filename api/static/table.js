// A table that sorts, searches, exports, and changes its cells in place.

import { download, h, setText } from './dom.js';

let made = 0;

// columns: {key, label, value(row), text(row), numeric, cell(row, element)}. `value` is what is
// sorted and exported, `text` what is shown, `cell` makes a cell that is more than text.
export class Table {
  constructor({ title, columns, key, empty, file, shown = 8, search = null, sort = null, note = '' }) {
    Object.assign(this, { columns, key, emptyText: empty, file, shown, title });
    this.rows = [];
    this.lines = new Map();
    this.sort = sort;
    this.query = '';
    this.all = false;
    const id = `table-${++made}`;
    this.body = h('tbody');
    this.heads = columns.map((column, index) => this.head(column, index));
    this.more = h('button', { type: 'button', class: 'quiet', onclick: () => this.toggle() });
    this.counted = h('span', { class: 'counted' });
    this.empty = h('p', { class: 'empty' }, empty);
    const tools = [];
    if (search) {
      tools.push(h('label', { class: 'search' }, h('span', { class: 'hidden' }, search),
        h('input', { type: 'search', placeholder: search, oninput: (event) => this.find(event.target.value) })));
    }
    tools.push(h('button', { type: 'button', class: 'quiet', onclick: () => this.export(),
      'aria-label': `Download ${title} as CSV` }, 'CSV'));
    this.scroller = h('div', { class: 'scroller', role: 'region', 'aria-labelledby': id, tabindex: '0' },
      h('table', {}, h('caption', { class: 'hidden' }, title),
        h('thead', {}, h('tr', {}, ...this.heads)), this.body));
    this.element = h('section', { class: 'card table-card' },
      h('div', { class: 'card-head' }, h('h2', { id }, title), h('div', { class: 'row' }, ...tools)),
      note ? h('p', { class: 'note' }, note) : null, this.scroller, this.empty,
      h('div', { class: 'table-foot' }, this.counted, this.more));
  }

  head(column, index) {
    const button = h('button', { type: 'button', onclick: () => this.order(index) }, column.label);
    return h('th', { scope: 'col', class: column.numeric ? 'number' : undefined }, button);
  }

  order(index) {
    const first = this.columns[index].numeric ? -1 : 1;
    const direction = this.sort?.index === index ? -this.sort.direction : first;
    this.sort = { index, direction };
    this.draw();
  }

  find(query) {
    this.query = query.trim().toLowerCase();
    this.draw();
  }

  toggle() {
    this.all = !this.all;
    this.draw();
  }

  update(rows) {
    this.rows = rows;
    this.draw();
  }

  wanted() {
    let rows = this.rows;
    if (this.query) {
      rows = rows.filter((row) => this.columns.some((c) => String(c.text(row)).toLowerCase().includes(this.query)));
    }
    if (!this.sort) return rows;
    const { value } = this.columns[this.sort.index];
    const { direction } = this.sort;
    return rows.map((row, index) => [row, index, value(row)]).sort((a, b) => {
      const order = typeof a[2] === 'number' && typeof b[2] === 'number'
        ? a[2] - b[2] : String(a[2]).localeCompare(String(b[2]));
      return order * direction || a[1] - b[1];
    }).map(([row]) => row);
  }

  draw() {
    const found = this.wanted();
    const rows = this.all ? found : found.slice(0, this.shown);
    const keys = new Set();
    let before = null;
    for (const row of rows) {
      const key = this.key(row);
      keys.add(key);
      const line = this.lines.get(key) ?? this.line(key);
      this.fill(line, row);
      const place = before ? before.nextSibling : this.body.firstChild;
      if (line.element !== place) this.body.insertBefore(line.element, place);
      before = line.element;
    }
    for (const [key, line] of this.lines) {
      if (!keys.has(key)) {
        line.element.remove();
        this.lines.delete(key);
      }
    }
    this.heads.forEach((head, index) => {
      if (this.sort?.index === index) head.setAttribute('aria-sort', this.sort.direction > 0 ? 'ascending' : 'descending');
      else head.removeAttribute('aria-sort');
    });
    this.empty.hidden = rows.length > 0;
    setText(this.empty, this.query && this.rows.length ? `Nothing matches “${this.query}”.` : this.emptyText);
    this.scroller.hidden = rows.length === 0;
    this.more.hidden = found.length <= this.shown;
    setText(this.more, this.all ? 'Show fewer' : `Show all ${found.length}`);
    setText(this.counted, found.length > rows.length ? `${rows.length} of ${found.length}` : '');
    this.more.parentElement.hidden = this.more.hidden && !this.counted.textContent;
  }

  line(key) {
    const cells = this.columns.map((column, index) => h(index === 0 ? 'th' : 'td', {
      class: column.numeric ? 'number' : undefined, scope: index === 0 ? 'row' : undefined,
      'data-flash': column.numeric ? '' : undefined,
    }));
    const line = { element: h('tr', {}, ...cells), cells, row: null };
    this.lines.set(key, line);
    return line;
  }

  fill(line, row) {
    if (line.row === row) return;
    line.row = row;
    this.columns.forEach((column, index) => {
      if (column.cell) column.cell(row, line.cells[index]);
      else setText(line.cells[index], column.text(row));
    });
  }

  export() {
    const lines = [this.columns.map((column) => column.label), ...this.wanted().map(
      (row) => this.columns.map((column) => column.value(row)))];
    download(this.file, lines.map((line) => line.map(quoted).join(',')).join('\r\n') + '\r\n', 'text/csv');
  }
}

// RFC 4180; a text that a spreadsheet would run as a formula is marked as text.
function quoted(value) {
  if (typeof value === 'number') return String(value);
  let text = String(value ?? '');
  if (/^[=+\-@\t\r]/.test(text)) text = `'${text}`;
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

// A cell with one button in it, whose text changes in place.
export function buttonCell(label, act, describe) {
  return (row, element) => {
    let button = element.firstElementChild;
    if (!button) {
      button = h('button', { type: 'button', class: 'link' });
      button.addEventListener('click', () => act(button.row));
      element.append(button);
    }
    button.row = row;
    setText(button, label(row));
    button.title = describe(row);
  };
}
