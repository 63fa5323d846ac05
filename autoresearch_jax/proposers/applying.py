"""An `Answer` applied to a program: the new program, or a sentence on why not and what to do.

Exact search and replace, as coding models are used to (Aider's edit formats, 2023,
https://aider.chat/docs/more/edit-formats.html), or whole files. A model that copied a block wrongly
sees the lines of the file that come nearest, so that it can mend its answer without the file being
sent again. What no trace is needed for is refused here: a result that is not Python, a function
of the contract that is gone, a name that is used but no longer defined, a file cut short.
Nothing is run; only files in `editable` can change.
"""

import ast
import collections
import difflib
import json
import re
from collections.abc import Iterator, Sequence

from autoresearch_jax.proposers.answers import Answer, AnswerError, Block, WholeFile
from autoresearch_jax.trial.contract import FUNCTIONS
from autoresearch_jax.types import Edit, Hypothesis, Objective, Program
from autoresearch_jax.wording import one_line

NEEDED = (*FUNCTIONS, 'BATCH_SIZE')  # what the entry file defines at its top level
MOST_FILE = 300_000  # characters of a file after the edit: a second to parse
MOST_DESCRIPTION, MOST_CLAIM = 120, 400  # characters
MOST_SHOWN = 8  # places, names or lines in a sentence
MOST_COMPARED = 3000  # lines of the file that are compared one by one with a line of the search
FENCE = re.compile(r'```\w*\n(.*\n)```\s*', re.DOTALL)
# Comments that stand for code that was left out, as a whole line.
LEFT_OUT = re.compile(
  r'\s*#\W*('
  r'(?:\.\.\.|…).*\b(?:unchanged|existing|rest|remaining|omitted|same|previous|before|code)\b.*'
  r'|(?:the |all |all the )?(?:rest|remaining|remainder|other|existing|previous)\b.*'
  r'\b(?:unchanged|the same|same as before|as before|as is|omitted|here|above)\W*'
  r'|(?:unchanged|same as before|existing code|code omitted|omitted for brevity)\W*'
  r'|(?:\.\.\.|…)\W*)',
  re.IGNORECASE,
)


def apply(answer: Answer, program: Program, editable: tuple[str, ...]) -> Program:
  """The program after the answer's edits, in order, and whole files. Raises AnswerError.

  A block must be found exactly once. Tolerated, since it can be meant in one way only: line ends
  (CRLF or LF) other than the file's, which the new lines then get too; where a block is not found
  as it is, white space at the ends of its lines, if these are whole lines of the file and occur
  once; around a whole file a code fence or a byte order mark, and a missing line break at its end.
  """
  files = dict(program.files)
  whole = [file.file for file in answer.files]
  for at, file in enumerate(answer.files):
    where = f'files[{at}]'
    _check_name(where, file.file, program, editable)
    if whole.count(file.file) > 1:
      raise AnswerError(f'files has {file.file} more than once; give each file once.')
    files[file.file] = _whole(where, file, files[file.file])
  for at, block in enumerate(answer.edits):
    where = f'edits[{at}]'
    _check_name(where, block.file, program, editable)
    if block.file in whole:
      raise AnswerError(
        f'{where} changes {block.file}, which files replaces as a whole; give one or the other.'
      )
    files[block.file] = _replaced(where, block, files[block.file])
  changed = [name for name, text in program.files if files[name] != text]
  if not changed:
    raise AnswerError(
      'The answer leaves the program as it is, letter for letter; change something.'
    )
  for name in changed:
    _check(name, program.text(name), files[name], name == program.entry, name in whole)
  return Program(tuple(files.items()), program.entry)


def edit_of(
  answer: Answer, program: Program, objective: Objective, author: str = '', role: str = ''
) -> Edit:
  """The edit that leads to `program`, with the answer's hypothesis.

  The answer predicts a change of the metric, the hypothesis one of the score, where larger is
  better: for a metric to be minimized the sign turns.
  """
  sign = -1 if objective.direction == 'minimize' else 1
  change = answer.predicted_change
  hypothesis = Hypothesis(
    one_line(answer.claim, MOST_CLAIM),
    answer.mechanisms,
    None if change is None else sign * change + 0.0,  # + 0.0: no negative zero
    None if answer.uncertainty is None else abs(answer.uncertainty),
  )
  return Edit(program, one_line(answer.description, MOST_DESCRIPTION), hypothesis, author, role)


