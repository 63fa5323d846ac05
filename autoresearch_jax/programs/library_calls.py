"""Structural edits of programs never seen before: calls of flax, optax and jax.nn, by meaning.

What a name stands for follows from the file's imports, so `nn.relu`, `nnx.relu` and `jax.nn.relu`
are one activation. An edit that does not fit (a shape, say) does not trace, which costs seconds.
What a program's own `edits.py` or the general edits cover is left to them, and so are packaged
programs as a whole.
"""

import ast
import dataclasses
from collections.abc import Collection, Iterator, Mapping, Sequence

import libcst as cst
import numpy as np

from autoresearch_jax.programs.source import (
  Source,
  assignment,
  code_of,
  expressions,
  literal,
  statements,
)
from autoresearch_jax.programs.structural_edits import NodeChange, Rewrite, SourceEdit

LINEN, NNX = 'flax.linen', 'flax.nnx'
ACTIVATION_MODULES = (LINEN, NNX, 'jax.nn')
ACTIVATIONS = {
  'relu': ('ReLU', 'ReLU is the cheapest, and keeps the scale of its input.', 1.0),
  'gelu': ('GELU', 'GELU lets small negative inputs through.', 1.0),
  'silu': ('SiLU', 'SiLU is smooth, so that larger steps stay stable.', 1.0),
  'leaky_relu': ('leaky ReLU', 'Units that are off still learn.', 0.6),
  'elu': ('ELU', 'Outputs with a mean near 0 speed learning up.', 0.4),
  'tanh': ('tanh', 'A bounded activation bears higher rates.', 0.3),
}
OTHER_ACTIVATIONS = frozenset({'swish', 'selu', 'celu', 'softplus', 'relu6', 'hard_swish'})
NORMS = {
  'LayerNorm': ('layer norm', 'Normed features keep all units in use and bear higher rates.', 1.0),
  'RMSNorm': ('RMS norm', 'Scaling alone is enough, and leaves the mean as a feature.', 1.0),
}
NORM_ARGUMENTS = frozenset({'epsilon', 'dtype', 'param_dtype', 'name', 'rngs', 'num_groups'})
# Optimizers whose first arguments mean the same: the learning rate, then the betas.
ADAMS = {
  'adam': ('Adam', 'Plain Adam is the safe choice.', 0.5),
  'adamw': ('AdamW', 'Decoupled weight decay keeps weights small.', 1.0),
  'nadamw': ('NAdamW', 'Looking one step ahead speeds short runs up.', 1.0),
  'radam': ('RAdam', 'Rectified early steps need no warm-up.', 0.4),
  'adabelief': ('AdaBelief', 'Steps adapt to how gradients surprise.', 0.5),
}
ADAM_ARGUMENTS = frozenset({'learning_rate', 'b1', 'b2', 'eps'})
DECAYED = ('adamw', 'nadamw')  # these also take weight_decay
# Schedules by the fraction of the budget that is used, as factors of the updates.
SCHEDULES = {
  'linear decay': ('(1 - progress)', 'Smaller steps at the end average the noise away.'),
  'linear decay in the second half': (
    'jnp.minimum(1.0, 2 * (1 - progress))', 'High rates first get far, low ones then settle.',
  ),
  'cosine decay': (
    '(0.5 + 0.5 * jnp.cos(jnp.pi * progress))', 'A cosine spends longer at high and low rates.',
  ),
}  # fmt: skip
SIZED = {f'{LINEN}.Dense': 'units', f'{LINEN}.Conv': 'channels'}
INITIALISED = (f'{LINEN}.Dense', f'{LINEN}.Conv')
INTEGER_LOSS = 'optax.softmax_cross_entropy_with_integer_labels'
SMOOTHING, CLIP_NORM = 0.05, 1.0
FACTORS = (0.5, 0.75, 1.5, 2.0)  # of a size or a rate that stands in a call


@dataclasses.dataclass(frozen=True)
class LibraryName:
  """A name in a program that stands for something of a library.

  Attributes:
    node: Where it stands.
    module: Dotted name of the module, such as flax.linen.
    name: Name in that module.
  """

  node: cst.BaseExpression
  module: str
  name: str

  @property
  def full(self) -> str:
    return f'{self.module}.{self.name}'


