// Draws a run from its data (see view.py). All text goes through textContent, never through markup.

const SVG = 'http://www.w3.org/2000/svg';
const $ = (id) => document.getElementById(id);
const FAILED = new Set(['invalid', 'oom', 'diverged', 'crash', 'timeout', 'infeasible']);
const PHASES = ['trace', 'compile', 'train', 'calibrate', 'evaluate', 'wait'];
const ROWS = 100;  // of the table, made at a time
const KEYWORDS = new Set(
  ('and as assert break class continue def del elif else except False finally for from if import ' +
   'in is lambda None not or pass raise return True try while with yield').split(' '));

let run;                       // the RunView
let byId = new Map();          // id -> TrialView
let keptPrograms = new Set();  // first trials of programs that were kept
let sorting = { key: 'id', up: true };
let waiting = [];              // trials whose rows are not made yet
let range = null;              // [first, last] trial of the staircase; null for all

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  return filled(made, attributes, children);
}

function shape(tag, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), attributes, children);
}

function filled(made, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith('on')) made.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined) made.setAttribute(name, value);
  }
  made.append(...children.filter((child) => child !== null));
  return made;
}

const number = (value, digits = 4) =>
  value === null || value === undefined ? '' : Number(value.toPrecision(digits)).toString();
const signed = (value) => (value > 0 ? '+' : value < 0 ? '\u2212' : '') + number(Math.abs(value), 3);
const withError = (value, error) =>
  value === null ? '' : signed(value) + (error === null ? '' : ` \u00b1 ${number(error, 2)}`);
const percent = (value) => `${Math.round(100 * value)} %`;
const clock = (time, exact) => new Date(1000 * time).toLocaleTimeString('en-GB',
  { hour: '2-digit', minute: '2-digit', ...(exact ? { second: '2-digit' } : {}) });

