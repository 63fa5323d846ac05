// What a dashboard adds: data that comes as it happens, and the trial under way.

const address = (path) => `${live.base}/${path}${live.key.split('/').map(encodeURIComponent).join('/')}`;
let activity = { state: '', problem: '', running: [], waiting: [] };
let lost = false;  // whether the connection is

async function ask(path) {
  const answer = await fetch(address(path));
  if (!answer.ok) throw new Error(await answer.text());
  return answer.json();
}

// Draws the run once it has started, and follows it.
async function follow() {
  $('state').hidden = $('now').hidden = false;
  let version = 0;
  try {
    const found = await ask('view/');
    version = found.version;
    run = found.run;
    if (run !== null) draw();
    else { activity.problem = found.problem; drawState(); }
  } catch (error) { activity.problem = error.message; drawState(); }
  const source = new EventSource(`${address('events/')}?since=${version}`);
  source.addEventListener('update', (event) => update(JSON.parse(event.data)));
  source.addEventListener('activity', (event) => { activity = JSON.parse(event.data); drawState(); drawNow(); if (run !== null) drawSteering(); });
  source.onopen = () => { lost = false; drawState(); };
  source.onerror = () => { lost = true; drawState(); };
  setInterval(drawState, 20000);
}

function update({ whole, run: fields, trials }) {
  const first = run === null;
  const known = whole || first ? [] : run.trials;
  run = { ...run, ...fields, trials: known };
  for (const trial of trials) {
    const at = byId.has(trial.id) && !whole ? run.trials.indexOf(byId.get(trial.id)) : -1;
    if (at >= 0) run.trials[at] = trial;
    else run.trials.push(trial);
  }
  if (whole) details.clear();
  if (first) draw();
  else redraw('lessons' in fields);
}

function drawState() {
  document.body.classList.toggle('empty', run === null);
  const state = lost ? 'lost' : activity.state;
  const words = { running: 'running', ended: 'ended', interrupted: 'interrupted: no process runs it', lost: 'connection lost; trying again' }[state] ?? 'connecting';
  $('state').className = `state ${state}`;
  $('state').textContent = run === null ? words : `${words} \u00b7 last event ${ago(run.updated)}`;
  $('problem').hidden = !activity.problem;
  $('problem').textContent = activity.problem;
}

function drawNow() {
  if (run === null) return;
  $('now').hidden = ['ended', 'interrupted'].includes(activity.state);
  const known = activity.running.filter(({ progress }) => byId.has(progress.trial));
  const rest = run.trials.filter((t) => t.status === 'running' && !known.some(({ progress }) => progress.trial === t.id));
  const items = [...known.map(({ progress, curve }) => nowItem(byId.get(progress.trial), progress, curve)),
    ...(activity.state === 'running' ? rest.map((trial) => nowItem(trial, null, [])) : [])];
  $('under-way').replaceChildren(...(items.length ? items :
    [hint(activity.state === 'running' ? 'The next trial is being prepared.' : 'No trial is running.')]));
}

function nowItem(trial, progress, curve) {
  const several = progress !== null && progress.phase === 'train';
  const words = progress === null ? 'waiting or starting' :
    [PHASE_NAMES[progress.phase], several ? `seed ${progress.seed}` : '', progress.step ? `step ${progress.step}` : '',
      progress.loss === null ? '' : `loss ${number(progress.loss, 5)}`].filter(Boolean).join(', ');
  const done = progress === null ? 0 : progress.phase === 'evaluate' ? 1 : progress.fraction;
  const best = incumbentBefore(trial), key = best === null ? null : details.get(best.id);
  if (best !== null && !key) detailsOf(best.id).then((found) => { best.runs = found.runs; drawNow(); }, () => null);
  const other = best === null ? [] : best.runs.map((r) => r.curve).filter((points) => points.length > 1);
  const wide = chartWidth('under-way'), width = wide > 760 ? (wide - 32) / 2 : wide;
  const chart = curve.length < 2 ? [] : [element('div', {}, curveChart([curve], other, Math.min(560, width), 210),
    hint(other.length ? `Grey: trial ${best.id}, the incumbent.` : ''))];
  return element('article', {}, element('div', {},
    element('button', { class: 'link', onclick: () => open(trial.id) }, `Trial ${trial.id}: ${trial.description}`),
    element('div', { class: 'meter' }, element('progress', { max: 1, value: done, 'aria-label': 'share of the budget' }), element('span', {}, words)),
    hint(trial.claim)), ...chart);
}
