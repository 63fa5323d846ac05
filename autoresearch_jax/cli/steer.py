"""`autoresearch steer WORKDIR VERB`: says something to a run in progress."""

import difflib
import pathlib
import sys
from collections.abc import Sequence

from autoresearch_jax.cli.command import WORKDIR, Command, CommandLine, Option, UsageError
from autoresearch_jax.ledger import ends
from autoresearch_jax.ledger.events import LedgerError
from autoresearch_jax.ledger.mailbox import post, waiting
from autoresearch_jax.ledger.ownership import is_in_use
from autoresearch_jax.ledger.requests import SteeringError, unread
from autoresearch_jax.ledger.steering import described
from autoresearch_jax.ledger.store import read_history
from autoresearch_jax.messages import one_line
from autoresearch_jax.report.remeasured import request_outcome
from autoresearch_jax.types import Ends, Verb

LIST = 'list'
OPERANDS: dict[str, str] = {  # what follows a verb
  Verb.HINT: 'TEXT',
  Verb.TRY: '[TEXT]',
  Verb.PAUSE: '',
  Verb.RESUME: '',
  Verb.PROTECT: 'NAME',
  Verb.UNPROTECT: 'NAME',
  Verb.END: '',
  Verb.REMEASURE: 'TRIAL',
  Verb.WITHDRAW: 'NUMBER',
  LIST: '',
}
ENDS = {'trials': 'max_trials', 'hours': 'max_hours', 'dollars': 'max_dollars'}
COMMAND = Command(
  'steer',
  'Say something to a run in progress: a hint, an idea, a pause, another end.',
  """
  The run takes a request up within a second, between two steps, and writes it into its ledger with
  your name. Trials that are running go on undisturbed. If the run is not in progress, its next
  start takes the request up.

  Verbs: `hint TEXT` is shown to the proposer from now on. `try TEXT` or `try --patch=FILE` is the
  next trial; a patch is applied to the best program. `pause` begins no further trial until
  `resume`. `protect NAME` forbids edits to change a constant, function or class, until
  `unprotect NAME`. `end` sets other ends of the search. `remeasure TRIAL` trains a kept trial on
  further seeds. `withdraw NUMBER` takes a hint or a queued trial back. `list` shows all requests.
  """,
  (
    Option('patch', 'Unified diff of the program, for try.', value='FILE'),
    Option('seeds', 'Training runs, for remeasure.', kind=int, minimum=1, shown='3'),
    Option('trials', 'End after so many trials of the whole run; 0 for no limit.', kind=int,
           minimum=0),
    Option('hours', 'End after so many hours of the whole search; 0 for no limit.', kind=float,
           minimum=0),
    Option('dollars', 'End when the search has cost so much; 0 for no limit.', kind=float,
           minimum=0),
    Option('target', 'End when a kept program has this value of the metric.', kind=float),
    Option('patience', 'End after so many new programs without a keep; 0 for no limit.', kind=int,
           minimum=0),
    Option('author', 'Your name in the ledger.', shown='USER@HOST'),
  ),
  operand=f'{WORKDIR} VERB',
  more_operands=True,
  examples={
    'autoresearch steer runs/gpt_small_cpu hint "Wider and shallower looks better."': (
      'Later prompts contain this.'
    ),
    'autoresearch steer runs/gpt_small_cpu try --patch=idea.diff': 'The next trial is this edit.',
    'autoresearch steer runs/gpt_small_cpu end --hours=8': 'The search ends after 8 hours.',
    'autoresearch steer runs/gpt_small_cpu list': 'All requests, and what became of them.',
  },
  exit_codes={'0': 'Done.', '2': 'The request cannot be carried out; the message says why.'},
)  # fmt: skip


def main(arguments: Sequence[str]) -> int:
  """Runs the command; returns its exit code."""
  return COMMAND.run(_steer, arguments, (SteeringError, LedgerError, OSError))