class LibraryCalls:
  """Finds names and calls of libraries in a file.

  Args:
    source: The file.
  """

  def __init__(self, source: Source):
    self.source = source
    self._aliases = _aliases(source.text)
    self._nodes = list(expressions(source.module))

  def names(self, modules: Sequence[str], names: Collection[str]) -> list[LibraryName]:
    """Where one of these names stands behind its module, so that another of its names may."""
    found = (self.resolved(node) for node in self._nodes)
    named = [n for n in found if n is not None and n.module in modules and n.name in names]
    return [n for n in named if isinstance(n.node, cst.Attribute)]

  def calls(self, *full: str) -> list[cst.Call]:
    """All calls of functions with these full names."""
    calls = [node for node in self._nodes if isinstance(node, cst.Call)]
    resolved = [(call, self.resolved(call.func)) for call in calls]
    return [call for call, name in resolved if name is not None and name.full in full]

  def resolved(self, node: cst.BaseExpression) -> LibraryName | None:
    """What a name or an attribute stands for; None if it is of no imported module."""
    parts = _dotted(node)
    if not parts or parts[0] not in self._aliases:
      return None
    module, _, name = '.'.join((self._aliases[parts[0]], *parts[1:])).rpartition('.')
    return LibraryName(node, module, name) if module else None

  def written(self, full: str) -> str:
    """How this file can write a full name; '' if its imports do not allow it."""
    for alias, target in sorted(self._aliases.items(), key=lambda pair: -len(pair[1])):
      if f'{full}.'.startswith(f'{target}.'):
        return alias + full.removeprefix(target)
    return ''


def library_edits(source: Source, covered: Collection[str]) -> list[SourceEdit]:
  """Returns the edits that apply to a file.

  Args:
    source: The file.
    covered: Mechanisms that other edits of this file have, which are left out here.
  """
  calls = LibraryCalls(source)
  made = (
    *_activations(calls),
    *_norms(calls),
    *_optimizers(calls),
    *_schedules(calls),
    *_clipping(calls),
    *_smoothing(calls),
    *_initialisers(calls),
    *_sizes(calls),
    *_rates(calls),
  )
  return [edit for edit in made if edit.mechanisms[0] not in covered]


def _activations(calls: LibraryCalls) -> Iterator[SourceEdit]:
  """One activation instead of the one that is used most, everywhere."""
  found = calls.names(ACTIVATION_MODULES, {*ACTIVATIONS, *OTHER_ACTIVATIONS})
  if not found:
    return
  names = [each.name for each in found]
  current = max(sorted(set(names)), key=names.count)
  places = [each for each in found if each.name == current]
  for name, (words, claim, weight) in ACTIVATIONS.items():
    if name != current:
      changes = [(each.node, _renamed(each.node, name)) for each in places]
      yield _edit(
        calls, f'activation {words}', f'activation: {current} -> {words}', changes,
        claim, ('activation',), 0.5 * weight, (0.0, 0.02),
      )  # fmt: skip


def _norms(calls: LibraryCalls) -> Iterator[SourceEdit]:
  found = [
    call
    for module in (LINEN, NNX)
    for call in calls.calls(*(f'{module}.{name}' for name in (*NORMS, 'GroupNorm')))
    if _keywords(call) <= NORM_ARGUMENTS and isinstance(call.func, cst.Attribute)
  ]
  if not found:
    return
  for name, (words, claim, weight) in NORMS.items():
    changes = []
    for call in found:
      old = calls.resolved(call.func)
      assert old is not None
      if old.name == name or (old.name == 'GroupNorm' and old.module == NNX):
        continue
      arguments = [a for a in call.args if a.keyword is None or a.keyword.value != 'num_groups']
      if old.name == 'GroupNorm':
        arguments = [a for a in arguments if a.keyword is not None]
      changes.append((call, call.with_changes(func=_renamed(call.func, name), args=arguments)))
    if changes:
      yield _edit(
        calls, f'norm {words}', f'norm: {words}', changes, claim, ('norm',), 0.5 * weight,
        (0.0, 0.02),
      )  # fmt: skip


def _optimizers(calls: LibraryCalls) -> Iterator[SourceEdit]:
  for call in calls.calls(*(f'optax.{name}' for name in ADAMS)):
    old = calls.resolved(call.func)
    if old is None or not isinstance(call.func, cst.Attribute):
      continue
    for name, (words, claim, weight) in ADAMS.items():
      allowed = ADAM_ARGUMENTS | ({'weight_decay'} if name in DECAYED else set())
      arguments = [a for a in call.args if a.keyword is None or a.keyword.value in allowed]
      if name == old.name or len(call.args) - len(arguments) > 1:
        continue
      new = call.with_changes(func=_renamed(call.func, name), args=_without_comma(arguments))
      yield _edit(
        calls, f'optimizer {words}', f'optimizer: {old.name} -> {words}', [(call, new)],
        claim, ('optimizer',), 0.6 * weight, (0.0, 0.03),
      )  # fmt: skip


