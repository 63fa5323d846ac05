// What was learned: effects with intervals, lessons in words, and the calibration of predictions.

const SHOWN = 8;  // lessons that are not folded away
const EFFECTS = 12;  // in the chart

function trialLinks(ids) {
  return ids.slice(0, 8).flatMap((id, index) => [index ? ', ' : '',
    element('a', { href: `#trial-${id}`, onclick: (event) => { event.preventDefault(); open(id); } }, String(id))]);
}

function drawLessons() {
  const items = run.lessons.map((lesson) => element('li', {}, lesson.text,
    lesson.author ? ` [${lesson.author}]` : '', ' Trials ', ...trialLinks(lesson.trials), lesson.trials.length > 8 ? ' and more.' : '.'));
  const rest = items.splice(SHOWN), unfolded = $('more-lessons').open;
  $('lessons').replaceChildren(...(items.length ? items :
    [element('li', {}, 'None yet: a lesson needs two trials that have something in common.')]));
  $('more-lessons').hidden = !rest.length;
  $('more-lessons').replaceChildren(element('summary', {}, `${rest.length} more, less certain`),
    element('ol', { start: SHOWN + 1 }, ...rest));
  $('more-lessons').open = unfolded;
}

// A mean effect a line, with its 95 % interval.
function drawEffects() {
  const found = run.lessons.filter((l) => l.effect !== null && l.uncertainty).slice(0, EFFECTS);
  if (!found.length) { show('effects', hint('No group of trials has an effect with an interval yet.')); return; }
  found.sort((a, b) => b.effect - a.effect);
  const width = chartWidth('effects'), line = 24, wide = Math.min(220, width * 0.42);
  const box = { left: wide, right: width - 12, top: 8, bottom: 12 + line * found.length }, height = box.bottom + 44;
  const ends = found.flatMap((l) => [l.effect - 1.96 * l.uncertainty, l.effect + 1.96 * l.uncertainty]);
  const low = Math.min(0, ...ends), high = Math.max(0, ...ends), pad = 0.04 * (high - low || 1);
  const x = scale(low - pad, high + pad, box.left, box.right), svg = frame(width, height, 'Effects with 95 % intervals');
  axes(svg, box, x, () => 0, ticks(low - pad, high + pad, Math.min(5, (width - wide) / 80)), [], 'mean gain over the parent', '', signed);
  svg.append(shape('line', { class: 'zero', x1: x(0), x2: x(0), y1: box.top, y2: box.bottom }));
  found.forEach((lesson, index) => {
    const y = box.top + line * (index + 0.6), clear = Math.abs(lesson.effect) > 1.96 * lesson.uncertainty;
    const name = lesson.tags.join(', ') || lesson.text, room = Math.floor((wide - 10) / 7.8);
    svg.append(
      shape('text', { class: 'label', x: box.left - 10, y: y + 4, 'text-anchor': 'end' },
        name.length > room ? `${name.slice(0, room - 1)}\u2026` : name, shape('title', {}, `${name}: ${lesson.text}`)),
      shape('line', { class: clear ? 'step' : 'error', x1: x(lesson.effect - 1.96 * lesson.uncertainty), x2: x(lesson.effect + 1.96 * lesson.uncertainty), y1: y, y2: y }),
      shape('circle', { class: clear ? 'dot keep plain' : 'dot plain', cx: x(lesson.effect), cy: y, r: 4.5 },
        shape('title', {}, `${withError(lesson.effect, lesson.uncertainty)}, ${plural(lesson.trials.length, 'trial')}`)));
  });
  show('effects', svg);
}

function drawCalibration() {
  const points = run.trials.filter((t) => t.predicted !== null && t.effect !== null);
  $('calibration-hint').textContent = calibration(points);
  if (!points.length) { show('calibration', hint('No edit has both a prediction and a measured effect yet.')); return; }
  const width = chartWidth('calibration'), height = Math.min(360, width * 0.75);
  const box = { left: 60, right: width - 12, top: 28, bottom: height - 44 };
  const bounds = (values) => { const low = Math.min(0, ...values), high = Math.max(0, ...values), pad = 0.08 * (high - low || 1); return [low - pad, high + pad]; };
  const sorted = points.map((t) => t.effect).sort((a, b) => a - b), at = (share) => sorted[Math.floor(share * (sorted.length - 1))];
  const [x0, x1] = bounds(points.map((t) => t.predicted));
  const [y0, y1] = bounds([at(0.02), at(0.98), ...points.filter((t) => t.decision === 'keep').map((t) => t.effect)]);
  const x = scale(x0, x1, box.left, box.right), y = scale(y0, y1, box.bottom, box.top);
  const inside = (value) => Math.min(box.bottom, Math.max(box.top, y(value)));
  const svg = frame(width, height, 'Predicted and measured effects');
  axes(svg, box, x, y, ticks(x0, x1, 5), ticks(y0, y1, 5), 'predicted gain', 'measured gain over the parent', (value) => number(value, 3));
  const low = Math.max(x0, y0), high = Math.min(x1, y1);
  svg.append(shape('line', { class: 'zero', x1: box.left, x2: box.right, y1: y(0), y2: y(0) }));
  if (high > low) svg.append(shape('line', { class: 'ideal', x1: x(low), y1: y(low), x2: x(high), y2: y(high) }));
  const bars = points.length <= 300, dots = [];
  for (const trial of points) {
    const error = effectError(trial), cx = x(trial.predicted);
    if (bars && error !== null) {
      svg.append(shape('line', { class: 'error faint', x1: cx, x2: cx, y1: inside(trial.effect - 1.96 * error), y2: inside(trial.effect + 1.96 * error) }));
    }
    dots.push(shape('circle', { class: `dot ${kindOf(trial)}`, cx, cy: inside(trial.effect), r: 4, ...mark(trial) }));
  }
  svg.append(...dots);
  show('calibration', svg);
}

// How many measured effects lie within the 95 % intervals of their predictions, in a sentence.
function calibration(points) {
  const known = points.filter((t) => t.predicted_sd && effectError(t) !== null);
  if (!known.length) return '';
  const hits = known.filter((t) => Math.abs(t.effect - t.predicted) <= 1.96 * Math.hypot(t.predicted_sd, effectError(t))).length;
  const share = hits / known.length;
  const verdict = known.length < 10 ? '' : share < 0.85 ? ' The predictions were too certain.' : share > 0.99 ? ' The predictions could have been more certain.' : '';
  return `${hits} of ${known.length} measured effects lie in the 95 % interval of their prediction.${verdict} On the dashed line both are equal.`;
}
