// uPlot in the page's colours, with a tooltip, keyboard access and a summary for screen readers.

import { clear, h, setText } from './dom.js';

const uPlot = window.uPlot;

// The style sheet defines the colours: for the canvas they are read from elements of its classes.
export function colour(name) {
  const probe = h('span', { class: `ink-${name} hidden` });
  document.body.append(probe);
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
}

const charts = new Set();
const font = () => getComputedStyle(document.body).fontFamily;

// series: {label, ink, format(value)}; kind: 'bars' or 'lines'; x are epoch seconds.
export class Chart {
  constructor({ label, series, kind, yFormat, xFormat, height = 240 }) {
    Object.assign(this, { label, series, kind, yFormat, xFormat, height });
    this.data = null;
    this.tip = h('div', { class: 'tip', 'aria-hidden': 'true', hidden: true });
    this.said = h('p', { class: 'hidden', 'aria-live': 'polite' });
    this.place = h('div', { class: 'plot', role: 'img', tabindex: '0', 'aria-label': label });
    this.place.addEventListener('keydown', (event) => this.step(event));
    this.place.addEventListener('blur', () => this.hide());
    this.element = h('div', { class: 'chart' }, this.place, this.tip, this.said);
    this.at = null;
    new ResizeObserver(() => this.fit()).observe(this.element);
    charts.add(this);
  }

  update(data, summary) {
    this.data = data;
    this.place.setAttribute('aria-label', `${this.label}. ${summary} Arrow keys read the values.`);
    if (this.plot) this.plot.setData(data);
    else this.draw();
  }

  // The plot is rebuilt for other series or colours, but not for new numbers.
  redraw() {
    this.plot?.destroy();
    this.plot = null;
    clear(this.place);
    if (this.data) this.draw();
  }

  fit() {
    const width = Math.floor(this.element.clientWidth);
    if (this.plot && width > 0 && this.plot.width !== width) this.plot.setSize({ width, height: this.size() });
    else if (!this.plot && this.data) this.draw();
  }

  size() {
    return Math.round(this.height * parseFloat(getComputedStyle(document.documentElement).fontSize) / 16);
  }

  draw() {
    const width = Math.floor(this.element.clientWidth);
    if (width <= 0) return;
    const rem = parseFloat(getComputedStyle(document.documentElement).fontSize);
    const text = `${Math.round(rem * 0.75)}px ${font()}`;
    const axis = {
      stroke: colour('muted'), font: text, grid: { stroke: colour('line'), width: 1 },
      ticks: { show: false }, border: { show: false },
    };
    const bars = uPlot.paths.bars({ size: [0.72, 48], radius: 0.12, align: 0 });
    this.plot = new uPlot({
      width, height: this.size(), legend: { show: false }, padding: [rem * 0.75, rem * (this.kind === 'lines' ? 2 : 0.75), 0, 0],
      cursor: { y: false, points: { show: this.kind === 'lines' }, drag: { x: false, y: false } },
      scales: {
        x: { time: true, range: (u, low, high) => this.range(low, high) },
        y: { range: (u, low, high) => [low < 0 ? low * 1.08 : 0, high > 0 ? high * 1.08 : low < 0 ? 0 : 1] },
      },
      axes: [
        { ...axis, grid: { show: false }, space: rem * 5.5, size: rem * 2, values: (u, splits) => splits.map((s) => this.xFormat(s, true)) },
        { ...axis, size: rem * 3.6, space: rem * 2.6, values: (u, splits) => splits.map((value) => this.yFormat(value)) },
      ],
      series: [{}, ...this.series.map((one) => ({
        label: one.label, stroke: colour(one.ink), width: this.kind === 'bars' ? 0 : 2,
        fill: this.kind === 'bars' ? colour(one.ink) : undefined,
        paths: this.kind === 'bars' ? bars : undefined, points: { show: false }, spanGaps: false,
      }))],
      hooks: { setCursor: [(u) => this.point(u)] },
    }, this.data, this.place);
  }

  range(low, high) {
    if (this.kind !== 'bars') return low === high ? [low - 30, high + 30] : [low, high];
    const x = this.data[0];
    const step = x.length > 1 ? x[1] - x[0] : 3600;
    return [low - step / 2, high + step / 2];
  }

  point(u) {
    const { idx, left } = u.cursor;
    if (idx === null || idx === undefined || left < 0) return this.hide();
    this.at = idx;
    const lines = this.series.map((one, i) => {
      const value = this.data[i + 1][idx];
      return h('span', { class: 'tip-line' }, h('i', { class: `swatch back-${one.ink}` }),
        `${one.label}: `, h('b', {}, value === null || value === undefined ? 'none' : one.format(value)));
    });
    clear(this.tip).append(h('span', { class: 'tip-time' }, this.xFormat(this.data[0][idx], false)), ...lines);
    this.tip.hidden = false;
    const x = u.over.offsetLeft + u.valToPos(this.data[0][idx], 'x');
    const room = this.element.clientWidth - this.tip.offsetWidth - 8;
    this.tip.style.left = `${Math.max(4, Math.min(room, x - this.tip.offsetWidth / 2))}px`;
  }

  hide() {
    this.tip.hidden = true;
  }

  step(event) {
    const moves = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity };
    if (!(event.key in moves) || !this.plot || !this.data[0].length) return;
    event.preventDefault();
    const last = this.data[0].length - 1;
    const from = this.at ?? (moves[event.key] > 0 ? -1 : last + 1);
    const index = Math.max(0, Math.min(last, from + moves[event.key]));
    this.plot.setCursor({ left: this.plot.valToPos(this.data[0][index], 'x'), top: 1 });
    setText(this.said, `${this.xFormat(this.data[0][index], false)}: ${this.series.map(
      (one, i) => `${one.label} ${one.format(this.data[i + 1][index] ?? 0)}`).join(', ')}`);
  }
}

export function redrawCharts() {
  for (const chart of charts) if (chart.element.isConnected) chart.redraw();
}

matchMedia('(prefers-color-scheme: dark)').addEventListener('change', redrawCharts);
