"""An `Answer` applied to a program: the new program, or a sentence on why not and what to do.

Exact search and replace, as coding models are used to (Aider's edit formats, 2023,
https://aider.chat/docs/more/edit-formats.html), or whole files. A model that copied a block wrongly
sees the lines of the file that come nearest, so that it can mend its answer without the file being
sent again. What no trace is needed for is refused here: a result that is not Python, a function
of the contract that is gone, a name that is used but no longer defined, a file cut short.
Nothing is run; only files in `editable` can change.
"""

import ast
import builtins
import collections
import difflib
import json
import re
from collections.abc import Iterator, Sequence

from autoresearch_jax.messages import one_line
from autoresearch_jax.proposers.llm.answer import Answer, AnswerError, Block, WholeFile
from autoresearch_jax.types import Edit, Hypothesis, Objective, Program

# What the trial needs of the entry file, at its top level (see `trial.contract`).
NEEDED = ('init', 'train_step', 'predict', 'BATCH_SIZE')
CUT_SHORT = 0.75  # of its characters: a whole file that keeps less was perhaps cut short
MAX_FILE = 300_000  # characters of a file after the edit: a second to parse
MAX_DESCRIPTION, MAX_CLAIM = 120, 400  # characters
MAX_SHOWN = 8  # places, names or lines in a sentence
MAX_COMPARED = 3000  # lines of the file that are compared one by one with a line of the search
MAX_WIDTH = 120  # characters of a line that are compared
ALIKE = 0.6  # least ratio of difflib for lines that are called near each other
FUNCTION = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
FENCE = re.compile(r'```\w*\n(.*\n)```\s*', re.DOTALL)
# Comments that stand for code that was left out, as a whole line.
LEFT_OUT = re.compile(
  r'\.\.\.|#\W*('
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
  once; a missing line break at the end of `replace` where `search` ends in one, or of a whole file;
  around a whole file a code fence or a byte order mark.
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
    one_line(answer.claim, MAX_CLAIM),
    answer.mechanisms,
    None if change is None else sign * change + 0.0,  # + 0.0: no negative zero
    answer.uncertainty,
  )
  return Edit(program, one_line(answer.description, MAX_DESCRIPTION), hypothesis, author, role)


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
    lines = [text.count('\n', 0, start) + 1 for start, _ in places[:MAX_SHOWN]]
    times = f'{len(places)} times' if len(places) <= MAX_SHOWN else f'over {MAX_SHOWN} times'
    raise AnswerError(
      f'{where}.search occurs {times} in {block.file}, at lines {", ".join(map(str, lines))}; add '
      'lines before or after it until it occurs once.'
    )
  start, end = places[0]
  if search.endswith('\n') and replace and not replace.endswith('\n'):
    replace += '\r\n' if search.endswith('\r\n') else '\n'
  _check_left_out(f'{where}.replace', text[start:end], replace, 'Write every line of the block')
  return text[:start] + replace + text[end:]


def _places(text: str, search: str) -> list[int]:
  """Where `search` begins in `text`, overlaps among them; one more than are shown at most."""
  found: list[int] = []
  at = text.find(search)
  while at >= 0 and len(found) <= MAX_SHOWN:
    found.append(at)
    at = text.find(search, at + 1)
  return found


def _whole_lines(text: str, search: str) -> list[tuple[int, int]]:
  """(start, end) of the whole lines that equal those of `search` but for white space at the end.

  The last line break belongs to the place if `search` ends in one.
  """
  lines = text.split('\n')
  wanted = search.removesuffix('\n').split('\n')
  # Joined, so that looking for many lines takes no longer than looking for a text.
  bare = '\n' + '\n'.join(line.rstrip() for line in lines) + '\n'
  looked_for = '\n' + '\n'.join(line.rstrip() for line in wanted) + '\n'
  places = []
  for at in _places(bare, looked_for):
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
  """`new` with the line ends of `text`, where that has one kind only."""
  windows = text.count('\r\n')
  if 0 < windows < text.count('\n'):
    return new
  plain = new.replace('\r\n', '\n')
  return plain.replace('\n', '\r\n') if windows else plain


def _not_found(where: str, file: str, search: str, text: str) -> str:
  """What to tell the model: where the file differs from its block."""
  lines = [line.rstrip() for line in text.split('\n')]
  wanted = [line.rstrip() for line in search.removesuffix('\n').split('\n')]
  first = _nearest(lines, wanted)
  if first is None:
    return (
      f'{where}.search does not occur in {file}, and no line of the file comes near it; copy the '
      'lines to be replaced exactly.'
    )
  # The lines before the first that differs are right and need not be shown.
  i = next((j for j in range(len(wanted)) if _at(lines, first + j) != wanted[j]), 0)
  shown = range(max(first + i, 0), min(first + len(wanted), len(lines)))[:MAX_SHOWN]
  near = ', '.join(f'line {number + 1}: {_exact(lines[number])}' for number in shown)
  return (
    f'{where}.search does not occur in {file}: its line {i + 1} is {_exact(wanted[i])}, but the '
    f'file has nearest to it {near or "its end"}. Copy the lines to be replaced exactly, with '
    'their indentation.'
  )


def _at(lines: Sequence[str], number: int) -> str | None:
  return lines[number] if 0 <= number < len(lines) else None


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
    if line.strip() and len(where.get(line.strip(), ())) <= MAX_SHOWN
    for i in where.get(line.strip(), ())
  )
  if votes:
    return votes.most_common(1)[0][0]
  # No line is there as it is. The ratio takes the product of the lengths: only for those lines
  # that may have the best one, and then over the block.
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
  return best if best is not None and likeness[best] > 2 * ALIKE else None


