// Texts to try, of the kinds that coding agents meet. Made here, the same each time.

// A small generator of numbers (mulberry32), so that a preset is the same text in every browser.
function dice(seed) {
  let state = seed;
  return (limit) => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) % limit;
  };
}

const numbers = (n) => Array.from({ length: n }, (_, i) => i);
const pick = (roll, list) => list[roll(list.length)];
const two = (n) => String(n).padStart(2, '0');
const hex = (roll, n) => numbers(n).map(() => roll(16).toString(16)).join('');
const stamp = (s) => `2026-03-02T${two(9 + Math.floor(s / 3600))}:${two(Math.floor(s / 60) % 60)}:${two(s % 60)}Z`;
const APPS = ['checkout', 'ledger', 'search', 'gateway', 'mailer', 'catalog'];
const MODULES = ['parser', 'planner', 'router', 'session', 'ledger', 'pricing', 'render', 'lookup', 'deadline', 'journal'];

function kubernetes() {
  const roll = dice(1);
  const items = numbers(36).map((i) => {
    const app = APPS[i % APPS.length];
    return {
      metadata: { name: `${app}-${hex(roll, 9)}-${hex(roll, 5)}`, namespace: 'shop', labels: { app, tier: i % 3 ? 'backend' : 'frontend' }, creationTimestamp: stamp(i * 41) },
      spec: { nodeName: `node-${1 + roll(5)}`, restartPolicy: 'Always', serviceAccountName: 'default', containers: [{ name: app, image: `registry.example.com/shop/${app}:2.14.${roll(4)}`, resources: { requests: { cpu: '250m', memory: '256Mi' }, limits: { cpu: '1', memory: '512Mi' } } }] },
      status: { phase: i === 17 ? 'CrashLoopBackOff' : 'Running', podIP: `10.42.${roll(5)}.${10 + roll(200)}`, restartCount: i === 17 ? 41 : 0, ready: i !== 17 },
    };
  });
  return JSON.stringify({ apiVersion: 'v1', kind: 'PodList', items }, null, 2);
}

function build() {
  const roll = dice(2);
  const lines = numbers(260).map((i) => {
    const module = pick(roll, MODULES);
    if (i === 141) return `${stamp(i)} WARN  build: src/${module}.c:88: unused variable 'spare'`;
    if (i === 203) return `${stamp(i)} ERROR build: src/pricing.c:212: undefined reference to 'units_per_token'`;
    return `${stamp(i)} INFO  build: [${i + 1}/260] compiled src/${module}_${i}.c in ${20 + roll(400)} ms`;
  });
  return [...lines, `${stamp(262)} ERROR build: 1 error, 1 warning`].join('\n');
}

function api() {
  const roll = dice(3);
  const orders = numbers(70).map((i) => ({
    id: 88_000 + i, status: pick(roll, ['paid', 'paid', 'paid', 'shipped', 'refunded']), currency: 'EUR', total: roll(40_000) / 100,
    customer: { id: 400 + roll(60), country: pick(roll, ['DE', 'FR', 'NL', 'SE']), segment: pick(roll, ['retail', 'business']) },
    created_at: stamp(i * 97), items: 1 + roll(6), coupon: null, gift: false,
  }));
  // On one line, with spaces, as Python's json writes it.
  return JSON.stringify(orders, null, 1).replace(/\n\s*/g, ' ').replace(/([[{]) /g, '$1').replace(/ ([\]}])/g, '$1');
}

function errors() {
  const roll = dice(4);
  const before = numbers(30).map((i) => `${stamp(i)} INFO  worker: job ${hex(roll, 6)} done in ${5 + roll(40)} ms`);
  return [...before,
    `${stamp(31)} ERROR worker: job ${hex(roll, 6)} failed`,
    'Traceback (most recent call last):',
    '  File "/srv/app/worker.py", line 88, in run', '    form = self.engine.compress(block.text)',
    '  File "/srv/app/engine.py", line 41, in compress', '    rows = [json.loads(line) for line in text.splitlines()]',
    '  File "/srv/app/engine.py", line 41, in <listcomp>', '    rows = [json.loads(line) for line in text.splitlines()]',
    '  File "/usr/lib/python3.11/json/__init__.py", line 346, in loads', '    return _default_decoder.decode(s)',
    'json.decoder.JSONDecodeError: Expecting value: line 1 column 1 (char 0)',
    ...numbers(30).map((i) => `${stamp(40 + i)} INFO  worker: job ${hex(roll, 6)} done in ${5 + roll(40)} ms`)].join('\n');
}