def _check_name(where: str, name: str, program: Program, editable: Sequence[str]) -> None:
  """Raises AnswerError unless `name` is a file of the program that may change."""
  names = [known for known, _ in program.files]
  only = f'only {_names(editable, len(editable))} may be changed'
  if name in names and name in editable:
    return
  if name in names:
    raise AnswerError(f'{where} is for {name}; {only}.')
  if name.startswith(('/', '~')) or re.search(r'(^|[/\\])\.\.([/\\]|$)|\\|^\w:', name):
    raise AnswerError(
      f'{where} is for {_exact(name[:80])}, a path that leaves the program; {only}, under '
      'exactly that name.'
    )
  raise AnswerError(f'{where} is for {_exact(name[:80])}, which is no file of the program; {only}.')


def _whole(where: str, file: WholeFile, before: str) -> str:
  text = file.text.removeprefix('\ufeff').replace('\r\n', '\n')
  if fenced := FENCE.fullmatch(text.strip() + '\n'):
    text = fenced[1]
  if not text.strip():
    raise AnswerError(f'{where}.text is empty; give the whole of {file.file}.')
  if not text.endswith('\n'):
    text += '\n'
  return _like(before, text)


# Search and replace.


def _replaced(where: str, block: Block, text: str) -> str:
  """`text` with one block replaced. Raises AnswerError."""
  search, replace = _like(text, block.search), _like(text, block.replace)
  if not search.strip():
    raise AnswerError(
      f'{where}.search is empty; copy the lines of {block.file} that are to be replaced, or that '
      'come before what is new.'
    )
  if search == replace:
    raise AnswerError(f'{where} replaces a block by itself; change it, or leave this edit out.')
  places = [(at, at + len(search)) for at in _places(text, search)] or _whole_lines(text, search)
  if not places:
    raise AnswerError(_not_found(where, block.file, search, text))
  if len(places) > 1:
    lines = [text.count('\n', 0, start) + 1 for start, _ in places[:MOST_SHOWN]]
    times = f'{len(places)} times' if len(places) <= MOST_SHOWN else f'over {MOST_SHOWN} times'
    raise AnswerError(
      f'{where}.search occurs {times} in {block.file}, at lines {", ".join(map(str, lines))}; add '
      'lines before or after it until it occurs once.'
    )
  start, end = places[0]
  after = text[:start] + replace + text[end:]
  _check_left_out(f'{where}.replace', block.file, text[start:end], replace)
  return after


def _places(text: str, search: str) -> list[int]:
  """Where `search` begins in `text`, overlaps among them; one more than are shown at most."""
  found: list[int] = []
  at = text.find(search)
  while at >= 0 and len(found) <= MOST_SHOWN:
    found.append(at)
    at = text.find(search, at + 1)
  return found


def _whole_lines(text: str, search: str) -> list[tuple[int, int]]:
  """(start, end) of the whole lines that equal those of `search` but for white space at the end.

  The last line break belongs to the place if `search` ends in one.
  """
  lines = text.split('\n')
  wanted = search.split('\n')
  closed = not wanted[-1].strip()
  if closed:
    wanted.pop()
  # Joined, so that looking for many lines takes no longer than looking for a text.
  bare = '\n' + '\n'.join(line.rstrip() for line in lines) + '\n'
  looked_for = '\n' + '\n'.join(line.rstrip() for line in wanted) + '\n'
  places = []
  for at in _places(bare, looked_for):
    first = bare.count('\n', 0, at)
    start = sum(len(line) + 1 for line in lines[:first])
    length = sum(len(line) + 1 for line in lines[first : first + len(wanted)])
    places.append((start, min(start + length - (not closed), len(text))))
  return places