function duration(seconds) {
  if (seconds < 90) return `${number(seconds, 3)} s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 90 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

const isBetter = (a, b) => (run.direction === 'minimize' ? a < b : a > b);
const isFailed = (trial) => FAILED.has(trial.status);
const kindOf = (trial) =>
  trial.decision === 'keep' ? 'keep' : trial.undecided ? 'undecided' : isFailed(trial) ? 'bad' : '';

function verdictWord(trial) {
  if (trial.decision === 'keep') return 'kept';
  if (trial.undecided) return 'undecided';
  if (trial.status !== 'ok') return trial.status;
  return trial.original !== trial.id ? 'repetition' : trial.decision === 'discard' ? 'discarded' : '';
}

// Half width of the 95 % interval of a program's mean, from the noise between seeds.
const halfWidth = (trial) =>
  run.noise === null || !trial.program_runs ? null : 1.96 * run.noise / Math.sqrt(trial.program_runs);

// --- tooltip -------------------------------------------------------------------------------------

function tip(text, event) {
  const box = $('tip');
  box.textContent = text;
  box.style.setProperty('visibility', 'visible');
  const target = event.target.getBoundingClientRect();
  const x = event.clientX || target.right, y = event.clientY || target.top;
  const left = Math.min(x + 14, innerWidth - box.offsetWidth - 8);
  const top = y + 18 + box.offsetHeight > innerHeight ? y - box.offsetHeight - 12 : y + 18;
  box.style.setProperty('left', `${Math.max(8, left)}px`);
  box.style.setProperty('top', `${Math.max(8, top)}px`);
}

const hideTip = () => $('tip').style.setProperty('visibility', 'hidden');

function describe(trial) {
  const value = trial.program_value === null ? '' :
    `\n${run.metric} ${number(trial.program_value, 6)}` +
    (halfWidth(trial) === null ? '' : ` \u00b1 ${number(halfWidth(trial), 2)}`) +
    ` (${trial.program_runs} run${trial.program_runs === 1 ? '' : 's'})`;
  return [`Trial ${trial.id}: ${trial.description}${value}`, verdictWord(trial), trial.claim, trial.reason]
    .filter(Boolean).join('\n');
}

// Attributes of a mark that stands for a trial; `listen` makes such marks tell about it and open it.
const mark = (trial) => ({ tabindex: 0, role: 'button', 'data-trial': trial.id,
  'aria-label': `Trial ${trial.id}, ${trial.description}` });

function listen(container, tells) {
  const trialOf = (event) => byId.get(Number(event.target.closest?.('[data-trial]')?.dataset.trial ?? -1));
  const onTrial = (action) => (event) => { const trial = trialOf(event); if (trial) action(trial, event); };
  container.addEventListener('click', onTrial((trial) => open(trial.id)));
  container.addEventListener('keydown', onTrial((trial, event) => {
    if (event.key === 'Enter' || event.key === ' ') { event.preventDefault(); open(trial.id); }
  }));
  if (!tells) return;
  for (const name of ['pointerover', 'focusin']) container.addEventListener(name, onTrial((trial, event) => tip(describe(trial), event)));
  for (const name of ['pointerout', 'focusout']) container.addEventListener(name, hideTip);
}

// --- scales and axes -----------------------------------------------------------------------------

function ticks(low, high, count) {
  const raw = (high - low) / count || 1, power = 10 ** Math.floor(Math.log10(raw));
  const step = power * [1, 2, 5, 10].find((factor) => factor * power >= raw);
  const found = [];
  for (let value = Math.ceil(low / step) * step; value <= high + step / 1e6; value += step) found.push(value);
  return found;
}

const scale = (low, high, from, to) => (value) => from + ((value - low) / (high - low || 1)) * (to - from);

function frame(width, height, label) {
  return shape('svg', { viewBox: `0 0 ${width} ${height}`, role: 'group', 'aria-label': label });
}

function axes(svg, box, x, y, xs, ys, xName, yName, xFormat = String) {
  for (const value of ys) {
    svg.append(
      shape('line', { class: 'grid', x1: box.left, x2: box.right, y1: y(value), y2: y(value) }),
      shape('text', { x: box.left - 8, y: y(value) + 4, 'text-anchor': 'end' }, number(value, 4)));
  }
  for (const value of xs) {
    svg.append(shape('text', { x: x(value), y: box.bottom + 18, 'text-anchor': 'middle' }, xFormat(value)));
  }
  svg.append(
    shape('line', { class: 'axis', x1: box.left, x2: box.right, y1: box.bottom, y2: box.bottom }),
    shape('text', { x: box.right, y: box.bottom + 36, 'text-anchor': 'end' }, xName),
    shape('text', { class: 'label', x: box.left - 8, y: box.top - 10 }, yName));
}

const chartWidth = (id) => Math.max(320, Math.round($(id).clientWidth));

// --- sections ------------------------------------------------------------------------------------

function drawHeader() {
  $('name').textContent = run.name;
  $('settings').textContent = run.settings.map(([name, value]) => `${name} ${value}`).join(' \u00b7 ');
}

function card(big, small, wide = false) {
  return element('div', { class: wide ? 'card wide' : 'card' }, element('b', {}, big), element('span', {}, small));
}

function drawHeadline() {
  const h = run.headline, cards = [];
  const best = h.best === null ? null : byId.get(h.best);
  if (h.best_value === null) cards.push(card('\u2013', 'no trial has a score yet'));
  else {
    cards.push(card(number(h.best_value, 5), `best ${run.metric}, ${h.best_runs === 1 ? '1 run' : `mean of ${h.best_runs} runs`}`));
    const errors = h.standard_errors === null ? '' : `, ${number(h.standard_errors, 2)} standard errors`;
    if (h.best !== 0) cards.push(card(signed(h.gain), `gain over the baseline's ${number(h.baseline_value, 5)}${errors}`));
  }
  if (h.test_gain !== null) {
    cards.push(card(withError(h.test_gain, h.test_half_width), 'gain on the test split, 95 % interval'));
  }
  cards.push(card(String(h.trials), `trials, ${h.kept} kept, ${h.failed} without a score`));
  cards.push(card(percent(h.utilization), `of ${duration(3600 * h.hours)} a device trained; ${Math.round(h.trials_per_hour)} trials an hour`));
  if (h.spend) cards.push(card(h.spend.split(', ').at(-1), h.spend));
  if (best) {
    const button = element('button', { onclick: () => open(best.id) }, `Trial ${best.id}: ${best.description}`);
    const sentence = [h.conclusion, run.stopped].filter(Boolean).join(' ');
    cards.push(element('div', { class: 'card wide' }, element('span', {}, 'Best program '), button,
      element('p', {}, sentence)));
  }
  $('headline').replaceChildren(...cards);
}