function diff() {
  const roll = dice(5);
  const files = MODULES.slice(0, 7).map((module) => {
    const hunks = numbers(4).map((k) => {
      const line = 20 + k * 60;
      const around = (from) => numbers(8).map((i) => `     ${pick(roll, ['value', 'entry', 'block', 'form'])}_${from + i} = self.${module}.read(${from + i})`);
      return [`@@ -${line},18 +${line},18 @@ def step_${k}(self):`, ...around(line),
        `-    return self.${module}.get("step_${k}")`, `+    return self.${module}.require("step_${k}", default=None)`, ...around(line + 9)].join('\n');
    });
    const path = `src/${module}.py`;
    return [`diff --git a/${path} b/${path}`, `index ${hex(roll, 7)}..${hex(roll, 7)} 100644`, `--- a/${path}`, `+++ b/${path}`, ...hunks].join('\n');
  });
  return `${files.join('\n')}\n`;
}

function grep() {
  const roll = dice(6);
  return numbers(190).map((i) => {
    const file = `services/shop/internal/${MODULES[Math.floor(i / 19)]}/${MODULES[Math.floor(i / 19)]}_handlers.py`;
    return `${file}:${12 + (i % 19) * 23}:    def ${pick(roll, ['read', 'write', 'find', 'close', 'open'])}_${pick(roll, MODULES)}(self, request, deadline):`;
  }).join('\n');
}

function html() {
  const roll = dice(7);
  const menu = numbers(24).map((i) => `<li class="nav-item nav-level-${i % 3}"><a class="nav-link" href="/docs/v2/${pick(roll, MODULES)}/${i}" data-track="nav-${i}">${pick(roll, MODULES)} ${i}</a></li>`).join('\n');
  const parts = SENTENCES.map((text, i) => `<section id="s${i}" class="doc-section"><h2 class="doc-title"><a class="anchor" href="#s${i}" aria-hidden="true"></a>Step ${i + 1}</h2>\n<div class="doc-body"><p class="doc-text">${text}</p></div></section>`).join('\n');
  const script = numbers(30).map((i) => `window.dataLayer.push({event:"view",slot:${i},campaign:"${hex(roll, 8)}"});`).join('\n');
  return `<!DOCTYPE html>\n<html><head><title>Operating the shop</title><style>.nav-item{display:block;padding:4px 12px}.doc-body{max-width:70ch}</style>\n<script>${script}</script></head>\n<body><nav><ul class="nav">${menu}</ul></nav>\n<main><article><h1>Operating the shop</h1>\n${parts}\n</article></main>\n<footer><p>All rights reserved.</p></footer></body></html>`;
}

