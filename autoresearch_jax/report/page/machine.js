// Use of the device over time, the machine's speed, spend, and what went wrong.

const PHASES = ['train', 'evaluate', 'calibrate', 'compile', 'trace', 'wait'];
const PHASE_NAMES = { train: 'training', evaluate: 'evaluation', calibrate: 'measuring the speed', compile: 'compilation', trace: 'tracing', wait: 'waiting' };
const ORDER = ['evaluate', 'train', 'calibrate', 'compile', 'trace'];  // backwards from a trial's end

// Of the search; an ablation may follow days later.
const lastEvent = () => run.sessions.at(-1)[1];

function drawMachine() {
  $('machine-hint').textContent = run.headline.speed;
  $('phases').replaceChildren(...PHASES.map((phase) => element('li', {}, element('i', { class: phase }), PHASE_NAMES[phase])));
  const ended = run.trials.filter((t) => t.ended !== null && t.began);
  if (!ended.length) { show('timeline', hint('No trial has ended yet.')); return; }
  const width = chartWidth('timeline'), height = 220, box = { left: 60, right: width - 12, top: 28, bottom: height - 44 };
  const first = run.started, last = Math.max(lastEvent(), first + 1);
  const bins = useByTime(ended, first, last, Math.min(160, Math.floor((box.right - box.left) / 6)));
  const x = scale(first, last, box.left, box.right), y = scale(0, 1, box.bottom, box.top);
  const svg = frame(width, height, 'Use of the device over time');
  axes(svg, box, x, y, timeTicks(first, last, Math.min(8, width / 90)), [0, 0.5, 1], 'time of day',
    'share of the time', (time) => clock(time, last - first < 600), percent);
  for (const bin of bins) {
    if (!bin.total) continue;
    let spent = 0;
    const words = PHASES.filter((phase) => bin[phase] > 0.005 * bin.total).map((phase) => `${PHASE_NAMES[phase]} ${percent(bin[phase] / bin.total)}`);
    const group = shape('g', {}, shape('title', {}, `${clock(bin.from, true)} to ${clock(bin.to, true)}: ${words.join(', ')}`));
    for (const phase of PHASES) {
      const share = bin[phase] / bin.total;
      if (share <= 0) continue;
      group.append(shape('rect', { class: phase, x: x(bin.from), width: Math.max(0.5, x(bin.to) - x(bin.from) - 0.5), y: y(spent + share), height: y(spent) - y(spent + share) }));
      spent += share;
    }
    svg.append(group);
  }
  show('timeline', svg);
}

// Seconds of each phase in equal parts of the run's time; `total` is the time in which it ran.
function useByTime(ended, first, last, count) {
  const step = (last - first) / count;
  const bins = Array.from({ length: count }, (_, index) => ({ from: first + index * step, to: first + (index + 1) * step, total: 0,
    ...Object.fromEntries(PHASES.map((phase) => [phase, 0])) }));
  const spread = (from, to, phase) => {
    for (let index = Math.max(0, Math.floor((from - first) / step)); index < count && bins[index].from < to; index++) {
      bins[index][phase] += Math.max(0, Math.min(to, bins[index].to) - Math.max(from, bins[index].from));
    }
  };
  for (const [from, to] of run.sessions) spread(from, to, 'total');
  for (const trial of ended) {
    let to = trial.ended;
    for (const phase of ORDER) {
      const from = Math.max(trial.began, to - trial.phases[phase]);
      if (from < to) spread(from, to, phase);
      to = from;
    }
  }
  for (const bin of bins) {
    bin.total *= run.slots;
    const used = ORDER.reduce((sum, phase) => sum + bin[phase], 0);
    if (used > bin.total) for (const phase of ORDER) bin[phase] *= bin.total / used;
    bin.wait = Math.max(0, bin.total - used);
  }
  return bins;
}

function drawSpeed() {
  const points = run.trials.flatMap((t) => (t.ended !== null && t.phases.calibrate > 0 && t.runs.length ?
    [[t.ended, t.runs.reduce((sum, r) => sum + r.speed, 0) / t.runs.length, t]] : []));
  $('speed-part').hidden = points.length < 2;
  if (points.length < 2) return;
  const width = chartWidth('speed'), height = 150, box = { left: 60, right: width - 12, top: 28, bottom: height - 44 };
  const last = Math.max(lastEvent(), run.started + 1), top = 1.1 * Math.max(1, ...points.map(([, speed]) => speed));
  const x = scale(run.started, last, box.left, box.right), y = scale(0, top, box.bottom, box.top);
  const svg = frame(width, height, 'Speed of the machine over time');
  axes(svg, box, x, y, timeTicks(run.started, last, Math.min(8, width / 90)), ticks(0, top, 3), 'time of day', 'speed, 1 at the start',
    (time) => clock(time, last - run.started < 600), (value) => number(value, 3));
  svg.append(shape('polyline', { class: 'step thin', points: points.map(([time, speed]) => `${x(time)},${y(speed)}`).join(' ') }));
  if (points.length <= 200) svg.append(...points.map(([time, speed, trial]) => shape('circle', { class: 'dot', cx: x(time), cy: y(speed), r: 3, ...mark(trial) })));
  show('speed', svg);
}

function drawSpend() {
  $('spend-part').hidden = !run.spend.length;
  const cells = (tag, values) => values.map((value, index) => element(tag, { class: index ? 'number' : 'text' }, value));
  $('spend').replaceChildren(
    element('thead', {}, element('tr', {}, ...cells('th', ['model', 'calls', 'failed', 'tokens in', 'tokens out', 'cost']))),
    element('tbody', {}, ...run.spend.map((s) => element('tr', {}, ...cells('td', [s.model, String(s.calls), String(s.failed),
      s.input_tokens.toLocaleString('en'), s.output_tokens.toLocaleString('en'), `$${s.dollars.toFixed(2)}`])))));
}

function drawFailures() {
  const failures = new Map();
  for (const trial of run.trials.filter(isFailed)) {
    if (!failures.has(trial.status)) failures.set(trial.status, []);
    failures.get(trial.status).push(trial);
  }
  $('failures').replaceChildren(...(failures.size ? [...failures].map(([status, trials]) =>
    element('li', {}, `${trials.length} ${status}: `, ...trialLinks(trials.map((t) => t.id)),
      trials.length > 8 ? ' and more. ' : '. ', 'The last one: ', trials.at(-1).reason)) :
    [element('li', {}, 'No trial is without a score.')]));
}
