// One trial in full.

const KEYWORDS = new Set(
  ('and as assert break class continue def del elif else except False finally for from if import ' +
   'in is lambda None not or pass raise return True try while with yield').split(' '));
const details = new Map();  // id -> promise of a trial with its diffs and curves, from a dashboard

const DETAILED = 50;        // trials whose details a file has together, as in html.py
const unpacked = new Map();  // number of such a part -> promise of its details

// The trial with its details, for which a dashboard is asked, and which a file unpacks.
function detailsOf(id) {
  const trial = byId.get(id);
  if (!live) {
    const part = Math.floor(id / DETAILED);
    if (!unpacked.has(part)) unpacked.set(part, embedded(`run-details-${part}`));
    return unpacked.get(part).then((found) => ({ ...trial, ...found[id] }));
  }
  const found = details.get(id);
  if (found && found.ended === trial.ended && found.decision === trial.decision) return found.promise;
  const promise = ask(`trial/${id}/`);
  details.set(id, { promise, ended: trial.ended, decision: trial.decision });
  promise.catch(() => details.delete(id));
  return promise;
}

async function open(id) {
  const dialog = $('detail');
  hideTip();
  dialog.dataset.shown = id;
  if (!dialog.open) dialog.showModal();
  fill(dialog, byId.get(id), hint('Loading the program and its learning curves \u2026'));
  dialog.scrollTop = 0;
  try {
    const trial = await detailsOf(id), other = incumbentBefore(trial);
    if (other) await detailsOf(other.id).then((known) => Object.assign(other, { runs: known.runs }), () => null);
    if (dialog.dataset.shown === String(id)) fill(dialog, trial, null);
  } catch (error) {
    if (dialog.dataset.shown === String(id)) fill(dialog, byId.get(id), hint(`The details cannot be loaded: ${error.message}`));
  }
}

function fill(dialog, trial, note) {
  const cost = trial.exchanges.reduce((sum, exchange) => sum + exchange.dollars, 0);
  const facts = [
    ['Verdict', [verdictWord(trial), trial.reason].filter(Boolean).join(': ')],
    ['Hypothesis', trial.claim],
    ['Predicted gain', withError(trial.predicted, trial.predicted_sd) + (trial.predicted_sd === null ? '' : ' (standard error)')],
    ['Measured gain', trial.effect === null ? '' : `${withError(trial.effect, effectWidth(trial))} (95 % interval) over its parent`],
    ['Score', trial.program_value === null ? '' : `${run.metric} ${number(trial.program_value, 6)}, mean of ${plural(trial.program_runs, 'run')} of this program`],
    ['Mechanisms', trial.tags.join(', ')],
    ['Author', [trial.author, trial.role].filter(Boolean).join(', ')],
    ['Calls', trial.exchanges.length ? `${plural(trial.exchanges.length, 'call')}, $${cost.toFixed(2)}` : ''],
    ['Size', trial.parameters ? `${trial.parameters.toLocaleString('en')} parameters, ${number(trial.peak_bytes / 2 ** 20, 4)} MiB` : ''],
    ['Training', trial.runs.map((r) => `seed ${r.seed}: ${r.value === null ? 'no score' : number(r.value, 6)} after ${r.steps} steps in ${duration(r.seconds)}`).join('; ')],
    ['Time', ['trace', 'compile', 'train', 'evaluate'].filter((phase) => trial.phases[phase]).map((phase) => `${PHASE_NAMES[phase]} ${duration(trial.phases[phase])}`).join(', ')],
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
    maySteer && isKeptProgram(trial) ? element('button', { onclick: (event) => {
      event.target.disabled = true;
      steer({ verb: 'remeasure', trial: trial.id }).then(() => event.target.replaceWith(hint($('steer-answer').textContent)));
    } }, 'Measure again') : '',
    note ?? '',
    curves(trial) ?? '',
    ...section('Change against its parent', trial.diff),
    ...(trial.baseline_diff !== trial.diff ? section('Change against the baseline', trial.baseline_diff) : []),
    ...trial.exchanges.flatMap((exchange) => [
      ...section(`Prompt to ${exchange.model} (${exchange.purpose})`, exchange.request, false),
      ...section(`Answer, ${exchange.output_tokens} tokens`, exchange.response || exchange.error, false)]));
}

function section(title, text, isDiff = true) {
  if (!text) return [];
  const lines = isDiff ? text.split('\n').map(diffLine) : [text];
  return [element('h3', {}, title), element('pre', { tabindex: 0, 'aria-label': title }, ...lines)];
}

function diffLine(line) {
  const kind = line.startsWith('+++') || line.startsWith('---') || line.startsWith('@@') ? 'at' :
    line.startsWith('+') ? 'add' : line.startsWith('-') ? 'del' : '';
  return element('span', { class: kind }, ...(kind === 'at' ? [line] : [element('u', {}, line.slice(0, 1)), ...highlighted(line.slice(1))]));
}

// Python's words, strings, numbers and comments, a line at a time.
function highlighted(line) {
  const parts = [];
  let rest = line;
  while (rest) {
    const found = /#.*|("[^"]*"|'[^']*')|[A-Za-z_]\w*|\d[\w.]*/.exec(rest);
    if (!found) { parts.push(rest); break; }
    if (found.index) parts.push(rest.slice(0, found.index));
    const word = found[0], kind = word.startsWith('#') ? 'comment' : /^["']/.test(word) ? 'string' :
      /^\d/.test(word) ? 'digits' : KEYWORDS.has(word) ? 'keyword' : '';
    parts.push(kind ? element('i', { class: kind }, word) : word);
    rest = rest.slice(found.index + word.length);
  }
  return parts;
}

const incumbentBefore = (trial) => {
  const best = run.kept.map((id) => byId.get(id)).filter((t) => t.id < trial.id).at(-1);
  return best && best.id !== trial.id ? best : null;
};

function curves(trial) {
  const lines = trial.runs.map((r) => r.curve).filter((curve) => curve.length > 1), best = incumbentBefore(trial);
  if (!lines.length) return null;
  const other = best === null ? [] : best.runs.map((r) => r.curve).filter((curve) => curve.length > 1);
  return element('div', {}, element('h3', {}, 'Learning curves'), curveChart(lines, other, Math.max(300, $('detail').clientWidth - 48)),
    hint(other.length ? `Grey: trial ${best.id}, the incumbent before.` : ''));
}

// Training loss over the share of the budget: curves, and those of another trial in grey.
function curveChart(lines, others, width, height = 240) {
  const box = { left: 60, right: width - 22, top: 28, bottom: height - 44 };
  const losses = [...lines, ...others].flatMap((curve) => curve.map(([, loss]) => loss)).sort((a, b) => a - b);
  const low = losses[0], high = losses[Math.floor(0.97 * (losses.length - 1))];
  const x = scale(0, 1, box.left, box.right), y = scale(low, high, box.bottom, box.top);
  const svg = frame(width, height, 'Training loss');
  axes(svg, box, x, y, [0, 0.25, 0.5, 0.75, 1], ticks(low, high, 4), 'share of the budget', 'training loss', percent, (value) => number(value, 4));
  const line = (curve, name) => svg.append(shape('polyline', { class: name,
    points: curve.map(([progress, loss]) => `${x(progress)},${Math.max(box.top, y(loss))}`).join(' ') }));
  for (const curve of others) line(curve, 'other');
  for (const curve of lines) line(curve, 'step thin');
  return svg;
}
