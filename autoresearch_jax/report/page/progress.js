// The figures at the top, the trial under way, the staircase, and the final comparison.

let range = null;  // [first, last] trial of the staircase; null for all

function drawHeader() {
  $('name').textContent = run.name;
  $('settings').textContent = run.settings.map(([name, value]) => `${name} ${value}`).join(' \u00b7 ');
  document.title = `${run.name}: autoresearch_jax`;
}

const card = (big, small) => element('div', { class: 'card' }, element('b', {}, big), element('span', {}, small));

// The numbers after 'trial' and 'trials' open these trials.
function withCitations(text) {
  return text.split(/(\btrials? (?:\d+(?:, | and | to )?)+)/).flatMap((part, index) => index % 2 === 0 ? [part] :
    part.split(/(\d+)/).map((piece, at) => at % 2 === 0 || !byId.has(Number(piece)) ? piece :
      element('button', { type: 'button', class: 'link', 'data-trial': piece, 'aria-label': `Trial ${piece}` }, piece)));
}

function drawStory() {
  $('story').hidden = !run.story.length;
  $('story-text').replaceChildren(...run.story.map(({ heading, sentences }) => element('div', {},
    element('h3', {}, heading),
    element('p', {}, ...withCitations(sentences.map((sentence) => sentence.text).join(' '))))));
}

function drawSamples() {
  $('samples').hidden = !run.samples.length;
  $('sample-texts').replaceChildren(...run.samples.map(({ prompt, texts }) => element('div', { class: 'columns' },
    ...texts.map(({ model, trial, text }) => element('div', {},
      element('h3', {}, `${model}, trial ${trial}`),
      element('pre', { class: 'sample' }, element('b', {}, prompt), text))))));
}

function drawHeadline() {
  const h = run.headline, cards = [], best = h.best === null ? null : byId.get(h.best);
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
  $('headline').replaceChildren(...cards);
  const left = live && !run.stopped && run.left.length ? `Left: ${run.left.join(', ')}.` : '';
  const words = [h.conclusion, run.stopped, left].filter(Boolean).join(' ');
  $('best').replaceChildren(...(best ? [element('span', {}, 'Best program'),
    element('button', { onclick: () => open(best.id) }, `Trial ${best.id}: ${best.description}`)] : []),
  ...(words ? [element('p', {}, words)] : []),
  ...h.doubts.map((words) => element('p', { class: 'problem' }, ...withCitations(words))));
}

function drawStaircase() {
  const width = chartWidth('staircase'), height = Math.min(440, Math.max(260, width * 0.45));
  const box = { left: 60, right: width - 12, top: 28, bottom: height - 44 };
  const shown = run.trials.filter((t) => !range || (t.id >= range[0] && t.id <= range[1]));
  const programs = shown.filter((t) => t.original === t.id && t.program_value !== null);
  $('zoom-out').disabled = $('zoom-all').disabled = range === null;
  if (!programs.length) {
    show('staircase', hint(range ? 'No trial here has a score.' : 'No trial has a score yet.'));
    return;
  }
  const svg = frame(width, height, 'Trials and the best program so far');
  // Scores far from the kept ones are drawn at the edge, so that the staircase stays readable.
  const values = programs.map((t) => t.program_value).sort((a, b) => a - b);
  const first = shown[0].id, last = Math.max(first + 1, shown.at(-1).id);
  const kept = run.kept.map((id) => [id, byId.get(byId.get(id).original)]).filter(([, t]) => t.program_value !== null);
  const before = kept.filter(([id]) => id < first).at(-1), level = before ? [before[1].program_value] : [];
  const here = [...level, ...kept.filter(([id]) => id >= first && id <= last).map(([, t]) => t.program_value)];
  const quantile = (share) => values[Math.min(values.length - 1, Math.floor(share * values.length))];
  let low = Math.min(...here, quantile(0.05)), high = Math.max(...here, quantile(0.85));
  const pad = 0.08 * (high - low || Math.abs(high) || 1);
  [low, high] = [low - pad, high + pad];
  const x = scale(first, last, box.left + 8, box.right - 8), y = scale(low, high, box.bottom - 16, box.top);
  const inside = (value) => Math.min(box.bottom - 16, Math.max(box.top, y(value)));
  axes(svg, box, x, y, ticks(first, last, Math.min(10, width / 80)).filter(Number.isInteger),
    ticks(low, high, 5), 'trial', `${run.metric}, ${run.direction === 'minimize' ? 'lower' : 'higher'} is better`);
  let path = level.length ? `M${x(first)},${inside(level[0])}` : '';
  for (const [id, trial] of kept.filter(([number]) => number >= first && number <= last)) {
    path += path ? `H${x(id)}V${inside(trial.program_value)}` : `M${x(id)},${inside(trial.program_value)}`;
  }
  if (path) svg.append(shape('path', { class: 'step', d: `${path}H${x(last)}` }));
  const dots = [];
  for (const trial of programs) {
    const keep = isKeptProgram(trial), error = halfWidth(trial);
    if (error !== null && (keep || trial.program_runs > 1)) {
      svg.append(shape('line', { class: keep ? 'error keep' : 'error', x1: x(trial.id), x2: x(trial.id),
        y1: inside(trial.program_value - error), y2: inside(trial.program_value + error) }));
    }
    dots.push(shape('circle', { class: `dot ${keep ? 'keep' : kindOf(trial)}`, cx: x(trial.id),
      cy: inside(trial.program_value), r: keep ? 5 : 3.5, ...mark(trial) }));
  }
  for (const trial of shown.filter(isFailed)) {
    const cx = x(trial.id), cy = box.bottom - 7;
    dots.push(shape('path', { class: 'cross', d: `M${cx - 3},${cy - 3}l6,6m0,-6l-6,6`, ...mark(trial) }));
  }
  svg.append(...dots);
  brush(svg, box, x);
  show('staircase', svg);
}