def _schedules(calls: LibraryCalls) -> Iterator[SourceEdit]:
  """Scales optax's updates by a function of the progress, in `train_step`."""
  scope = calls.source.scope('train_step')
  if not isinstance(scope, cst.FunctionDef) or len(scope.params.params) != 3:
    return
  progress = scope.params.params[2].name.value
  tree, numpy = calls.written('jax.tree.map'), calls.written('jax.numpy')
  lines = [line for line in statements(scope) if _is_update(line)]
  if len(lines) != 1 or not tree or not numpy:
    return
  pair = assignment(lines[0])
  assert pair is not None
  updates = pair[0].strip('() ').partition(',')[0].strip()
  present = [line for line in statements(scope) if _scales(line, updates, tree)]
  for words, (factor, claim) in SCHEDULES.items():
    scale = factor.replace('progress', progress).replace('jnp.', f'{numpy}.')
    new = cst.parse_statement(f'{updates} = {tree}(lambda u: {scale} * u, {updates})')
    if present and code_of(present[0]).strip() == code_of(new).strip():
      continue
    place = present[0] if present else lines[0]
    value = new if present else cst.FlattenSentinel([lines[0], new])
    yield _edit(
      calls, f'schedule {words}', f'schedule: {words}', [(place, value)], claim, ('schedule',),
      0.8, (0.005, 0.03),
    )  # fmt: skip


def _clipping(calls: LibraryCalls) -> Iterator[SourceEdit]:
  """Clips gradients before the only optimizer of the file."""
  found = calls.calls(*(f'optax.{name}' for name in (*ADAMS, 'sgd', 'lion', 'rmsprop')))
  chain, clip = calls.written('optax.chain'), calls.written('optax.clip_by_global_norm')
  if len(found) != 1 or not chain or calls.calls('optax.clip_by_global_norm'):
    return
  new = cst.parse_expression(f'{chain}({clip}({CLIP_NORM}), {code_of(found[0])})')
  yield _edit(
    calls, 'gradient clipping up', 'add gradient clipping', [(found[0], new)],
    'Clipped gradients bear higher rates and rare outliers.', ('optimizer', 'clipping'), 0.3,
    (0.0, 0.01),
  )  # fmt: skip


def _smoothing(calls: LibraryCalls) -> Iterator[SourceEdit]:
  """Label smoothing of a cross-entropy with integer labels."""
  found = [
    call
    for call in calls.calls(INTEGER_LOSS)
    if len(call.args) == 2 and all(a.keyword is None and _is_simple(a.value) for a in call.args)
  ]
  one_hot = calls.written('jax.nn.one_hot')
  loss, smooth = calls.written('optax.softmax_cross_entropy'), calls.written('optax.smooth_labels')
  if not found or not one_hot or not loss:
    return
  changes: list[NodeChange] = []
  for call in found:
    logits, labels = (code_of(argument.value) for argument in call.args)
    targets = f'{one_hot}({labels}, {logits}.shape[-1])'
    changes.append(
      (call, cst.parse_expression(f'{loss}({logits}, {smooth}({targets}, {SMOOTHING}))'))
    )
  yield _edit(
    calls, 'label smoothing up', f'add label smoothing of {SMOOTHING}', changes,
    'Smoothed labels keep the model from being too sure.', ('regularisation',), 0.5, (0.0, 0.02),
  )  # fmt: skip


def _initialisers(calls: LibraryCalls) -> Iterator[SourceEdit]:
  """Another initialiser for layers that name none."""
  found = [call for call in calls.calls(*INITIALISED) if 'kernel_init' not in _keywords(call)]
  if not found:
    return
  for name, words in (('he_normal', 'He'), ('orthogonal', 'orthogonal')):
    initialiser = calls.written(f'{LINEN}.initializers.{name}')
    if not initialiser:
      return
    changes: list[NodeChange] = [
      (call, _with_argument(call, f'kernel_init={initialiser}()')) for call in found
    ]
    yield _edit(
      calls, f'initialisation {words}', f'initialisation: {words}', changes,
      f'{words} weights keep the scale of activations through the layers.', ('initialisation',),
      0.3, (0.0, 0.01),
    )  # fmt: skip


def _sizes(calls: LibraryCalls) -> Iterator[SourceEdit]:
  """Units and channels that stand as numbers in calls of layers, each on its own."""
  for kind, unit in SIZED.items():
    for number, call in enumerate(calls.calls(kind)):
      value = _argument(call, 0, 'features')
      if isinstance(value, cst.Integer) and int(value.value) > 1:
        key = f'{kind.rpartition(".")[2]} {number}'
        yield _scaled(calls, f'{key} {unit}', value, int(value.value), ('width',), 1.0)