function drawStaircase() {
  const width = chartWidth('staircase'), height = Math.min(440, Math.max(260, width * 0.45));
  const box = { left: 64, right: width - 12, top: 28, bottom: height - 44 };
  const shown = run.trials.filter((t) => !range || (t.id >= range[0] && t.id <= range[1]));
  const programs = shown.filter((t) => t.original === t.id && t.program_value !== null);
  const svg = frame(width, height, 'Trials and the best program so far');
  if (!programs.length) {
    $('staircase').replaceChildren(element('p', { class: 'hint' }, 'No trial has a score yet.'));
    return;
  }
  // Scores far from the kept ones are drawn at the edge, so that the staircase stays readable.
  const values = programs.map((t) => t.program_value).sort((a, b) => a - b);
  const kept = programs.filter((t) => t.decision === 'keep' || isKeptProgram(t)).map((t) => t.program_value);
  const quantile = (share) => values[Math.min(values.length - 1, Math.floor(share * values.length))];
  let low = Math.min(...kept, quantile(0.05)), high = Math.max(...kept, quantile(0.85));
  const pad = 0.08 * (high - low || Math.abs(high) || 1);
  [low, high] = [low - pad, high + pad];
  const first = shown[0].id, last = Math.max(first + 1, shown.at(-1).id);
  const x = scale(first, last, box.left + 8, box.right - 8), y = scale(low, high, box.bottom, box.top);
  const inside = (value) => Math.min(box.bottom, Math.max(box.top, y(value)));
  axes(svg, box, x, y, ticks(first, last, Math.min(10, width / 80)).filter(Number.isInteger),
    ticks(low, high, 5), 'trial', `${run.metric}, ${run.direction === 'minimize' ? 'lower' : 'higher'} is better`);
  let path = '', level = null;
  for (const id of run.kept) {
    const trial = byId.get(byId.get(id).original);
    if (trial.program_value === null) continue;
    const at = Math.min(last, Math.max(first, id));
    path += level === null ? `M${x(at)},${inside(trial.program_value)}` : `H${x(at)}V${inside(trial.program_value)}`;
    level = trial.program_value;
  }
  if (path) svg.append(shape('path', { class: 'step', d: `${path}H${x(last)}` }));
  for (const trial of programs) {
    const keep = isKeptProgram(trial), error = halfWidth(trial);
    if (error !== null && (keep || trial.program_runs > 1)) {
      svg.append(shape('line', { class: keep ? 'error keep' : 'error', x1: x(trial.id), x2: x(trial.id),
        y1: inside(trial.program_value - error), y2: inside(trial.program_value + error) }));
    }
    svg.append(shape('circle', { class: `dot ${keep ? 'keep' : kindOf(trial)}`, cx: x(trial.id),
      cy: inside(trial.program_value), r: keep ? 5 : 3.5, ...mark(trial) }));
  }
  for (const trial of shown.filter(isFailed)) {
    const cx = x(trial.id), cy = box.bottom - 7;
    svg.append(shape('path', { class: 'cross', d: `M${cx - 3},${cy - 3}l6,6m0,-6l-6,6`, ...mark(trial) }));
  }
  brush(svg, box, x);
  $('staircase').replaceChildren(svg);
  $('progress-hint').textContent = 'A dot is a program at the mean of its runs; filled ones were kept, ' +
    'dashed ones are undecided, crosses have no score. Drag to zoom, double-click for all.';
}

