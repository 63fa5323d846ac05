// The table of trials.

const ROWS = 100;  // made at a time
let sorting = { key: 'id', up: true };
let waiting = [];  // trials whose rows are not made yet

const COLUMNS = [
  ['id', 'trial', 'number', (t) => t.id, (t) => String(t.id)],
  ['description', 'edit', 'text', (t) => t.description, (t) => t.description],
  ['value', 'score', 'number', (t) => t.value, (t) => number(t.value, 6)],
  ['effect', 'gain over parent, 95 %', 'number wide', (t) => t.effect, (t) => withError(t.effect, effectWidth(t))],
  ['verdict', 'verdict', '', verdictWord, (t) => t],
  ['parent', 'parent', 'number wide', (t) => t.parent, (t) => (t.parent === null ? '' : String(t.parent))],
  ['steps', 'steps', 'number wide', (t) => t.runs[0]?.steps ?? null, (t) => (t.runs[0] ? String(t.runs[0].steps) : '')],
  ['seconds', 'time', 'number wide', (t) => t.phases.train, (t) => (t.phases.train ? duration(t.phases.train) : '')],
];

function matches(trial, words, kind) {
  if (kind === 'keep' && trial.decision !== 'keep') return false;
  if (kind === 'undecided' && !trial.undecided) return false;
  if (kind === 'failed' && !isFailed(trial)) return false;
  if (kind === 'programs' && trial.original !== trial.id) return false;
  if (!words.length) return true;
  const text = `${trial.id} ${trial.description} ${trial.claim} ${trial.tags.join(' ')} ${verdictWord(trial)} ${trial.author}`.toLowerCase();
  return words.every((word) => text.includes(word));
}

// Draws the table; `keep` leaves as many rows as there were, so that nothing moves.
function drawTable(keep = false) {
  const body = document.querySelector('#table tbody');
  const focused = body.contains(document.activeElement) ? document.activeElement.dataset.trial : null;
  const head = element('tr', {}, ...COLUMNS.map(([key, name, kind]) => element('th', {
    class: kind, scope: 'col', 'aria-sort': sorting.key !== key ? 'none' : sorting.up ? 'ascending' : 'descending',
  }, element('button', { 'data-key': key, onclick: () => {
    sorting = { key, up: sorting.key === key ? !sorting.up : true };
    drawTable();
    document.querySelector(`#table [data-key="${key}"]`).focus();
  } }, name, element('span', { class: 'arrow', 'aria-hidden': 'true' }, sorting.key !== key ? '' : sorting.up ? '\u2191' : '\u2193')))));
  if (!keep) document.querySelector('#table thead').replaceChildren(head);
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
  const made = keep ? Math.max(ROWS, body.children.length) : ROWS;
  waiting = found;
  body.replaceChildren(...waiting.splice(0, made).map(row));
  const same = focused === null ? null : body.querySelector(`[data-trial="${focused}"]`);
  (same ?? body.firstElementChild)?.setAttribute('tabindex', 0);
  same?.focus();
}

// Rows are made as they are scrolled to, so that thousands of trials cost nothing at first.
function moreRows() {
  document.querySelector('#table tbody').append(...waiting.splice(0, ROWS).map(row));
}

// Programs that looked better and were not kept, undecided ones first.
function drawNearMisses() {
  const found = run.near_misses, open = found.filter((miss) => miss.undecided).length;
  $('near-misses').hidden = !found.length;
  $('undecided-hint').hidden = !open;
  $('undecided-hint').textContent = `${plural(open, 'program')} of ${found.length} ${open === 1 ? 'is' : 'are'} undecided: more trials decide them.`;
  document.querySelector('#near-table tbody').replaceChildren(...found.map((miss) => {
    const width = miss.gain_sd === null || run.critical_value === null ? null : run.critical_value * miss.gain_sd;
    const failed = miss.failed_rerun ? `; trial ${miss.reruns.at(-1)} failed: ${miss.failed_rerun}` : '';
    return element('tr', { tabindex: -1, 'data-trial': miss.trial },
      element('td', { class: 'number' }, String(miss.trial)),
      element('td', { class: 'text' }, miss.description),
      element('td', { class: 'number' }, withError(miss.gain, width)),
      element('td', { class: 'number wide' }, number(miss.mean, 6)),
      element('td', { class: 'number wide' }, String(miss.runs)),
      element('td', {}, element('span', { class: `tag ${miss.undecided ? 'undecided' : ''}` }, miss.undecided ? 'undecided' : 'not kept'), failed));
  }));
  document.querySelector('#near-table tbody tr')?.setAttribute('tabindex', 0);
}

function row(trial) {
  const cells = COLUMNS.map(([key, , kind, , text]) => key === 'verdict' ?
    element('td', { class: kind }, element('span', { class: `tag ${kindOf(trial)}`, title: trial.reason }, verdictWord(trial))) :
    element('td', { class: kind }, text(trial)));
  return element('tr', {
    class: trial.decision === 'keep' ? 'keep' : null, tabindex: -1, 'data-trial': trial.id,
  }, ...cells);
}
