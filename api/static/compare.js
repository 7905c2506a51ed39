// Compares a text with its compressed form, word by word, and finds the markers.

const WORDS = /[\p{L}\p{N}_./\\-]+|\s+|./gu;
const MOSTLY = 0.8;
const MARKED = /<<ccr:([a-f0-9]{12,24})[^>\n]*>>|\[[^[\]\n]*hash=([a-f0-9]{12,24})[^[\]\n]*\]|hash=([a-f0-9]{12,24})/g;

// A note about omitted lines says how many and of what kind, but shows none of them.
const NOTE = /^\[\.\.\. (?:all )?\d+ (?:lines?|rows?|words?|of the omitted (?:lines|rows) are like: .*)(?: omitted)? \.\.\.\]$/gm;

// Split a text at its markers: [{text, hash}], hash null between them.
export function markers(text) {
  const pieces = [];
  let from = 0;
  for (const match of text.matchAll(MARKED)) {
    if (match.index > from) pieces.push({ text: text.slice(from, match.index), hash: null });
    pieces.push({ text: match[0], hash: match[1] ?? match[2] ?? match[3] });
    from = match.index + match[0].length;
  }
  if (from < text.length || !pieces.length) pieces.push({ text: text.slice(from), hash: null });
  return pieces;
}

// Split `before` into runs [{text, gone}]: gone if `after` lacks it. Lines in both texts are kept;
// of the others, each word is kept as often as `after` has it anywhere, because engines reorder
// columns and group lines.
export function missing(before, after) {
  const said = markers(after).filter((piece) => piece.hash === null).map((piece) => piece.text).join('').replace(NOTE, '');
  const lines = counted(unescaped(said).split('\n').map((line) => line.trim()));
  const parts = before.split(/(?<=\n)/);
  const kept = parts.map((line) => line.trim() !== '' && take(lines, line.trim()));
  const words = counted([...lines].flatMap(([line, n]) => repeat(line.match(WORDS) ?? [], n)));
  const runs = [];
  parts.forEach((line, index) => {
    if (kept[index]) return add(runs, line, false);
    const cut = (line.match(WORDS) ?? []).map((word) => ({ text: word, gone: /\S/.test(word) && !take(words, word) }));
    // A few common words may be a coincidence: the line counts as gone, and other lines may match
    // its words.
    const gone = share(cut) > MOSTLY;
    for (const run of cut) {
      if (gone && !run.gone && /\S/.test(run.text)) words.set(run.text, (words.get(run.text) ?? 0) + 1);
      const space = !/\S/.test(run.text);
      add(runs, run.text, gone || (space ? (runs.at(-1)?.gone ?? false) : run.gone));
    }
  });
  return runs;
}

// A text inside a JSON string has its line ends and quotes escaped, maybe twice.
function unescaped(text) {
  return /^\s*["[{]/.test(text) ? text.replace(/\\+([nrt"])/g, (all, one) => (one === '"' ? ' " ' : '\n')) : text;
}

function counted(items) {
  const found = new Map();
  for (const item of items) if (item) found.set(item, (found.get(item) ?? 0) + 1);
  return found;
}

function take(found, item) {
  const n = found.get(item) ?? 0;
  if (n) found.set(item, n - 1);
  return n > 0;
}

function repeat(items, times) {
  return Array.from({ length: times }, () => items).flat();
}

function add(runs, text, gone) {
  const last = runs.at(-1);
  if (last && last.gone === gone) last.text += text;
  else runs.push({ text, gone });
}

// The share of a text's characters without spaces that is gone: 0 to 1.
export function share(runs) {
  const size = (run) => run.text.replace(/\s+/g, '').length;
  const all = runs.reduce((sum, run) => sum + size(run), 0);
  return all ? runs.filter((run) => run.gone).reduce((sum, run) => sum + size(run), 0) / all : 0;
}