const isKeptProgram = (trial) => keptPrograms.has(trial.id);

function brush(svg, box, x) {
  let from = null, band = null;
  const position = (event) => {
    const bounds = svg.getBoundingClientRect();
    return (event.clientX - bounds.left) * (svg.viewBox.baseVal.width / bounds.width);
  };
  const trialAt = (pixels) => {
    const ids = run.trials.map((t) => t.id);
    return ids.reduce((best, id) => (Math.abs(x(id) - pixels) < Math.abs(x(best) - pixels) ? id : best), ids[0]);
  };
  svg.addEventListener('pointerdown', (event) => {
    if (event.target.dataset.trial) return;
    from = position(event);
    band = shape('rect', { class: 'brush', y: box.top, height: box.bottom - box.top, x: from, width: 0 });
    svg.append(band);
  });
  svg.addEventListener('pointermove', (event) => {
    if (from === null) return;
    const to = position(event);
    band.setAttribute('x', Math.min(from, to));
    band.setAttribute('width', Math.abs(to - from));
  });
  svg.addEventListener('pointerup', (event) => {
    if (from === null) return;
    const ends = [from, position(event)].sort((a, b) => a - b);
    from = null;
    band.remove();
    if (ends[1] - ends[0] < 12) return;
    const chosen = [trialAt(ends[0]), trialAt(ends[1])];
    if (chosen[1] > chosen[0]) { range = chosen; drawStaircase(); }
  });
  svg.addEventListener('dblclick', () => { range = null; drawStaircase(); });
}

const COLUMNS = [
  ['id', 'trial', 'number', (t) => t.id, (t) => String(t.id)],
  ['description', 'edit', '', (t) => t.description, (t) => t.description],
  ['value', 'score', 'number', (t) => t.value, (t) => number(t.value, 6)],
  ['effect', 'gain over parent', 'number wide', (t) => t.effect, (t) => withError(t.effect, t.effect_sd)],
  ['verdict', 'verdict', '', verdictWord, (t) => t],
  ['parent', 'parent', 'number wide', (t) => t.parent, (t) => (t.parent === null ? '' : String(t.parent))],
  ['steps', 'steps', 'number wide', (t) => t.runs[0]?.steps ?? null, (t) => (t.runs[0] ? String(t.runs[0].steps) : '')],
  ['seconds', 'time', 'number wide', (t) => t.phases.train, (t) => (t.phases.train ? duration(t.phases.train) : '')],
];

function matches(trial, words, show) {
  if (show === 'keep' && trial.decision !== 'keep') return false;
  if (show === 'undecided' && !trial.undecided) return false;
  if (show === 'failed' && !isFailed(trial)) return false;
  if (show === 'programs' && trial.original !== trial.id) return false;
  const text = `${trial.id} ${trial.description} ${trial.claim} ${trial.tags.join(' ')} ${verdictWord(trial)} ${trial.author}`.toLowerCase();
  return words.every((word) => text.includes(word));
}

function drawTable() {
  const head = element('tr', {}, ...COLUMNS.map(([key, name, kind]) => element('th', {
    class: kind, scope: 'col', 'aria-sort': sorting.key !== key ? 'none' : sorting.up ? 'ascending' : 'descending',
  }, element('button', { onclick: () => {
    sorting = { key, up: sorting.key === key ? !sorting.up : true };
    drawTable();
  } }, name + (sorting.key !== key ? '' : sorting.up ? ' \u2191' : ' \u2193')))));
  document.querySelector('#table thead').replaceChildren(head);
  const words = $('filter').value.toLowerCase().split(/\s+/).filter(Boolean);
  const found = run.trials.filter((trial) => matches(trial, words, $('show').value));
  const read = COLUMNS.find(([key]) => key === sorting.key)[3], sign = sorting.up ? 1 : -1;
  found.sort((a, b) => {
    const left = read(a), right = read(b);
    if (left === right) return a.id - b.id;
    if (left === null) return 1;
    if (right === null) return -1;
    return sign * (left < right ? -1 : 1);
  });
  $('count').textContent = `${found.length} of ${run.trials.length}`;
  waiting = found;
  document.querySelector('#table tbody').replaceChildren();
  moreRows();
}