def _likely(lines: Sequence[str], line: str) -> list[int]:
  """Numbers of the lines that may be the most like `line`, by an upper bound."""
  matcher = difflib.SequenceMatcher(None, b=line.strip()[:MAX_WIDTH], autojunk=False)

  def bound(i: int) -> float:
    matcher.set_seq1(_beginning(lines[i], line))
    return matcher.quick_ratio()

  return sorted(range(min(len(lines), MAX_COMPARED)), key=lambda i: -bound(i))[:20]


def _ratio(line: str, wanted: str) -> float:
  wanted = wanted.strip()[:MAX_WIDTH]
  return difflib.SequenceMatcher(None, _beginning(line, wanted), wanted, autojunk=False).ratio()


def _beginning(line: str, wanted: str) -> str:
  """What of a line of the file is compared: models leave out the comment at its end."""
  return line.strip()[: min(len(wanted.strip()) + 4, MAX_WIDTH)]


# What the result must be.


def _check(name: str, before: str, after: str, is_entry: bool, is_whole: bool) -> None:
  """Raises AnswerError where a changed file cannot be what was meant."""
  if len(after) > MAX_FILE:
    raise AnswerError(
      f'{name} would have {len(after):,} characters, more than {MAX_FILE:,}; write it shorter.'
    )
  whole = ''
  if is_whole:
    _check_left_out(name, before, after, 'A whole file must be whole')
    if len(after) < CUT_SHORT * len(before):
      whole = (
        f' It has {after.count(chr(10))} lines where it had {before.count(chr(10))}: a whole file '
        'must be whole.'
      )
  if not name.endswith('.py'):
    return
  new, old = _parsed(after), _parsed(before)
  if isinstance(new, str):
    raise AnswerError(f'After the answer, {name} is not valid Python: {new}. Mend it.{whole}')
  was_defined = _mentioned(before) if isinstance(old, str) else _defined(old)
  lost = was_defined - _defined(new)
  if is_entry and (gone := [n for n in NEEDED if n in lost]):
    raise AnswerError(
      f'{_names(gone)} {"is" if len(gone) == 1 else "are"} no longer defined at the top level of '
      f'{name}; the trial needs {", ".join(NEEDED)} there, under these names.{whole}'
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
        f'{_names(sorted(emptied))} in {name} had a body and now has `...` for one; write it out.'
      )


def _check_left_out(where: str, before: str, after: str, wanted: str) -> None:
  """Raises AnswerError where a new line of `after` stands in place of code that is gone."""
  lines = [line.strip() for line in after.splitlines()]
  known = [line.strip() for line in before.splitlines()]
  if sum(map(_is_code, lines)) >= sum(map(_is_code, known)):
    return
  for number, line in enumerate(lines, 1):
    if len(line) <= MAX_WIDTH and LEFT_OUT.fullmatch(line) and line not in known:
      raise AnswerError(
        f'Line {number} of {where} is {_exact(line)}, where code was left out. What is given '
        f'replaces all that was there. {wanted}.'
      )


def _is_code(line: str) -> bool:
  return line not in ('', '...') and not line.startswith('#')


def _parsed(text: str) -> ast.Module | str:
  """The tree, or the line and the message of what is wrong."""
  try:
    tree = ast.parse(text)
  except SyntaxError as error:
    return _wrong_line(text, error.lineno or 1, error.msg)
  except (RecursionError, MemoryError):
    return 'it is nested too deep'
  except ValueError as error:  # a null byte
    return one_line(str(error), 200)
  for node in _walk(tree, FUNCTION):
    if isinstance(node, ast.Return):  # lost indentation, which only the compiler would notice
      return _wrong_line(text, node.lineno, "'return' outside function")
  return tree


def _wrong_line(text: str, line: int, message: str) -> str:
  lines = text.split('\n')
  shown = f', {_exact(lines[line - 1])}' if 0 < line <= len(lines) else ''
  return f'line {line}: {one_line(message, 200)}{shown}'


def _defined(tree: ast.Module) -> set[str]:
  """Names bound at the top level, also under `if` and `try`."""
  return {name for node in _walk(tree, (*FUNCTION, ast.ClassDef)) for name in _binds(node)}


def _bound(tree: ast.Module) -> set[str]:
  """Names bound anywhere, parameters among them."""
  return {name for node in ast.walk(tree) for name in _binds(node)}


def _walk(tree: ast.Module, closed: tuple[type[ast.AST], ...]) -> Iterator[ast.AST]:
  """All nodes but those inside a node of one of the kinds in `closed`."""
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
  """Names read anywhere; none where a star import may define them."""
  names = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
  return set() if '*' in _bound(tree) else names


def _mentioned(text: str) -> set[str]:
  """Of the contract's names, those that a text which is not valid Python has."""
  return {name for name in NEEDED if re.search(rf'\b{name}\b', text)}


def _functions(tree: ast.Module, bodiless: bool = False) -> set[str]:
  """Names of functions and methods; only of those whose body is `...` but for a docstring."""
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
  """A line as it is, in quotes as in JSON; escaped where it would not print."""
  shown = line if len(line) <= 200 else line[:199] + '…'
  return json.dumps(shown, ensure_ascii=not shown.isprintable())


def _names(names: Sequence[str], most: int = MAX_SHOWN) -> str:
  more = f' and {len(names) - most} more' if len(names) > most else ''
  return ', '.join(names[:most]) + more