def _rates(calls: LibraryCalls) -> Iterator[SourceEdit]:
  """Rates that stand as numbers in calls: of learning, of weight decay, of dropout."""
  optimizers = calls.calls(*(f'optax.{name}' for name in (*ADAMS, 'sgd', 'lion', 'rmsprop')))
  dropouts = calls.calls(f'{LINEN}.Dropout', f'{NNX}.Dropout')
  for number, call in enumerate(optimizers):
    for position, name, words in (
      (0, 'learning_rate', 'learning rate'), (None, 'weight_decay', 'weight decay')
    ):  # fmt: skip
      value = _argument(call, position, name)
      if isinstance(value, cst.Float) and float(value.value) > 0:
        yield _scaled(
          calls, f'{words} {number}', value, float(value.value), (words.replace(' ', '_'),), 1.5
        )
  for number, call in enumerate(dropouts):
    value = _argument(call, 0, 'rate')
    if isinstance(value, cst.Float) and 0 < float(value.value) < 0.5:
      yield _scaled(calls, f'dropout {number}', value, float(value.value), ('regularisation',), 0.6)


def _scaled(
  calls: LibraryCalls,
  key: str,
  node: cst.BaseExpression,
  value: float,
  mechanisms: tuple[str, ...],
  weight: float,
) -> SourceEdit:
  """Multiplies a number in a call by one of FACTORS."""

  def make(rng: np.random.Generator) -> Rewrite | None:
    new = value * FACTORS[rng.integers(len(FACTORS))]
    new = max(1, round(new)) if isinstance(value, int) else float(f'{new:.3g}')
    if new == value:
      return None
    text = calls.source.replaced([(node, cst.parse_expression(literal(new)))])
    return Rewrite(text, f'{key}: {literal(value)} -> {literal(new)}')

  return SourceEdit(
    key, 'constant', weight, f'Another {key} trains better.', (*mechanisms,), 0.0, 0.02, make
  )


def _edit(
  calls: LibraryCalls,
  key: str,
  description: str,
  changes: Sequence[tuple[cst.CSTNode, object]],
  claim: str,
  mechanisms: tuple[str, ...],
  weight: float,
  effect: tuple[float, float],
) -> SourceEdit:
  def make(rng: np.random.Generator) -> Rewrite:
    del rng
    return Rewrite(calls.source.replaced(list(changes)), description)

  return SourceEdit(key, 'structure', weight, claim, mechanisms, *effect, make)


def _aliases(text: str) -> Mapping[str, str]:
  """What each imported name stands for: `nn` for flax.linen."""
  found = {}
  for node in ast.walk(ast.parse(text)):
    if isinstance(node, ast.Import):
      for alias in node.names:
        whole = alias.name if alias.asname else alias.name.partition('.')[0]
        found[alias.asname or whole] = whole
    elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
      for alias in node.names:
        found[alias.asname or alias.name] = f'{node.module}.{alias.name}'
  return found


def _dotted(node: cst.BaseExpression) -> tuple[str, ...]:
  """The parts of `a.b.c`; () for any other expression."""
  if isinstance(node, cst.Name):
    return (node.value,)
  if isinstance(node, cst.Attribute):
    before = _dotted(node.value)
    return (*before, node.attr.value) if before else ()
  return ()


def _renamed(node: cst.BaseExpression, name: str) -> cst.BaseExpression:
  """Another name of the same module."""
  assert isinstance(node, cst.Attribute)
  return node.with_changes(attr=cst.Name(name))


def _keywords(call: cst.Call) -> set[str]:
  return {argument.keyword.value for argument in call.args if argument.keyword is not None}


def _argument(call: cst.Call, position: int | None, name: str) -> cst.BaseExpression | None:
  """The value of an argument, by position or by name."""
  for index, argument in enumerate(call.args):
    if argument.keyword is None and index == position:
      return argument.value
    if argument.keyword is not None and argument.keyword.value == name:
      return argument.value
  return None


def _with_argument(call: cst.Call, text: str) -> cst.BaseExpression:
  inside = ', '.join((*(code_of(a).rstrip(', ') for a in call.args), text))
  return cst.parse_expression(f'{code_of(call.func)}({inside})')


def _without_comma(arguments: list[cst.Arg]) -> list[cst.Arg]:
  if not arguments:
    return arguments
  return [*arguments[:-1], arguments[-1].with_changes(comma=cst.MaybeSentinel.DEFAULT)]


def _is_simple(node: cst.BaseExpression) -> bool:
  return bool(_dotted(node)) or (isinstance(node, cst.Subscript) and bool(_dotted(node.value)))


def _is_update(line: cst.SimpleStatementLine) -> bool:
  """Whether a line is optax's `updates, state = optimizer.update(...)`."""
  pair = assignment(line)
  if pair is None or ',' not in pair[0] or not isinstance(pair[1], cst.Call):
    return False
  function = pair[1].func
  return isinstance(function, cst.Attribute) and function.attr.value == 'update'


def _scales(line: cst.SimpleStatementLine, updates: str, tree: str) -> bool:
  """Whether a line is one that `_schedules` inserts."""
  pair = assignment(line)
  return (
    pair is not None and pair[0] == updates and code_of(pair[1]).startswith(f'{tree}(lambda u: ')
  )