// Rows are made as they are scrolled to, so that thousands of trials cost nothing at first.
function moreRows() {
  document.querySelector('#table tbody').append(...waiting.splice(0, ROWS).map(row));
}

function row(trial) {
  const cells = COLUMNS.map(([key, , kind, , show]) => key === 'verdict' ?
    element('td', { class: kind }, element('span', { class: `tag ${kindOf(trial)}`, title: trial.reason }, verdictWord(trial))) :
    element('td', { class: kind }, show(trial)));
  return element('tr', {
    class: trial.decision === 'keep' ? 'keep' : null, tabindex: 0, 'data-trial': trial.id,
  }, ...cells);
}

function drawFamily() {
  const programs = run.trials.filter((t) => t.original === t.id);
  if (!programs.length) return;
  const children = new Map(programs.map((t) => [t.id, []])), depth = new Map();
  for (const trial of programs) {
    const parent = trial.parent === null ? null : byId.get(trial.parent).original;
    depth.set(trial.id, parent === null || parent === trial.id ? 0 : (depth.get(parent) ?? 0) + 1);
    if (parent !== null && parent !== trial.id) children.get(parent)?.push(trial.id);
  }
  const place = new Map();
  let leaves = 0;
  const stack = [[programs[0].id, false]];
  while (stack.length) {  // post-order: a program stands above the middle of its children
    const [id, visited] = stack.pop(), below = children.get(id);
    if (!below.length) place.set(id, leaves++);
    else if (visited) place.set(id, (place.get(below[0]) + place.get(below.at(-1))) / 2);
    else { stack.push([id, true]); for (const child of [...below].reverse()) stack.push([child, false]); }
  }
  const width = chartWidth('family'), deepest = Math.max(...depth.values());
  const height = 40 + Math.min(46, 520 / (deepest + 1)) * (deepest + 1);
  const x = scale(0, Math.max(1, leaves - 1), 14, width - 14), y = scale(0, Math.max(1, deepest), 18, height - 18);
  const gains = programs.map((t) => gainOf(t)).filter((gain) => gain > 0), most = Math.max(...gains, 1e-12);
  const svg = frame(width, height, 'Family tree of programs'), dots = [];
  for (const trial of programs) {
    if (!place.has(trial.id)) continue;
    const cx = x(place.get(trial.id)), cy = y(depth.get(trial.id));
    for (const child of children.get(trial.id)) {
      const tx = x(place.get(child)), ty = y(depth.get(child)), middle = (cy + ty) / 2;
      svg.append(shape('path', { class: isKeptProgram(byId.get(child)) ? 'edge keep' : 'edge', d: `M${cx},${cy}C${cx},${middle} ${tx},${middle} ${tx},${ty}` }));
    }
    const gain = gainOf(trial), keep = isKeptProgram(trial);
    dots.push(shape('circle', { class: 'dot', cx, cy, r: keep ? 6 : 4, ...mark(trial),
      'stroke-width': keep ? 2.5 : 1,
      fill: gain > 0 ? `color-mix(in srgb, var(--accent) ${Math.round(25 + 75 * gain / most)}%, var(--paper))` : 'var(--faint)' }));
    const dot = dots.at(-1);
    dot.style.setProperty('fill', dot.getAttribute('fill'));
    if (keep) dot.style.setProperty('stroke', 'var(--accent)');
  }
  svg.append(...dots);
  $('family').replaceChildren(svg);
}

function gainOf(trial) {
  const baseline = run.headline.baseline_value;
  if (trial.program_value === null || baseline === null) return 0;
  return run.direction === 'minimize' ? baseline - trial.program_value : trial.program_value - baseline;
}