const SENTENCES = [
  'The service starts in the order that its parts depend on each other, and it waits for each of them before it takes the first request of a customer. People who run it for the first time are often surprised that nothing seems to happen for a while, and this is fine.',
  'Once the storage answers, the workers announce themselves and the front end begins to hand out work. It is a good habit to look at the queue before looking at anything else, because a queue that grows is the first thing that changes when something is wrong further down.',
  'In quiet hours a single worker is usually enough, and adding more of them changes very little for anybody. In busy hours the picture is quite different, since a worker that is occupied with a large piece of text makes the small ones behind it wait for their turn.',
  'There are several ways to find out which part is slow. The simplest one is to compare how long a job waits with how long it takes, because a long wait with a short run means that there are too few workers, while a short wait with a long run means that the work itself is heavy.',
  'When the storage is restarted, requests go on being answered, and what they would have saved is simply not saved for the moment. Nobody needs to be called for that at night. The dashboard says so in plain words, and it stops saying so as soon as the storage is back.',
  'Before a new version goes out, it helps to send it a small share of the traffic and to look at the savings next to those of the old version. Numbers that move together are a good sign. Numbers that drift apart deserve a closer look before anything else is done.',
  'The people who pay the bill look at different numbers than the people who keep the service running. It is worth showing both of them the same page, because questions are answered faster when everybody talks about the same figure and knows where it comes from.',
  'Old data leaves on its own after a while, and there is no need to clean up by hand. If something is missing that should still be there, the first question is how long ago it was used, and the second is whether the storage had to make room for something newer.',
  'Whoever changes a setting should write down why, preferably next to the setting itself. Many of the strange values that are found years later were once a good idea, and a short sentence would have told the next reader whether the reason for them still exists.',
  'Finally, do not be afraid to turn a part off and see what happens. The service was made to lose any of its parts and to go on answering, and trying this on a quiet afternoon is a great deal more pleasant than finding it out in the middle of the night.',
  'A dashboard that nobody reads is worth less than no dashboard, because it gives the feeling that somebody is looking. It is better to have three numbers that are read every morning than thirty that are read after something has gone wrong.',
  'The order in which things are switched off matters as much as the order in which they are switched on. The front end goes first, so that nothing new comes in, then the workers finish what they have, and the storage is the last to leave.',
  'Tests that run on a quiet machine say little about a busy one. It is worth running them once beside something heavy, since what waits for a moment longer than usual is exactly what will wait for much longer on the day that everybody comes at once.',
  'When two people disagree about what the service does, the quickest way to an answer is to ask the service. A question that takes a minute to try is not worth an hour of talk, and what was tried can be written down for those who ask next.',
  'Numbers in a report need their unit and their moment next to them. A figure without a unit is read in the one that the reader is used to, and a figure without a moment is taken for one of today, long after the machine that it came from is gone.',
  'It is tempting to give every customer a setting of their own. Each of them has to be remembered when something changes, and most of them turn out to have been wishes of a single afternoon, so a default that suits nearly everybody is the better gift.',
  'A copy of the data that was never read back is a hope and not a copy. Reading it back once a month into an empty place takes little time, and it shows in peace what would otherwise be found out in a hurry by people who have slept badly.',
  'Where a queue has a bound, somebody has decided what happens beyond it. Turning work away early is kinder than keeping it until nobody wants the answer any more, and those who are turned away can go somewhere else while there is still time for it.',
  'Names outlive the things that they were given to. A part that is called after what it did in its first week will mislead everybody who comes later, so a new name is worth the small trouble of changing it wherever the old one was written down.',
  'The best moment to write an instruction is right after having needed one. Later the details are gone, the order of the steps is a matter of memory, and what had to be looked up twice has started to look as if everybody had always known it.',
  'Trust in a system grows slowly and leaves quickly. A page that admits that it does not know a number does more for it than one that shows a zero, because a zero is believed until the day when somebody adds the numbers up by hand.',
  'In the end the people who use the service do not care how it was made. They notice that it answers, that it answers in time, and that what it says today agrees with what it said yesterday, and everything else is there to keep it so.',
  'Every part that can fail should be seen to fail once while people are watching. What it then writes into its log is read with care, the words that nobody understood are replaced, and the next time the same failure comes it is an ordinary event.',
  'Leave the place as you would like to find it. A change that is finished has its explanation next to it, has no open ends that only its author knows about, and can be taken back by somebody else without having to ask for permission or for help.',
];

function prose() {
  return SENTENCES.join('\n\n');
}

function source() {
  const methods = MODULES.map((name) => `    def ${name}(self, block: Block, deadline: float) -> Form | None:
        """Return what the ${name} makes of a block, or None past the deadline."""
        started = time.monotonic()
        for attempt in range(self.attempts):
            if time.monotonic() - started > deadline:
                return None
            try:
                form = self.parts["${name}"].apply(block, attempt)
            except TransientFailure as failure:
                self.failures["${name}"] += 1
                log.warning("${name}_failed", attempt=attempt, kind=type(failure).__name__)
                continue
            return form if form.tokens < block.tokens else None
        return None
`);
  return `"""The shop's pipeline."""

from __future__ import annotations

import time
from collections import Counter

from .forms import Block, Form, TransientFailure
from .logs import log


class Pipeline:
    """Takes a block through its parts, one after the other."""

    def __init__(self, parts: dict[str, Part], attempts: int = 3) -> None:
        self.parts = parts
        self.attempts = attempts
        self.failures: Counter[str] = Counter()

${methods.join('\n')}`;
}

export const PRESETS = {
  kubernetes: { label: 'Kubernetes JSON', command: 'kubectl get pods -o json', text: kubernetes },
  build: { label: 'Build log', command: 'make build', text: build },
  source: { label: 'Source code', command: 'src/pipeline.py', as: 'read', text: source },
  api: { label: 'API response', command: 'curl -s https://shop.example.com/v2/orders', text: api },
  prose: { label: 'Prose', command: 'cat docs/operating.txt', text: prose },
  errors: { label: 'Error log', command: 'journalctl -u worker', text: errors },
  diff: { label: 'Diff', command: 'git diff', text: diff },
  grep: { label: 'grep', command: "grep -rn 'def ' services", text: grep },
  html: { label: 'HTML', command: 'curl -s https://docs.example.com/operating', text: html },
};
