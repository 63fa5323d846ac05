"""Applies a model's answer to a program, or says why it cannot be applied and what to do.

Edits are exact search and replace, which coding models know (Aider's edit formats, 2023,
https://aider.chat/docs/more/edit-formats.html), or whole files. If a model copied a block wrongly,
the message shows the closest lines of the file, so that the model can correct its answer without
being sent the file again. Refused here, since it takes no trace: a result that is not Python, a
missing function of the contract, a name that is used but no longer defined, a truncated file.
Nothing is run, and only editable files can change.
"""

import ast
import builtins
import collections
import difflib
import json
import re
from collections.abc import Iterator, Sequence

from autoresearch_jax.messages import one_line
from autoresearch_jax.proposers.llm.answer import (
  AnswerError,
  EditAnswer,
  SearchReplace,
  WholeFile,
)
from autoresearch_jax.types import Edit, Hypothesis, Objective, Program

# What the entry file must define at its top level (see `programs.contract`).
REQUIRED = ('init', 'train_step', 'predict', 'BATCH_SIZE')
MIN_LENGTH = 0.75  # of the old length: a whole file that is shorter was perhaps truncated
MAX_FILE = 300_000  # characters of a file after the edit: a second to parse
MAX_DESCRIPTION, MAX_CLAIM = 120, 400  # characters
MAX_SHOWN = 8  # places, names or lines in a message
MAX_COMPARED = 3000  # lines of the file that are compared with a line of the search
MAX_WIDTH = 120  # characters of a line that are compared
MIN_SIMILARITY = 0.6  # difflib ratio of lines that count as similar
FUNCTION = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
FENCE = re.compile(r'```\w*\n(.*\n)```\s*', re.DOTALL)
# Whole lines that stand for omitted code.
OMISSION = re.compile(
  r'\.\.\.|#\W*('
  r'(?:\.\.\.|…).*\b(?:unchanged|existing|rest|remaining|omitted|same|previous|before|code)\b.*'
  r'|(?:the |all |all the )?(?:rest|remaining|remainder|other|existing|previous)\b.*'
  r'\b(?:unchanged|the same|same as before|as before|as is|omitted|here|above)\W*'
  r'|(?:unchanged|same as before|existing code|code omitted|omitted for brevity)\W*'
  r'|(?:\.\.\.|…)\W*)',
  re.IGNORECASE,
)