function trialLinks(ids) {
  return ids.slice(0, 8).flatMap((id, index) => [index ? ', ' : '',
    element('a', { href: `#trial-${id}`, onclick: (event) => { event.preventDefault(); open(id); } }, String(id))]);
}

function drawLearned() {
  const items = run.lessons.map((lesson) => element('li', {}, lesson.text,
    lesson.author ? ` [${lesson.author}]` : '', ' Trials ', ...trialLinks(lesson.trials), lesson.trials.length > 8 ? ' and more.' : '.'));
  const rest = items.splice(8);
  $('lessons').replaceChildren(...(items.length ? items :
    [element('li', {}, 'None yet: a lesson needs two trials that have something in common.')]));
  $('more-lessons').replaceChildren(...(rest.length ? [element('summary', {}, `${rest.length} more, less certain`),
    element('ol', { start: 9 }, ...rest)] : []));
  const points = run.trials.filter((t) => t.predicted !== null && t.effect !== null);
  if (!points.length) {
    $('calibration').replaceChildren(element('p', { class: 'hint' }, 'No edit had a prediction and a measured effect.'));
    return;
  }
  const width = chartWidth('calibration'), height = Math.min(360, width * 0.75);
  const box = { left: 64, right: width - 12, top: 28, bottom: height - 44 };
  const xs = points.map((t) => t.predicted), ys = points.map((t) => t.effect);
  const bounds = (values) => { const low = Math.min(0, ...values), high = Math.max(0, ...values), pad = 0.08 * (high - low || 1); return [low - pad, high + pad]; };
  const [x0, x1] = bounds(xs), [y0, y1] = bounds(ys);
  const x = scale(x0, x1, box.left, box.right), y = scale(y0, y1, box.bottom, box.top);
  const svg = frame(width, height, 'Predicted and measured effects');
  axes(svg, box, x, y, ticks(x0, x1, 5), ticks(y0, y1, 5), 'predicted gain', 'measured gain over the parent', (value) => number(value, 3));
  const low = Math.max(x0, y0), high = Math.min(x1, y1);
  svg.append(shape('line', { class: 'edge', x1: x(low), y1: y(low), x2: x(high), y2: y(high), 'stroke-dasharray': '4 4' }));
  for (const trial of points) {
    svg.append(shape('circle', { class: `dot ${kindOf(trial)}`, cx: x(trial.predicted), cy: y(trial.effect), r: 4, ...mark(trial) }));
  }
  $('calibration').replaceChildren(svg);
}

function drawMachine() {
  const ended = run.trials.filter((t) => t.ended !== null && t.began);
  const failures = new Map();
  for (const trial of run.trials.filter(isFailed)) {
    if (!failures.has(trial.status)) failures.set(trial.status, []);
    failures.get(trial.status).push(trial);
  }
  $('failures').replaceChildren(...(failures.size ? [...failures].map(([status, trials]) =>
    element('li', {}, `${trials.length} ${status}: `, ...trialLinks(trials.map((t) => t.id)), `. ${trials.at(-1).reason}`)) :
    [element('li', {}, 'Every trial has a score.')]));
  $('machine-hint').textContent = [run.headline.speed,
    'A bar is a trial: how long it took from its start to its result, and for what.'].filter(Boolean).join(' ');
  $('phases').replaceChildren(...PHASES.map((phase) => element('li', {}, element('i', { class: phase }), phase)));
  if (!ended.length) return;
  const width = chartWidth('timeline'), height = 200;
  const box = { left: 64, right: width - 12, top: 28, bottom: height - 44 };
  const longest = ended.map((t) => t.ended - t.began).sort((a, b) => a - b)[Math.floor(0.98 * (ended.length - 1))] || 1;
  const first = ended[0].began, last = Math.max(...ended.map((t) => t.ended));
  const x = scale(first, last, box.left, box.right), y = scale(0, longest, box.bottom, box.top);
  const svg = frame(width, height, 'Time of each trial by phase');
  const days = ticks(first, last, Math.min(8, width / 90));
  axes(svg, box, x, y, days, ticks(0, longest, 4), 'time of day', 'seconds of a trial', (time) => clock(time, last - first < 600));
  for (const trial of ended) {
    const left = x(trial.began), wide = Math.max(1, x(trial.ended) - left - 0.5);
    let spent = 0;
    const total = trial.ended - trial.began;
    const parts = PHASES.map((phase) => [phase, phase === 'wait' ? 0 : trial.phases[phase]]);
    parts.at(-1)[1] = Math.max(0, total - parts.reduce((sum, [, seconds]) => sum + seconds, 0));
    for (const [phase, seconds] of parts) {
      if (seconds <= 0 || spent >= longest) continue;
      const top = Math.min(longest, spent + seconds);
      svg.append(shape('rect', { class: phase, x: left, width: wide, y: y(top), height: Math.max(0, y(spent) - y(top)) }));
      spent += seconds;
    }
  }
  $('timeline').replaceChildren(svg);
}

