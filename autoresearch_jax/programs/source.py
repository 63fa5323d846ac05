"""A program file as a libcst tree: finds constants, scopes and expressions, and rewrites them.

All other bytes are preserved.
"""

import ast
import builtins
import contextlib
import dataclasses
import functools
import operator
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import libcst as cst

from autoresearch_jax.programs.constants import assignments

Scope = cst.FunctionDef | cst.ClassDef
OPERATORS = {
  ast.Add: operator.add,
  ast.Sub: operator.sub,
  ast.Mult: operator.mul,
  ast.FloorDiv: operator.floordiv,
  ast.LShift: operator.lshift,
  ast.Pow: operator.pow,
}
LARGEST_EXPONENT = 64  # in an int expression such as 2**19
READ_BY_ENGINE = frozenset({'BATCH_SIZE'})  # part of the contract; the program need not read it


class Source:
  """A parsed file.

  Attributes:
    text: The file.
    module: Its syntax tree.

  Raises:
    libcst.ParserSyntaxError: The file does not parse.
  """

  def __init__(self, text: str):
    self.text = text
    self.module = cst.parse_module(text)

  @functools.cached_property
  def constants(self) -> dict[str, Any]:
    """Values of the ALL_CAPS literals that are set once at the top level, and read anywhere."""
    found: dict[str, list[Any]] = {}
    for constant in assignments(self.text):
      if not constant.nested:
        value = constant.value
        found.setdefault(constant.name, []).append(
          _int_of(constant.code) if value is None else value
        )
    read = _names(self._tree, ast.Load) | READ_BY_ENGINE
    return {n: v[0] for n, v in found.items() if len(v) == 1 and v[0] is not None and n in read}

  def with_constants(self, values: Mapping[str, Any]) -> str:
    """Returns the text with other values of top-level constants."""
    return self._with_body([_with_values(statement, values) for statement in self.module.body])

  def scope(self, path: str) -> Scope | None:
    """Returns the class or function at a dotted path, such as `Attention.__call__`."""
    found: Scope | None = None
    body: Sequence[cst.CSTNode] = self.module.body
    for name in path.split('.'):
      matches = [s for s in body if isinstance(s, Scope) and s.name.value == name]
      if len(matches) != 1:
        return None
      found = matches[0]
      body = found.body.body
    return found

  def replaced(self, changes: Sequence[tuple[cst.CSTNode, Any]]) -> str:
    """Returns the text with nodes of the tree, matched by identity, replaced."""
    places = {self._places[id(node)] for node, _ in changes}
    body: list[Any] = list(self.module.body)
    for place in places:
      body[place] = body[place].visit(_Replacing(changes))
    return self._with_body(body)

  def _with_body(self, body: Sequence[Any]) -> str:
    """Returns the text with other statements. Those that are unchanged keep their text.

    Generating the code of a whole program takes 50 ms, which would limit a run on many machines.
    """
    start, codes = self._codes
    if start < 0:
      return self.module.with_changes(body=body).code
    pairs = zip(self.module.body, body, codes, strict=True)
    parts = (code if new is old else self.module.code_for_node(new) for old, new, code in pairs)
    end = start + sum(map(len, codes))
    return self.text[:start] + ''.join(parts) + self.text[end:]

  @functools.cached_property
  def _codes(self) -> tuple[int, list[str]]:
    """Where the code of the statements begins, and that code; -1 if it is not part of the text."""
    codes = [self.module.code_for_node(statement) for statement in self.module.body]
    return self.text.find(''.join(codes)), codes

  @functools.cached_property
  def _places(self) -> dict[int, int]:
    """The top-level statement of each node, by identity."""
    found: dict[int, int] = {}
    for place, statement in enumerate(self.module.body):
      nodes: list[cst.CSTNode] = [statement]
      while nodes:
        node = nodes.pop()
        found[id(node)] = place
        nodes += node.children
    return found

  def imports(self, module: str, name: str) -> bool:
    """Whether the file has `import module`, or `import module as name`."""
    wanted = {(module, None if module == name else name)}
    return any(
      (alias.name, alias.asname) in wanted
      for node in self._tree.body
      if isinstance(node, ast.Import)
      for alias in node.names
    )

  def knows(self, scope: Scope, code: str) -> bool:
    """Whether every name in `code` is defined in the scope, at the top level, or a builtin."""
    return _names(ast.parse(code), ast.Load) <= self._top | _all_names(code_of(scope))

  @functools.cached_property
  def _top(self) -> set[str]:
    found = set(dir(builtins))
    for node in self._tree.body:
      if isinstance(node, ast.Assign | ast.AnnAssign):
        found |= _names(node, ast.Store)
      if isinstance(node, ast.Import | ast.ImportFrom):
        found |= {alias.asname or alias.name.split('.')[0] for alias in node.names}
      elif isinstance(node, ast.FunctionDef | ast.ClassDef):
        found.add(node.name)
    return found

  @functools.cached_property
  def _tree(self) -> ast.Module:
    return ast.parse(self.text)


def _names(tree: ast.AST, use: type[ast.expr_context]) -> set[str]:
  """Returns names read (ast.Load) or bound (ast.Store) in a tree, without parameters of lambdas."""
  bound = {a.arg for node in ast.walk(tree) if isinstance(node, ast.Lambda) for a in node.args.args}
  names = (n for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, use))
  return {name.id for name in names} - bound