def _like(text: str, new: str) -> str:
  """`new` with the line ends of `text`, where that has one kind only."""
  windows = text.count('\r\n')
  new = new.replace('\r\n', '\n') if windows < text.count('\n') or not windows else new
  return new.replace('\r\n', '\n').replace('\n', '\r\n') if windows == text.count('\n') > 0 else new


def _not_found(where: str, file: str, search: str, text: str) -> str:
  """What to tell the model: where the file differs from its block."""
  lines, wanted = text.splitlines(), search.splitlines()
  first = _nearest(lines, wanted)
  if first is None:
    return (
      f'{where}.search does not occur in {file}, and no line of the file comes near it; copy the '
      'lines to be replaced exactly.'
    )
  shown = range(max(first, 0), min(first + len(wanted), len(lines)))
  differing = [i for i in shown if lines[i].rstrip() != wanted[i - first].rstrip()]
  if differing:  # from the first that differs: the lines before it are right
    shown = range(differing[0], shown.stop)
  return (
    f'{where}.search does not occur in {file}; what comes nearest is line '
    + ', line '.join(f'{i + 1}: {_exact(lines[i])}' for i in shown[:MOST_SHOWN])
    + (
      f' (line {differing[0] - first + 1} of search is {_exact(wanted[differing[0] - first])})'
      if differing
      else ''
    )
    + '. Copy the lines to be replaced exactly, with their indentation.'
  )


def _nearest(lines: Sequence[str], wanted: Sequence[str]) -> int | None:
  """The line of the file where the block would begin: most of its lines are there, or the likest.

  May be negative, where the block begins with lines that the file has not.
  """
  where: dict[str, list[int]] = collections.defaultdict(list)
  for i, line in enumerate(lines):
    where[line.strip()].append(i)
  votes = collections.Counter(
    i - j
    for j, line in enumerate(wanted)
    if line.strip() and len(where.get(line.strip(), ())) <= MOST_SHOWN
    for i in where.get(line.strip(), ())
  )
  if votes:
    return votes.most_common(1)[0][0]
  longest = max(range(len(wanted)), key=lambda j: len(wanted[j].strip()))
  matcher = difflib.SequenceMatcher(None, b=wanted[longest].strip()[:120], autojunk=False)

  def likeness(i: int, exact: bool) -> float:
    matcher.set_seq1(lines[i].strip()[:120])
    return matcher.ratio() if exact else matcher.quick_ratio()

  # The exact ratio takes the product of the lengths: only for those that may have the best.
  candidates = sorted(range(min(len(lines), MOST_COMPARED)), key=lambda i: -likeness(i, False))[:30]
  best = max(candidates, key=lambda i: likeness(i, True), default=0)
  return best - longest if candidates and likeness(best, True) >= 0.6 else None


# What the result must be.


def _check(name: str, before: str, after: str, is_entry: bool, is_whole: bool) -> None:
  """Raises AnswerError where a changed file cannot be what was meant."""
  if len(after) > MOST_FILE:
    raise AnswerError(
      f'{name} would have {len(after):,} characters, more than {MOST_FILE:,}; write it shorter.'
    )
  if is_whole:
    _check_left_out('files', name, before, after)
  if not name.endswith('.py'):
    return
  new = _parsed(after)
  if isinstance(new, str):
    raise AnswerError(f'After the answer, {name} is not valid Python: {new}. Mend it.')
  whole = f' A whole file must be whole: give all of {name}.' if is_whole else ''
  try:
    old = ast.parse(before)
  except (SyntaxError, ValueError, RecursionError, MemoryError):
    old = None
  if old and (emptied := _bodiless(new) - _bodiless(old) & _functions(old)):
    emptied &= _functions(old)
    if emptied:
      raise AnswerError(
        f'{_names(sorted(emptied))} in {name} had a body and now has none but `...`; write it out.'
        + whole
      )
  defined = _defined(new)
  lost = (_defined(old) if old else _mentioned(before)) - defined
  if is_entry and (gone := [n for n in NEEDED if n in lost]):
    raise AnswerError(
      f'{_names(gone)} {"is" if len(gone) == 1 else "are"} no longer defined at the top level of '
      f'{name}; the trial needs {", ".join(NEEDED)} there, under these names.{whole}'
    )
  if missing := sorted(lost & _read(new) - _bound(new)):
    raise AnswerError(
      f'{name} still uses {_names(missing)} but no longer defines '
      f'{"it" if len(missing) == 1 else "them"}; define what is used.{whole}'
    )


