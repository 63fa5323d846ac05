// The list of a dashboard's runs.

const EVERY = 3000;  // milliseconds

const COLUMNS = [
  ['run', 'text'], ['state', ''], ['best', 'number'], ['gain', 'number'], ['trials', 'number'], ['last event', 'number wide'],
];

function row(found) {
  const path = found.key.split('/').map(encodeURIComponent).join('/');
  const cells = found.problem ?
    [element('td', { class: 'text' }, found.key), element('td', { colspan: COLUMNS.length - 1, class: 'text' }, element('span', { class: 'tag bad' }, found.problem))] :
    [
      element('td', { class: 'text' }, element('a', { href: `${live.base}/run/${path}` }, found.key || found.name)),
      element('td', {}, element('span', { class: `state ${found.state}`, title: found.stopped }, found.state)),
      element('td', { class: 'number' }, found.best === null ? '' : `${found.metric} ${number(found.best, 5)}`),
      element('td', { class: 'number' }, found.gain === null ? '' : signed(found.gain)),
      element('td', { class: 'number' }, String(found.trials)),
      element('td', { class: 'number wide' }, found.updated ? ago(found.updated) : ''),
    ];
  return element('tr', {}, ...cells);
}

async function draw() {
  try {
    const answer = await fetch(`${live.base}/runs`);
    if (!answer.ok) throw new Error(await answer.text());
    const found = await answer.json();
    if (found.some(({ key }) => key === '')) location.reload();  // the folder has become a run's
    $('problem').hidden = found.length > 0;
    $('problem').textContent = 'There is no run in this folder yet. This page shows it when it begins.';
    document.querySelector('#table tbody').replaceChildren(...found.map(row));
  } catch (error) {
    $('problem').hidden = false;
    $('problem').textContent = `The dashboard does not answer: ${error.message}`;
  }
  setTimeout(draw, EVERY);
}

document.querySelector('#table thead').append(element('tr', {}, ...COLUMNS.map(([name, kind]) => element('th', { class: kind, scope: 'col' }, name))));
draw();