def _steer(line: CommandLine) -> int:
  directory, verb, *words = (pathlib.Path(line.operands[0]), *line.operands[1:])
  if verb not in OPERANDS:
    near = difflib.get_close_matches(verb, OPERANDS, n=1)
    hint = f'did you mean {near[0]}?' if near else f'the verbs are {", ".join(OPERANDS)}.'
    raise UsageError(f'{one_line(verb, 40)!r} is not a verb of `autoresearch steer`; {hint}')
  _require_fitting(verb, words, line)
  if verb == LIST:
    print(listing(directory))
    return 0
  fields = _fields(Verb(verb), words, line)
  request = post(directory, verb, author=line['author'] or '', **fields)
  running = is_in_use(directory)
  then = 'The run takes it up' if running else 'No process runs there; the next start takes it up'
  print(f'Posted: {described(request)}. {then}.')
  if waits := unread(read_history(directory), request):
    print(waits)
  return 0


def _require_fitting(verb: str, words: list[str], line: CommandLine) -> None:
  """Raises UsageError for operands or options that the verb does not take."""
  wanted = OPERANDS[verb]
  if (words and not wanted) or (wanted and not wanted.startswith('[') and not words):
    raise UsageError(f'Write `autoresearch steer {WORKDIR} {verb} {wanted}`'.rstrip() + '.')
  if verb == Verb.TRY and bool(words) == bool(line['patch']):
    raise UsageError('`try` needs either an idea in words or --patch=FILE.')
  fitting: dict[str, set[str]] = {
    Verb.TRY: {'patch'},
    Verb.REMEASURE: {'seeds'},
    Verb.END: {*ENDS, *_SAME},
  }
  for name in ('patch', 'seeds', *ENDS, *_SAME):
    if line[name] is not None and name not in fitting.get(verb, ()):
      raise UsageError(f'--{name} does not go with `{verb}`; leave it out.')


_SAME = ('target', 'patience')  # options of `end` with the names of the fields


def _fields(verb: Verb, words: list[str], line: CommandLine) -> dict[str, object]:
  """Returns the fields of the request. Raises SteeringError."""
  text = ' '.join(words)
  match verb:
    case Verb.REMEASURE:
      return {'trial': _number(text, 'trial'), 'seeds': line['seeds'] or 0}
    case Verb.WITHDRAW:
      return {'request': _number(text, 'request')}
    case Verb.END:
      values = {ENDS.get(name, name): line[name] for name in (*ENDS, *_SAME)}
      return {'ends': Ends(**values)}
    case Verb.TRY if line['patch']:
      try:
        return {'patch': pathlib.Path(line['patch']).read_bytes().decode()}
      except UnicodeDecodeError:
        raise SteeringError(f'{line["patch"]} is not text in UTF-8.') from None
      except OSError as error:
        raise SteeringError(f'Cannot read {line["patch"]}: {error.strerror}.') from None
  return {'text': text}


def _number(text: str, what: str) -> int:
  if not text.isdecimal():
    raise SteeringError(f'{one_line(text, 40)!r} is not the number of a {what}.')
  return int(text)


def listing(directory: pathlib.Path) -> str:
  """Returns all requests to a run and what is left of it, as text. Raises LedgerError."""
  history = read_history(directory)
  steering, search = history.steering, history.config.search
  lines = [
    f'{taken.number:>3}  {described(taken.request)}: '
    f'{one_line(request_outcome(history, taken) or "taken up", 600)}'
    for taken in steering.taken.values()
  ]
  known = {*steering.taken}
  lines += [f'  -  {described(r)}: waits' for _, r in waiting(directory) if r.id not in known]
  if not lines:
    lines = ['No requests.']
  if steering.paused is not None:
    lines.append(f'Paused by {steering.paused.request.author}.')
  if steering.protected:
    lines.append(f'Protected: {", ".join(steering.protected)}.')
  applying = ends.effective(history, search.ends)
  if left := ends.left(history, applying, search.dollars_per_hour):
    lines.append(f'Left: {", ".join(left)}.')
  return '\n'.join(lines)


if __name__ == '__main__':
  sys.exit(main(sys.argv[1:]))
