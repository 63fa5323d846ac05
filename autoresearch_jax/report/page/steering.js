// What was asked of the run, and the form that asks.

const maySteer = Boolean(live?.steer);

function drawSteering() {
  const waiting = live ? activity.waiting : [];
  $('steering').hidden = !maySteer && !run.requests.length && !waiting.length;
  $('steer-form').hidden = !maySteer;
  $('pause').textContent = run.paused ? 'Go on' : 'Pause';
  $('paused').textContent = run.paused ? `Paused by ${run.paused}: no further trial begins.` : '';
  $('requests').replaceChildren(...run.requests.map((r) => element('li', { value: r.number }, r.text,
    element('span', { class: 'hint' }, [ago(r.time), r.outcome].filter(Boolean).join('; ')))),
    ...waiting.map((text) => element('li', { class: 'waiting' }, text, element('span', { class: 'hint' }, 'waits until the run takes it up'))));
}

// Sends a request to the run; says what came of it.
async function steer(fields) {
  $('steer-answer').textContent = 'Sending \u2026';
  try {
    const answer = await fetch(address('steer/'), { method: 'POST', body: JSON.stringify(fields) });
    const words = await answer.text();
    if (!answer.ok) throw new Error(words);
    $('steer-answer').textContent = activity.state === 'running' ? 'Posted. The run takes it up within a second.' : 'Posted. The next start takes it up.';
    return true;
  } catch (error) {
    $('steer-answer').textContent = error.message;
    return false;
  }
}

$('steer-form').addEventListener('submit', async (event) => {
  event.preventDefault();
  const text = $('steer-text').value.trim(), verb = event.submitter?.value ?? 'hint';
  if (text && await steer({ verb, text })) $('steer-text').value = '';
});
$('pause').addEventListener('click', () => steer({ verb: run.paused ? 'resume' : 'pause' }));
