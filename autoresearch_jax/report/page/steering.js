// What was asked of the run, and the forms that ask.

const maySteer = Boolean(live?.steer);
let drawn = '';  // what the lists show; buttons stay in place while that is the same
const PATCH = /^(diff --git |--- )[^]*^\+\+\+ /m;

function drawSteering() {
  const waiting = live ? activity.waiting : [];
  $('steering').hidden = !maySteer && !run.requests.length && !waiting.length;
  $('steer-forms').hidden = !maySteer;
  $('pause').textContent = run.paused ? 'Go on' : 'Pause';
  $('paused').textContent = run.paused ? `Paused by ${run.paused}: no further trial begins.` : '';
  $('unread').textContent = run.reads_text === false ? 'The proposer of this run cannot read words: hints wait for another one, and an idea must be a patch.' : '';
  for (const input of $('end-form').querySelectorAll('input')) {
    const value = run.ends[input.name];
    input.placeholder = value === null || (value === 0 && input.name !== 'target') ? 'none' : value;
  }
  $('target-name').textContent = `Target ${run.metric}`;
  const shown = JSON.stringify([run.protectable, run.protected, waiting, run.requests.map((r) => [r, ago(r.time)])]);
  if (shown === drawn) return;
  drawn = shown;
  $('protectable').replaceChildren(...run.protectable.map((name) => element('option', { value: name })));
  $('protected').replaceChildren(...(run.protected.length ? ['Protected: ', ...run.protected.flatMap((name, index) =>
    [index ? ', ' : '', name, ...(maySteer ? [' ', action('Unprotect', `Unprotect ${name}`, { verb: 'unprotect', text: name })] : [])]), '.'] : []));
  $('requests').replaceChildren(...run.requests.map((r) => element('li', { value: r.number }, r.text,
    element('span', { class: 'hint' }, [ago(r.time), r.outcome].filter(Boolean).join('; ')),
    maySteer && r.withdrawable ? action('Withdraw', `Withdraw request ${r.number}`, { verb: 'withdraw', request: r.number }) : null)),
    ...waiting.map((text) => element('li', { class: 'waiting' }, text, element('span', { class: 'hint' }, 'waits until the run takes it up'))));
}

// A button that sends a request.
const action = (words, name, fields) => element('button', { type: 'button', class: 'link', 'aria-label': name, onclick: () => steer(fields) }, words);

// Sends a request to the run; says what came of it.
async function steer(fields) {
  $('steer-answer').textContent = 'Sending \u2026';
  try {
    const answer = await fetch(address('steer/'), { method: 'POST', body: JSON.stringify(fields) });
    const words = await answer.text();
    if (!answer.ok) throw new Error(words);
    $('steer-answer').textContent = `${words} ${activity.state === 'running' ? 'The run takes it up within a second.' : 'The next start takes it up.'}`;
    return true;
  } catch (error) {
    $('steer-answer').textContent = error.message;
    return false;
  }
}

function onSubmit(id, send) {
  $(id).addEventListener('submit', async (event) => { event.preventDefault(); await send(event); });
}

onSubmit('steer-form', async (event) => {
  const text = $('steer-text').value.trim(), verb = event.submitter?.value ?? 'hint';
  const asked = verb === 'try' && PATCH.test(text) ? { verb, patch: `${text}\n` } : { verb, text };
  if (text && await steer(asked)) $('steer-text').value = '';
});
onSubmit('protect-form', async () => {
  const text = $('protect-name').value.trim();
  if (text && await steer({ verb: 'protect', text })) $('protect-name').value = '';
});
onSubmit('end-form', async ({ target }) => {
  const given = [...target.querySelectorAll('input')].filter((input) => input.value.trim());
  const ends = Object.fromEntries(given.map(({ name, value }) => [name, Number(value.trim())]));
  const wrong = given.find(({ name }) => !Number.isFinite(ends[name]));
  if (wrong) $('steer-answer').textContent = `\u201c${wrong.value}\u201d is not a number.`;
  else if (await steer({ verb: 'end', ends })) target.reset();
});
$('pause').addEventListener('click', () => steer({ verb: run.paused ? 'resume' : 'pause' }));
