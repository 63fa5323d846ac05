// The family tree of programs.

function drawFamily() {
  const programs = run.trials.filter((t) => t.original === t.id);
  if (!programs.length) { show('family', hint('There is no program yet.')); return; }
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
  const gains = programs.map((t) => gainOf(t)).filter((gain) => gain !== null);
  const best = Math.max(...gains, 1e-12), small = Math.min(4, Math.max(2, 0.45 * width / leaves));
  const svg = frame(width, height, 'Family tree of programs'), dots = [];
  for (const trial of programs) {
    if (!place.has(trial.id)) continue;
    const cx = x(place.get(trial.id)), cy = y(depth.get(trial.id));
    for (const child of children.get(trial.id)) {
      const tx = x(place.get(child)), ty = y(depth.get(child)), middle = (cy + ty) / 2;
      svg.append(shape('path', { class: isKeptProgram(byId.get(child)) ? 'edge keep' : 'edge', d: `M${cx},${cy}C${cx},${middle} ${tx},${middle} ${tx},${ty}` }));
    }
    const keep = isKeptProgram(trial), dot = shape('circle', { class: keep ? 'node keep' : 'node', cx, cy, r: keep ? 6 : small, ...mark(trial) });
    dot.style.setProperty('fill', gainColor(gainOf(trial), best));
    dots.push(dot);
  }
  svg.append(...dots);
  show('family', svg);
}

// Blue for better than the baseline, orange for worse, each the stronger the farther; empty without a score.
function gainColor(gain, best) {
  if (gain === null) return 'var(--paper)';
  const share = Math.round(20 + 80 * Math.min(1, Math.abs(gain) / best));
  return `color-mix(in srgb, var(${gain > 0 ? '--accent' : '--worse'}) ${share}%, var(--paper))`;
}

// Gain over the baseline; null without a score.
function gainOf(trial) {
  const baseline = run.headline.baseline_value;
  if (trial.program_value === null || baseline === null) return null;
  return run.direction === 'minimize' ? baseline - trial.program_value : trial.program_value - baseline;
}