def _all_names(code: str) -> set[str]:
  """Returns the names that a function or class binds or reads, including its parameters."""
  tree = ast.parse(textwrap.dedent(code))
  arguments = {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
  return _names(tree, ast.Load) | _names(tree, ast.Store) | arguments


class _Replacing(cst.CSTTransformer):
  def __init__(self, changes: Sequence[tuple[cst.CSTNode, Any]]):
    super().__init__()
    self.changes = {id(node): new for node, new in changes}

  def on_visit(self, node: cst.CSTNode) -> bool:
    return id(node) not in self.changes

  def on_leave(self, original_node: cst.CSTNode, updated_node: Any) -> Any:
    return self.changes.get(id(original_node), updated_node)


@dataclasses.dataclass(frozen=True)
class Pattern:
  """An expression to match.

  Attributes:
    kind: Type of its node.
    form: Its syntax tree as text, independent of layout, quotes and parentheses.
  """

  kind: type[cst.BaseExpression]
  form: str

  def matches(self, node: cst.BaseExpression) -> bool:
    # The cheap comparison of types first, which rules out most nodes.
    return type(node) is self.kind and _form(code_of(node)) == self.form


@functools.cache
def pattern(code: str) -> Pattern:
  """Returns the pattern that matches the expression `code`."""
  return Pattern(type(cst.parse_expression(code)), _form(code))


def _form(code: str) -> str:
  # In parentheses, since the expression may span lines; ast.dump does not show them.
  return ast.dump(ast.parse(f'({code})', mode='eval'))


def code_of(node: cst.CSTNode) -> str:
  return cst.Module(body=[]).code_for_node(node)


def expressions(node: cst.CSTNode) -> Iterator[cst.BaseExpression]:
  """Yields all expressions below a node, outermost first."""
  for child in node.children:
    if isinstance(child, cst.BaseExpression):
      yield child
    yield from expressions(child)


def statements(scope: Scope) -> Iterator[cst.SimpleStatementLine]:
  """Yields the simple statements of a function at any depth, except in nested functions."""
  yield from _statements(scope.body)


def _statements(block: cst.CSTNode) -> Iterator[cst.SimpleStatementLine]:
  for child in block.children:
    if isinstance(child, cst.SimpleStatementLine):
      yield child
    elif not isinstance(child, Scope):
      yield from _statements(child)


def assignment(statement: cst.CSTNode) -> tuple[str, cst.BaseExpression] | None:
  """Returns (target as text, value) of a plain assignment; None for any other statement."""
  if isinstance(statement, cst.SimpleStatementLine) and len(statement.body) == 1:
    only = statement.body[0]
    if isinstance(only, cst.Assign) and len(only.targets) == 1:
      return code_of(only.targets[0].target), only.value
    if isinstance(only, cst.AnnAssign) and only.value is not None:
      return code_of(only.target), only.value
  return None


def returned(statement: cst.CSTNode) -> cst.BaseExpression | None:
  """Returns the value of a return statement; None for any other statement."""
  if isinstance(statement, cst.SimpleStatementLine) and isinstance(statement.body[0], cst.Return):
    return statement.body[0].value
  return None


def literal(value: Any, like: str = '') -> str:
  """Formats a value as Python: as `2**n` if it is a power of two and the old text was `2**n`."""
  if like.replace(' ', '').startswith('2**') and isinstance(value, int) and value > 0:
    exponent = value.bit_length() - 1
    if value == 2**exponent:
      return f'2**{exponent}'
  return repr(value)


def _with_values(statement: Any, values: Mapping[str, Any]) -> Any:
  pair = assignment(statement)
  if pair is None or pair[0] not in values:
    return statement
  name, value = pair
  if isinstance(value, cst.Tuple) and _is_prefix(value, values[name]):
    new: cst.BaseExpression = _shortened(value, len(values[name]))
  else:
    new = cst.parse_expression(literal(values[name], code_of(value)))
  only = statement.body[0].with_changes(value=new)
  return statement.with_changes(body=[only])


def _is_prefix(value: cst.Tuple, wanted: Any) -> bool:
  old = None
  with contextlib.suppress(ValueError):
    old = ast.literal_eval(code_of(value))
  return isinstance(old, tuple) and 1 < len(wanted) < len(old) and old[: len(wanted)] == wanted


def _shortened(value: cst.Tuple, length: int) -> cst.Tuple:
  """Returns the first elements with their layout; the last one gets the old last one's comma."""
  kept = list(value.elements[:length])
  kept[-1] = kept[-1].with_changes(comma=value.elements[-1].comma)
  return value.with_changes(elements=kept)


def _int_of(code: str) -> int | None:
  """Returns the value of an int expression such as 2**19; None for anything else."""
  return _int(ast.parse(f'({code})', mode='eval').body)


def _int(tree: ast.AST) -> int | None:
  if isinstance(tree, ast.Constant) and type(tree.value) is int:
    return tree.value
  if not isinstance(tree, ast.BinOp) or type(tree.op) not in OPERATORS:
    return None
  left, right = _int(tree.left), _int(tree.right)
  if left is None or right is None:
    return None
  if isinstance(tree.op, ast.Pow | ast.LShift) and not 0 <= right <= LARGEST_EXPONENT:
    return None
  with contextlib.suppress(ZeroDivisionError):
    return OPERATORS[type(tree.op)](left, right)
  return None