// --- one trial -----------------------------------------------------------------------------------

function open(id) {
  const trial = byId.get(id), dialog = $('detail');
  hideTip();
  const facts = [
    ['Verdict', [verdictWord(trial), trial.reason].filter(Boolean).join(': ')],
    ['Hypothesis', trial.claim],
    ['Predicted gain', withError(trial.predicted, trial.predicted_sd)],
    ['Measured gain', trial.effect === null ? '' : `${withError(trial.effect, trial.effect_sd)} over its parent`],
    ['Score', trial.program_value === null ? '' : `${run.metric} ${number(trial.program_value, 6)}, mean of ${trial.program_runs} run${trial.program_runs === 1 ? '' : 's'} of this program`],
    ['Mechanisms', trial.tags.join(', ')],
    ['Author', [trial.author, trial.role].filter(Boolean).join(', ')],
    ['Size', trial.parameters ? `${trial.parameters.toLocaleString('en')} parameters, ${number(trial.peak_bytes / 2 ** 20, 4)} MiB` : ''],
    ['Training', trial.runs.map((r) => `seed ${r.seed}: ${r.value === null ? 'no score' : number(r.value, 6)} after ${r.steps} steps in ${duration(r.seconds)}`).join('; ')],
    ['Sandbox', trial.isolation],
  ].filter(([, value]) => value);
  const relatives = [];
  if (trial.parent !== null) relatives.push('Made from trial ', ...trialLinks([trial.parent]), '. ');
  if (trial.original !== trial.id) relatives.push('Repeats trial ', ...trialLinks([trial.original]), '. ');
  const reruns = run.trials.filter((t) => t.original === trial.id && t.id !== trial.id).map((t) => t.id);
  if (reruns.length) relatives.push('Repeated in ', ...trialLinks(reruns), '. ');
  const made = run.trials.filter((t) => t.parent === trial.id && t.original === t.id).map((t) => t.id);
  if (made.length) relatives.push('Parent of ', ...trialLinks(made), made.length > 8 ? ' and more.' : '.');
  dialog.replaceChildren(
    element('div', { class: 'bar' }, element('h2', { id: 'detail-title' }, `Trial ${trial.id}: ${trial.description}`),
      element('button', { onclick: () => dialog.close(), 'aria-label': 'Close' }, '\u2715')),
    element('p', { class: 'hint' }, ...relatives),
    element('dl', {}, ...facts.flatMap(([name, value]) => [element('dt', {}, name), element('dd', {}, value)])),
    curves(trial) ?? '',
    ...section('Change against its parent', trial.diff),
    ...(trial.baseline_diff !== trial.diff ? section('Change against the baseline', trial.baseline_diff) : []),
    ...trial.exchanges.flatMap((exchange) => [
      ...section(`Prompt to ${exchange.model} (${exchange.purpose})`, exchange.request, false),
      ...section(`Answer, ${exchange.output_tokens} tokens`, exchange.response || exchange.error, false)]));
  if (!dialog.open) dialog.showModal();
  dialog.scrollTop = 0;
}