def _check_left_out(where: str, name: str, before: str, after: str) -> None:
  """Raises AnswerError where a new comment stands in place of code that is gone."""
  known = {line.strip() for line in before.splitlines()}
  lines = after.splitlines()
  if sum(map(bool, map(str.strip, lines))) >= sum(map(bool, known)):
    return
  for number, line in enumerate(lines, 1):
    is_dots = line.strip() == '...' and not line[:1].isspace()
    if line.strip() not in known and (is_dots or LEFT_OUT.fullmatch(line)):
      raise AnswerError(
        f'Line {number} of {where} for {name} is {_exact(line)}: code was left out there. What is '
        'given replaces all that was there; '
        + (
          'a whole file must be whole.'
          if where == 'files'
          else 'write every line, or choose a smaller block.'
        )
      )


def _parsed(text: str) -> ast.Module | str:
  """The tree, or the line and the message of what is wrong."""
  try:
    return ast.parse(text)
  except SyntaxError as error:
    line = error.lineno or 1
    lines = text.splitlines()
    shown = f', {_exact(lines[line - 1])}' if 0 < line <= len(lines) else ''
    return f'line {line}: {one_line(error.msg, 200)}{shown}'
  except (RecursionError, MemoryError):
    return 'it is nested too deep'
  except ValueError as error:  # a null byte
    return one_line(str(error), 200)


def _defined(tree: ast.Module) -> set[str]:
  """Names bound at the top level, also under `if` and `try`."""
  return set(_bindings(tree, inside=False))


def _bound(tree: ast.Module) -> set[str]:
  """Names bound anywhere, parameters among them."""
  return set(_bindings(tree, inside=True))


def _bindings(tree: ast.Module, inside: bool) -> Iterator[str]:
  left: list[ast.AST] = [tree]
  while left:
    node = left.pop()
    match node:
      case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
        yield name
        left += ast.iter_child_nodes(node) if inside else []
        continue
      case ast.Lambda() if not inside:
        continue
      case ast.Name(id=name, ctx=ast.Store()):
        yield name
      case ast.arg(arg=name):
        yield name
      case ast.alias(name=name, asname=other):
        yield other or name.split('.')[0]
      case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)):
        yield name
      case ast.MatchStar(name=str(name)) | ast.MatchMapping(rest=str(name)):
        yield name
    left += ast.iter_child_nodes(node)


def _read(tree: ast.Module) -> set[str]:
  """Names read anywhere; none where a star import may define them."""
  names = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
  return set() if '*' in _bound(tree) else names


def _mentioned(text: str) -> set[str]:
  """Of the contract's names, those that a text which is not valid Python has."""
  return {name for name in NEEDED if re.search(rf'\b{name}\b', text)}


def _functions(tree: ast.Module) -> set[str]:
  return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def _bodiless(tree: ast.Module) -> set[str]:
  """Names of functions that are `...` but for a docstring."""
  return {
    node.name
    for node in ast.walk(tree)
    if isinstance(node, ast.FunctionDef)
    and _is_constant(node.body[-1], ...)
    and all(_is_constant(statement) for statement in node.body)
  }


def _is_constant(statement: ast.stmt, value: object = None) -> bool:
  match statement:
    case ast.Expr(value=ast.Constant(value=found)):
      return value is None or found is value
  return False


def _exact(line: str) -> str:
  """A line as it is, quoted; as an escaped string where it would not print."""
  return json.dumps(line[:200], ensure_ascii=not line.isprintable())


def _names(names: Sequence[str], most: int = MOST_SHOWN) -> str:
  more = f' and {len(names) - most} more' if len(names) > most else ''
  return ', '.join(names[:most]) + more