def apply(answer: EditAnswer, program: Program, editable: tuple[str, ...]) -> Program:
  """Returns the program with the answer's whole files and edits, in order.

  A block must be found exactly once. Tolerated, since they are unambiguous: line ends (CRLF or LF)
  that differ from the file's, which then also apply to the new lines; trailing white space, if the
  block consists of whole lines that occur once; a missing line break at the end of `replace` if
  `search` ends in one, or at the end of a whole file; a code fence or a byte order mark around a
  whole file.

  Args:
    answer: The model's answer.
    program: The program to edit.
    editable: Names of the files that may change.

  Raises:
    AnswerError: The answer cannot be applied, or its result cannot be meant.
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
    raise AnswerError('The answer leaves the program exactly as it is; change something.')
  for name in changed:
    _check(name, program.text(name), files[name], name == program.entry, name in whole)
  return Program(tuple(files.items()), program.entry)


def edit_of(
  answer: EditAnswer, program: Program, objective: Objective, author: str = '', role: str = ''
) -> Edit:
  """Returns the edit that leads to `program`, with the answer's hypothesis.

  The answer predicts a change of the metric, the hypothesis a change of the score, where larger is
  better: if the metric is minimized, the sign flips.
  """
  sign = -1 if objective.direction == 'minimize' else 1
  change = answer.predicted_change
  hypothesis = Hypothesis(
    one_line(answer.claim, MAX_CLAIM),
    answer.mechanisms,
    None if change is None else sign * change + 0.0,  # + 0.0: no negative zero
    answer.uncertainty,
  )
  return Edit(program, one_line(answer.description, MAX_DESCRIPTION), hypothesis, author, role)


def _check_name(where: str, name: str, program: Program, editable: Sequence[str]) -> None:
  """Raises AnswerError unless `name` is an editable file of the program."""
  names = [known for known, _ in program.files]
  only = f'only {_names(editable, len(editable))} may be changed'
  if name in names and name in editable:
    return
  if name in names:
    raise AnswerError(f'{where} is for {name}; {only}.')
  if name.startswith(('/', '~')) or re.search(r'(^|[/\\])\.\.([/\\]|$)|\\|^\w:', name):
    raise AnswerError(
      f'{where} is for {_exact(name[:80])}, a path outside of the program; {only}, under exactly '
      'that name.'
    )
  raise AnswerError(f'{where} is for {_exact(name[:80])}, not a file of the program; {only}.')


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


def _replaced(where: str, block: SearchReplace, text: str) -> str:
  """Returns the text with one block replaced. Raises AnswerError."""
  search, replace = _like(text, block.search), _like(text, block.replace)
  if not search.strip():
    raise AnswerError(
      f'{where}.search is empty; copy the lines of {block.file} to be replaced, or those before '
      'the place of the new ones.'
    )
  if search == replace:
    raise AnswerError(f'{where} replaces a block with itself; change it, or leave this edit out.')
  places = [(at, at + len(search)) for at in _places(text, search)] or _whole_lines(text, search)
  if not places:
    raise AnswerError(_not_found(where, block.file, search, text))
  if len(places) > 1:
    lines = [text.count('\n', 0, start) + 1 for start, _ in places[:MAX_SHOWN]]
    times = f'{len(places)} times' if len(places) <= MAX_SHOWN else f'over {MAX_SHOWN} times'
    raise AnswerError(
      f'{where}.search occurs {times} in {block.file}, at lines {", ".join(map(str, lines))}; add '
      'lines before or after it until it occurs once.'
    )
  start, end = places[0]
  if search.endswith('\n') and replace and not replace.endswith('\n'):
    replace += '\r\n' if search.endswith('\r\n') else '\n'
  _check_omissions(f'{where}.replace', text[start:end], replace, 'Write every line of the block')
  return text[:start] + replace + text[end:]


def _places(text: str, search: str) -> list[int]:
  """Returns where `search` occurs, overlaps included; at most one place more than are shown."""
  found: list[int] = []
  at = text.find(search)
  while at >= 0 and len(found) <= MAX_SHOWN:
    found.append(at)
    at = text.find(search, at + 1)
  return found


def _whole_lines(text: str, search: str) -> list[tuple[int, int]]:
  """Returns (start, end) of whole lines that equal those of `search` except for trailing space.

  The last line break is included if `search` ends in one.
  """
  lines = text.split('\n')
  wanted = search.removesuffix('\n').split('\n')
  # Joined, since searching for one text is faster than comparing many lines.
  bare = '\n' + '\n'.join(line.rstrip() for line in lines) + '\n'
  needle = '\n' + '\n'.join(line.rstrip() for line in wanted) + '\n'
  places = []
  for at in _places(bare, needle):
    first = bare.count('\n', 0, at)
    start = sum(len(line) + 1 for line in lines[:first])
    found = '\n'.join(lines[first : first + len(wanted)])
    if search.endswith('\n'):
      end = min(start + len(found) + 1, len(text))
    else:
      end = start + len(found.removesuffix('\r'))
    places.append((start, end))
  return places


def _like(text: str, new: str) -> str:
  """Returns `new` with the line ends of `text`, if that has only one kind."""
  windows = text.count('\r\n')
  if 0 < windows < text.count('\n'):
    return new
  plain = new.replace('\r\n', '\n')
  return plain.replace('\n', '\r\n') if windows else plain


def _not_found(where: str, file: str, search: str, text: str) -> str:
  """Returns a message for the model: where the file differs from its block."""
  lines = [line.rstrip() for line in text.split('\n')]
  wanted = [line.rstrip() for line in search.removesuffix('\n').split('\n')]
  first = _nearest(lines, wanted)
  if first is None:
    return (
      f'{where}.search does not occur in {file}, and no line of the file is similar; copy the '
      'lines to be replaced exactly.'
    )
  # Lines before the first difference are right and need not be shown.
  i = next((j for j in range(len(wanted)) if _at(lines, first + j) != wanted[j]), 0)
  shown = range(max(first + i, 0), min(first + len(wanted), len(lines)))[:MAX_SHOWN]
  near = ', '.join(f'line {number + 1}: {_exact(lines[number])}' for number in shown)
  return (
    f'{where}.search does not occur in {file}: its line {i + 1} is {_exact(wanted[i])}, but the '
    f'closest in the file is {near or "its end"}. Copy the lines to be replaced exactly, with '
    'their indentation.'
  )


def _at(lines: Sequence[str], number: int) -> str | None:
  return lines[number] if 0 <= number < len(lines) else None


def _nearest(lines: Sequence[str], wanted: Sequence[str]) -> int | None:
  """Returns the line of the file where the block most likely should begin; None if nowhere.

  May be negative, if the block begins with lines that the file does not have.
  """
  where: dict[str, list[int]] = collections.defaultdict(list)
  for i, line in enumerate(lines):
    where[line.strip()].append(i)
  votes = collections.Counter(
    i - j
    for j, line in enumerate(wanted)
    if line.strip() and len(where.get(line.strip(), ())) <= MAX_SHOWN
    for i in where.get(line.strip(), ())
  )
  if votes:
    return max(votes, key=votes.__getitem__)
  # No line occurs exactly. Ratios take time quadratic in the length, so they are computed only for
  # promising lines, and then over the block.
  scored = [j for j, line in enumerate(wanted) if line.strip()][:MAX_SHOWN]
  firsts = {i - j for j in scored[:1] for i in _likely(lines, wanted[j])}
  longest = max(scored, key=lambda j: len(wanted[j].strip()))
  firsts |= {i - longest for i in _likely(lines, wanted[longest])}
  likeness = {
    first: max(_ratio(_at(lines, first + j) or '', wanted[j]) for j in scored)
    + sum(_ratio(_at(lines, first + j) or '', wanted[j]) for j in scored) / len(scored)
    for first in sorted(firsts)
  }
  best = max(likeness, key=likeness.__getitem__, default=None)
  return best if best is not None and likeness[best] > 2 * MIN_SIMILARITY else None


def _likely(lines: Sequence[str], line: str) -> list[int]:
  """Returns the lines that may be most similar to `line`, by an upper bound of the ratio."""
  matcher = difflib.SequenceMatcher(None, b=line.strip()[:MAX_WIDTH], autojunk=False)

  def bound(i: int) -> float:
    matcher.set_seq1(_beginning(lines[i], line))
    return matcher.quick_ratio()

  return sorted(range(min(len(lines), MAX_COMPARED)), key=lambda i: -bound(i))[:20]


def _ratio(line: str, wanted: str) -> float:
  wanted = wanted.strip()[:MAX_WIDTH]
  return difflib.SequenceMatcher(None, _beginning(line, wanted), wanted, autojunk=False).ratio()


def _beginning(line: str, wanted: str) -> str:
  """Returns the part of a line that is compared: models omit the comment at its end."""
  return line.strip()[: min(len(wanted.strip()) + 4, MAX_WIDTH)]


# What the result must be.


def _check(name: str, before: str, after: str, is_entry: bool, is_whole: bool) -> None:
  """Raises AnswerError if a changed file cannot be what was meant."""
  if len(after) > MAX_FILE:
    raise AnswerError(
      f'{name} would have {len(after):,} characters, more than {MAX_FILE:,}; write it shorter.'
    )
  whole = ''
  if is_whole:
    _check_omissions(name, before, after, 'A whole file must be whole')
    if len(after) < MIN_LENGTH * len(before):
      whole = (
        f' It has {after.count(chr(10))} lines where it had {before.count(chr(10))}: a whole file '
        'must be whole.'
      )
  if not name.endswith('.py'):
    return
  new, old = _parsed(after), _parsed(before)
  if isinstance(new, str):
    raise AnswerError(f'After the answer, {name} is not valid Python: {new}. Fix it.{whole}')
  was_defined = _mentioned(before) if isinstance(old, str) else _defined(old)
  lost = was_defined - _defined(new)
  if is_entry and (gone := [n for n in REQUIRED if n in lost]):
    raise AnswerError(
      f'{_names(gone)} {"is" if len(gone) == 1 else "are"} no longer defined at the top level of '
      f'{name}; the trial needs {", ".join(REQUIRED)} there, under these names.{whole}'
    )
  if missing := sorted((lost & _read(new)) - _bound(new) - set(dir(builtins))):
    raise AnswerError(
      f'{name} still uses {_names(missing)} but no longer defines '
      f'{"it" if len(missing) == 1 else "them"}; define what is used.{whole}'
    )
  if not isinstance(old, str):
    emptied = (_functions(new, bodiless=True) & _functions(old)) - _functions(old, bodiless=True)
    if emptied:
      raise AnswerError(
        f'The body of {_names(sorted(emptied))} in {name} was replaced by `...`; write it out.'
      )


def _check_omissions(where: str, before: str, after: str, wanted: str) -> None:
  """Raises AnswerError if a new line stands for omitted code."""
  lines = [line.strip() for line in after.splitlines()]
  known = [line.strip() for line in before.splitlines()]
  if sum(map(_is_code, lines)) >= sum(map(_is_code, known)):
    return
  for number, line in enumerate(lines, 1):
    if len(line) <= MAX_WIDTH and OMISSION.fullmatch(line) and line not in known:
      raise AnswerError(
        f'Line {number} of {where} is {_exact(line)}, which stands for omitted code. What you give '
        f'replaces everything that was there. {wanted}.'
      )


def _is_code(line: str) -> bool:
  return line not in ('', '...') and not line.startswith('#')


def _parsed(text: str) -> ast.Module | str:
  """Returns the syntax tree, or line and message of the error."""
  try:
    tree = ast.parse(text)
  except SyntaxError as error:
    return _wrong_line(text, error.lineno or 1, error.msg)
  except (RecursionError, MemoryError):
    return 'it is nested too deeply'
  except ValueError as error:  # a null byte
    return one_line(str(error), 200)
  for node in _walk(tree, FUNCTION):
    if isinstance(node, ast.Return):  # lost indentation, which only the compiler notices
      return _wrong_line(text, node.lineno, "'return' outside function")
  return tree


def _wrong_line(text: str, line: int, message: str) -> str:
  lines = text.split('\n')
  shown = f', {_exact(lines[line - 1])}' if 0 < line <= len(lines) else ''
  return f'line {line}: {one_line(message, 200)}{shown}'


def _defined(tree: ast.Module) -> set[str]:
  """Returns the names bound at the top level, also under `if` and `try`."""
  return {name for node in _walk(tree, (*FUNCTION, ast.ClassDef)) for name in _binds(node)}


def _bound(tree: ast.Module) -> set[str]:
  """Returns the names bound anywhere, parameters included."""
  return {name for node in ast.walk(tree) for name in _binds(node)}


def _walk(tree: ast.Module, closed: tuple[type[ast.AST], ...]) -> Iterator[ast.AST]:
  """Yields all nodes except those inside a node of a type in `closed`."""
  left: list[ast.AST] = [tree]
  while left:
    node = left.pop()
    yield node
    if not isinstance(node, closed):
      left += ast.iter_child_nodes(node)


def _binds(node: ast.AST) -> list[str]:
  match node:
    case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
      return [name]
    case ast.Name(id=name, ctx=ast.Store()) | ast.arg(arg=name):
      return [name]
    case ast.alias(name=name, asname=other):
      return [other or name.split('.')[0]]
    case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)):
      return [name]
    case ast.MatchStar(name=str(name)) | ast.MatchMapping(rest=str(name)):
      return [name]
  return []


def _read(tree: ast.Module) -> set[str]:
  """Returns the names read anywhere; none if a star import may define them."""
  names = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
  return set() if '*' in _bound(tree) else names


def _mentioned(text: str) -> set[str]:
  """Returns the names of the contract that occur in a text that is not valid Python."""
  return {name for name in REQUIRED if re.search(rf'\b{name}\b', text)}


def _functions(tree: ast.Module, bodiless: bool = False) -> set[str]:
  """Returns names of functions and methods. bodiless: only those whose body ends in `...`."""
  return {
    node.name
    for node in ast.walk(tree)
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    and (not bodiless or _is_dots(node.body[-1]))
  }


def _is_dots(statement: ast.stmt) -> bool:
  match statement:
    case ast.Expr(value=ast.Constant(value=value)):
      return value is ...
  return False


def _exact(line: str) -> str:
  """Returns a line in quotes as in JSON, escaped if it is not printable."""
  shown = line if len(line) <= 200 else line[:199] + '…'
  return json.dumps(shown, ensure_ascii=not shown.isprintable())


def _names(names: Sequence[str], limit: int = MAX_SHOWN) -> str:
  more = f' and {len(names) - limit} more' if len(names) > limit else ''
  return ', '.join(names[:limit]) + more
