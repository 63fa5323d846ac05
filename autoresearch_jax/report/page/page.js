// A run from its data (see view.py): what is known of it, and when its parts are drawn.

let run = null;                // the RunView
let byId = new Map();          // id -> TrialView
let keptPrograms = new Set();  // first trials of programs that were kept

const FAILED = new Set(['invalid', 'oom', 'diverged', 'crash', 'timeout', 'infeasible']);
const isFailed = (trial) => FAILED.has(trial.status);
const isKeptProgram = (trial) => keptPrograms.has(trial.id);
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
  run.noise === null || !trial.program_runs ? null : run.critical_value * run.noise / Math.sqrt(trial.program_runs);

// Standard error of a trial's effect. It changes with the noise, so it is computed here.
function effectError(trial) {
  const parent = trial.effect === null || trial.parent === null ? null : byId.get(byId.get(trial.parent)?.original);
  if (!parent?.program_runs || !trial.program_runs || run.noise === null) return trial.effect_sd;
  return run.noise * Math.sqrt(1 / trial.program_runs + 1 / parent.program_runs);
}

// Half width of the 95 % interval of a trial's effect.
const effectWidth = (trial) => effectError(trial) === null ? null : run.critical_value * effectError(trial);

function describe(trial) {
  const value = trial.program_value === null ? '' :
    `\n${run.metric} ${number(trial.program_value, 6)}` +
    (halfWidth(trial) === null ? '' : ` \u00b1 ${number(halfWidth(trial), 2)}`) +
    ` (${plural(trial.program_runs, 'run')})`;
  return [`Trial ${trial.id}: ${trial.description}${value}`, verdictWord(trial), trial.claim, trial.reason]
    .filter(Boolean).join('\n');
}

// --- when things are drawn -----------------------------------------------------------------------

// Parts of the page, by the element that must be near the window for them to be drawn.
const PARTS = new Map([
  ['story', [drawStory]],
  ['progress', [drawStaircase]],
  ['final', [drawFinal]],
  ['samples', [drawSamples]],
  ['near-misses', [drawNearMisses]],
  ['trials', [() => drawTable(true)]],
  ['tree', [drawFamily]],
  ['learned', [drawEffects, drawCalibration, drawLessons]],
  ['machine', [drawMachine, drawSpeed, drawSpend, drawFailures]],
]);
const stale = new Set();  // parts that are not up to date
const near = new Set();   // parts that are in the window, or nearly

function remember() {
  byId = new Map(run.trials.map((trial) => [trial.id, trial]));
  keptPrograms = new Set(run.kept.map((id) => byId.get(id).original));
}

// Draws everything: what is in sight now, the rest when there is time.
function draw() {
  remember();
  drawHeader(); drawHeadline(); drawSteering(); drawTable();
  for (const part of PARTS.keys()) if (part !== 'trials') stale.add(part);
  for (const part of ['story', 'progress', 'near-misses']) drawPart(part);
  drawWhenIdle();
}

// Draws what has changed. Parts out of sight wait until they are scrolled to.
function redraw(withLessons) {
  remember();
  drawHeadline(); drawSteering();
  for (const part of PARTS.keys()) if (part !== 'learned' || withLessons) stale.add(part);
  for (const part of PARTS.keys()) if (near.has(part) || $(part).hidden) drawPart(part);  // a hidden one cannot be scrolled to
  if (live) { drawState(); drawNow(); }
}

function drawPart(part) {
  if (run !== null && stale.delete(part)) for (const action of PARTS.get(part)) action();
}

function drawWhenIdle() {
  const [next] = stale;
  if (next === undefined) return;
  requestIdleCallback(() => { drawPart(next); drawWhenIdle(); }, { timeout: 500 });
}

const observer = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    if (isIntersecting) { near.add(target.id); drawPart(target.id); } else near.delete(target.id);
  }
}, { rootMargin: '200px' });

// --- start ---------------------------------------------------------------------------------------

async function embedded(id) {
  const bytes = Uint8Array.from(atob($(id).textContent.trim()), (c) => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream('gzip'));
  return JSON.parse(await new Response(stream).text());
}

for (const id of ['staircase', 'family', 'calibration', 'speed']) listen($(id), true);
listen($('table'), false);
listen($('near-table'), false);
listen($('story-text'), false);
for (const part of PARTS.keys()) observer.observe($(part));
$('table-scroll').addEventListener('scroll', ({ target }) => {
  if (target.scrollHeight - target.scrollTop < 2 * target.clientHeight) moreRows();
});
$('filter').addEventListener('input', () => drawTable());
$('show').addEventListener('change', () => drawTable());
$('zoom-in').addEventListener('click', () => zoom(0.5));
$('zoom-out').addEventListener('click', () => zoom(2));
$('zoom-all').addEventListener('click', () => { range = null; drawStaircase(); });
$('detail').addEventListener('click', (event) => { if (event.target === $('detail')) $('detail').close(); });
let pending = 0;
addEventListener('resize', () => { clearTimeout(pending); pending = setTimeout(() => { if (run !== null) draw(); }, 150); });
addEventListener('beforeprint', () => { for (const part of [...stale]) drawPart(part); });

if (live) await follow();
else {
  run = await embedded('run-data');
  draw();
}