function zoom(factor) {
  const last = run.trials.length - 1, [from, to] = range ?? [0, last];
  const half = Math.max(4, (to - from) * factor / 2);
  // The end of a run is what one looks at: it stays in sight where it was.
  const middle = to === last && factor < 1 ? last - half : (from + to) / 2;
  const chosen = [Math.max(0, Math.round(middle - half)), Math.min(last, Math.round(middle + half))];
  range = chosen[0] === 0 && chosen[1] === last ? null : chosen;
  drawStaircase();
}

function brush(svg, box, x) {
  let from = null, band = null;
  const position = (event) => {
    const bounds = svg.getBoundingClientRect();
    return (event.clientX - bounds.left) * (svg.viewBox.baseVal.width / bounds.width);
  };
  const nearest = (pixels) => run.trials.reduce((best, t) =>
    (Math.abs(x(t.id) - pixels) < Math.abs(x(best) - pixels) ? t.id : best), run.trials[0].id);
  svg.addEventListener('pointerdown', (event) => {
    if (event.target.dataset.trial || event.pointerType === 'touch') return;
    from = position(event);
    band = shape('rect', { class: 'brush', y: box.top, height: box.bottom - box.top, x: from, width: 0 });
    svg.append(band);
    svg.setPointerCapture(event.pointerId);
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
    const chosen = [nearest(ends[0]), nearest(ends[1])];
    if (chosen[1] > chosen[0]) { range = chosen; drawStaircase(); }
  });
  svg.addEventListener('dblclick', () => { range = null; drawStaircase(); });
}

// The final comparison: a dot a seed, and the mean with its 95 % interval.
function drawFinal() {
  const gains = run.test_gains;
  $('final').hidden = gains.length < 2;
  if (gains.length < 2) return;
  const width = chartWidth('test-gains'), height = 104, box = { left: 12, right: width - 12, top: 24, bottom: 60 };
  const { test_gain: mean, test_half_width: half } = run.headline;
  const ends = [0, mean - half, mean + half, ...gains], low = Math.min(...ends), high = Math.max(...ends);
  const pad = 0.05 * (high - low || 1), x = scale(low - pad, high + pad, box.left, box.right);
  const svg = frame(width, height, 'Gains on the test split');
  axes(svg, box, x, () => 0, ticks(low - pad, high + pad, Math.min(8, width / 90)), [], 'gain over the baseline, one dot for each seed', '', signed);
  svg.append(shape('line', { class: 'zero', x1: x(0), x2: x(0), y1: 8, y2: box.bottom }));
  for (const gain of gains) svg.append(shape('circle', { class: 'dot plain', cx: x(gain), cy: 46, r: 4 }));
  svg.append(shape('line', { class: 'step', x1: x(mean - half), x2: x(mean + half), y1: 24, y2: 24 }),
    shape('circle', { class: 'dot keep plain', cx: x(mean), cy: 24, r: 5 }));
  show('test-gains', svg);
}
