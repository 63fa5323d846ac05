"""Checks a traced program in the tracer, where its lines are known.

The runner reads the artifact again and trusts nothing of this; here the same rules end in sentences
that name file and line. In addition, a program must train: something that `predict` reads must
depend on the data.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from autoresearch_jax.artifact import fingerprint, graph, reader
from autoresearch_jax.artifact.header import ArtifactError
from autoresearch_jax.config import Limits
from autoresearch_jax.programs.contract import ContractError
from autoresearch_jax.tracer.flat_program import FlatProgram

T = TypeVar('T')
MAX_NAMES = 3  # of leaves that a sentence lists


def check(
  artifact: reader.Artifact,
  limits: Limits,
  program: FlatProgram,
  place: Callable[[int, int], str],
) -> None:
  """Raises ContractError for what the runner would refuse, and for a program that cannot learn.

  Args:
    artifact: The traced program.
    limits: Its limits.
    program: The program.
    place: (index of a module, position of an operation) -> file and line, '' if there is none.
  """
  names = ('init', *('train_step' for _ in artifact.train_steps), 'predict')
  read = read_checked(
    artifact.to_bytes(), limits, reader.from_bytes, names, program.entry, program.where, place
  )
  _check_training(read, program)


def read_checked(
  data: bytes,
  limits: Limits,
  read: Callable[[bytes, Limits], T],
  names: Sequence[str],
  entry: str,
  where: Callable[[str], str],
  place: Callable[[int, int], str],
) -> T:
  """Reads an artifact as the runner will. Raises ContractError, with file and line.

  Args:
    data: Contents of the artifact's file.
    limits: Its limits.
    read: Checks and returns an artifact.
    names: Function of each module.
    entry: Name of the program's entry file.
    where: Name of a function of the program -> its file and line.
    place: As in `check`.
  """
  if len(data) > limits.artifact_bytes:
    raise ContractError(
      f'{entry}: the traced program has {len(data) / 2**20:.1f} MiB, and '
      f'limits.artifact_bytes allows {limits.artifact_bytes / 2**20:g} MiB; compute large '
      'constants inside the functions, or loop with jax.lax.scan.'
    )
  try:
    return read(data, limits)
  except ArtifactError as error:
    found = ''
    if error.module is not None:
      at = '' if error.position is None else place(error.module, error.position)
      found = at or where(names[error.module])
    why = error.why.removeprefix('it ').removeprefix('a module ')
    subject = '' if why == error.why else 'the program '
    raise ContractError(f'{found or entry}: {subject}{why}; {error.remedy}.') from None


def _check_training(artifact: reader.Artifact, program: FlatProgram) -> None:
  """Raises ContractError if no leaf that `predict` reads depends on the training data.

  Constructions have no data, and one may be complete when it is made.
  """
  if artifact.spec.kind == 'construction':
    return
  size = len(artifact.leaves)
  *steps, predict = artifact.exported[1:]
  used = fingerprint.arguments_read(artifact.graphs[-1], (0,))
  read = {predict.module_kept_var_idx[i] for i in used} - {size}
  paths = [artifact.leaves[i].path for i in sorted(read)]
  place = program.where('train_step')
  if not read:
    raise ContractError(
      f'{program.where("predict")}: predict reads nothing of the state, so training changes no '
      'prediction; compute the predictions from the arrays that train_step updates.'
    )
  modules = [
    (module, exported.module_kept_var_idx)
    for module, exported in zip(artifact.graphs[1:-1], steps, strict=True)
  ]
  learned: set[int] = set()  # leaves that depend on the data
  while True:
    before = set(learned)
    for module, kept in modules:
      outputs = _outputs_of(module, kept, {*learned, size, size + 1})
      learned.update(i for i in outputs if i < size)
    if read & learned:
      return
    if learned == before:
      break
  names = ', '.join(paths[:MAX_NAMES]) + (', ...' if len(paths) > MAX_NAMES else '')
  if all(_returns_as_it_came(module, kept, read) for module, kept in modules):
    raise ContractError(
      f'{place}: train_step changes no array that predict reads ({names}); return the updated '
      'arrays in the new state, not those that came in.'
    )
  raise ContractError(
    f'{place}: no array that predict reads ({names}) depends on the training batch, so nothing is '
    'learned; let the loss, and with it the update, depend on batch and on these arrays, without '
    'jax.lax.stop_gradient in between.'
  )


def _outputs_of(module: graph.Graph, kept: tuple[int, ...], sources: set[int]) -> set[int]:
  """Positions of the outputs that depend on arguments of the exported function."""
  tainted = frozenset(position for position, i in enumerate(kept) if i in sources)
  return set(_Dependences(module).function('main', tainted))


def _returns_as_it_came(module: graph.Graph, kept: tuple[int, ...], leaves: Iterable[int]) -> bool:
  """Whether a train step returns these leaves of the state as it got them."""
  arguments = {i: position for position, i in enumerate(kept)}
  returned = graph.passed_through(module)
  return all(i not in arguments or returned.get(i) == arguments[i] for i in leaves)


class _Dependences:
  """Which values of a module depend on which arguments, at most."""

  def __init__(self, module: graph.Graph):
    self._functions = module.functions
    self._known: dict[tuple[str, frozenset[int]], frozenset[int]] = {}

  def function(self, name: str, arguments: frozenset[int]) -> frozenset[int]:
    """Positions of the outputs of a function that depend on the arguments at these positions."""
    key = name, arguments
    if key not in self._known:
      block = self._functions[name]
      values = {block.arguments[i] for i in arguments}
      self._known[key] = frozenset(self._block(block, values))
    return self._known[key]

  def _block(self, block: graph.BasicBlock, values: set[int]) -> set[int]:
    """Positions of the block's outputs that depend on `values`, to which its own are added."""
    for op in block.ops[:-1]:
      values.update(op.results[i] for i in self._results(op, values))
    return {i for i, operand in enumerate(block.ops[-1].operands) if operand in values}

  def _results(self, op: graph.Op, values: set[int]) -> Iterable[int]:
    """Positions of the results of an operation that depend on `values`."""
    operands = [i for i, operand in enumerate(op.operands) if operand in values]
    if op.name == 'func.call':
      return self.function(op.symbols[0], frozenset(operands))
    if op.name == 'stablehlo.optimization_barrier':
      return operands
    if op.name == 'stablehlo.while':
      return self._loop(op, set(operands), values)
    inside = [self._block(block, values) for block in op.blocks]
    if op.name in ('stablehlo.case', 'stablehlo.if') and not operands:
      return set().union(*inside)
    return range(len(op.results)) if operands or any(inside) else ()

  def _loop(self, op: graph.Op, carried: set[int], values: set[int]) -> Iterable[int]:
    condition, body = op.blocks
    while True:
      values.update(block.arguments[i] for block in op.blocks for i in carried)
      if self._block(condition, values):
        return range(len(op.results))
      more = carried | self._block(body, values)
      if more == carried:
        return carried
      carried = more