function section(title, text, isDiff = true) {
  if (!text) return [];
  const lines = isDiff ? text.split('\n').map(diffLine) : [text];
  return [element('h3', {}, title), element('pre', { tabindex: 0 }, ...lines)];
}

function diffLine(line) {
  const kind = line.startsWith('+++') || line.startsWith('---') || line.startsWith('@@') ? 'at' :
    line.startsWith('+') ? 'add' : line.startsWith('-') ? 'del' : '';
  return element('span', { class: kind }, ...(kind === 'at' ? [line] : highlighted(line)));
}

function highlighted(line) {
  const parts = [];
  let rest = line;
  while (rest) {
    const found = /#.*|("[^"]*"|'[^']*')|[A-Za-z_]\w*/.exec(rest);
    if (!found) { parts.push(rest); break; }
    if (found.index) parts.push(rest.slice(0, found.index));
    const word = found[0];
    parts.push(word.startsWith('#') || /^["']/.test(word) ? element('i', {}, word) :
      KEYWORDS.has(word) ? element('b', {}, word) : word);
    rest = rest.slice(found.index + word.length);
  }
  return parts;
}

function curves(trial) {
  const own = trial.runs.filter((r) => r.curve.length > 1);
  if (!own.length) return null;
  const best = run.kept.map((id) => byId.get(id)).filter((t) => t.id < trial.id).at(-1) ?? byId.get(0);
  const other = best === trial ? [] : best.runs.filter((r) => r.curve.length > 1);
  const width = 720, height = 240, box = { left: 64, right: 708, top: 28, bottom: 196 };
  const losses = [...own, ...other].flatMap((r) => r.curve.map(([, loss]) => loss)).sort((a, b) => a - b);
  const low = losses[0], high = losses[Math.floor(0.97 * (losses.length - 1))];
  const x = scale(0, 1, box.left, box.right), y = scale(low, high, box.bottom, box.top);
  const svg = frame(width, height, 'Training loss');
  axes(svg, box, x, y, [0, 0.25, 0.5, 0.75, 1], ticks(low, high, 4), 'share of the budget', 'training loss', percent);
  const line = (r, name) => svg.append(shape('polyline', { class: name, fill: 'none',
    points: r.curve.map(([progress, loss]) => `${x(progress)},${Math.max(box.top, y(loss))}`).join(' ') }));
  for (const r of other) line(r, 'edge');
  for (const r of own) line(r, 'step');
  return element('div', {}, element('h3', {}, 'Learning curves'), svg,
    element('p', { class: 'hint' }, other.length ? `Grey: trial ${best.id}, the incumbent before.` : ''));
}

// --- start ---------------------------------------------------------------------------------------

function draw() {
  byId = new Map(run.trials.map((trial) => [trial.id, trial]));
  keptPrograms = new Set(run.kept.map((id) => byId.get(id).original));
  drawHeader(); drawHeadline(); drawStaircase(); drawTable(); drawFamily(); drawLearned(); drawMachine();
}

async function embedded() {
  const bytes = Uint8Array.from(atob($('run-data').textContent.trim()), (c) => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream('gzip'));
  return JSON.parse(await new Response(stream).text());
}

for (const id of ['staircase', 'family', 'calibration']) listen($(id), true);
listen($('table'), false);
$('table-scroll').addEventListener('scroll', ({ target }) => {
  if (target.scrollHeight - target.scrollTop < 2 * target.clientHeight) moreRows();
});
run = await embedded();
draw();
$('filter').addEventListener('input', drawTable);
$('show').addEventListener('change', drawTable);
$('detail').addEventListener('click', (event) => { if (event.target === $('detail')) $('detail').close(); });
let pending = 0;
addEventListener('resize', () => { clearTimeout(pending); pending = setTimeout(draw, 150); });
