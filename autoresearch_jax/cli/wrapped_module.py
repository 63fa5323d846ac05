"""Makes a program of a Flax module of the user's: a training file around it, from a template.

Used by `autoresearch new --model=FILE` for a file that defines a module, but not the functions of a
program. The file is read as text and never imported here.
"""

import ast
import dataclasses
import pathlib
import string

from autoresearch_jax.config import ConfigError
from autoresearch_jax.programs.contract import FUNCTIONS
from autoresearch_jax.programs.siblings import with_siblings
from autoresearch_jax.types import Program

TEXTS = pathlib.Path(__file__).resolve().parent / 'templates'
ENTRY = 'model.py'
RENAMED = 'network.py'  # the user's file, if it is called as the entry
# What the arguments of a module's constructor stand for, by their names.
OUTPUTS = frozenset(
  'num_classes classes n_classes num_labels num_outputs outputs n_outputs out_features output_size '
  'out_dim output_dim dout vocab_size vocabulary_size'.split()
)
INPUTS = frozenset(
  'in_channels in_features input_size in_dim input_dim din num_features sequence_length '
  'context_length block_size max_len max_length'.split()
)
SHAPES = frozenset({'input_shape', 'in_shape'})
# Arguments of a call that switch between training and evaluation, with their value in training.
SWITCHES = {
  'train': True, 'training': True, 'is_training': True, 'deterministic': False, 'eval': False,
  'inference': False,
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class FoundModule:
  """A Flax module in a file.

  Attributes:
    name: Its class.
    style: `linen` or `nnx`.
    arguments: How its constructor is called.
    switch: Argument of `__call__` that says whether it trains; '' for none.
  """

  name: str
  style: str
  arguments: str
  switch: str


def read_model(
  path: pathlib.Path, functions: tuple[str, ...] = FUNCTIONS
) -> tuple[Program, tuple[str, ...]]:
  """Reads a program, or makes one of a Flax module.

  Args:
    path: The file.
    functions: What a program must define; a module is only looked for instead of the default.

  Returns:
    The program, whose entry is model.py, and the files in it that a search may change.

  Raises:
    ConfigError: The file cannot be read, or has neither; the message says what to do.
  """
  try:
    program = Program.read(path.parent, with_siblings(path.parent, (path.name,)), path.name)
    tree = ast.parse(program.text(), filename=path.name)
  except (OSError, ValueError, SyntaxError) as error:
    raise ConfigError(
      f'--model is {str(path)!r}, which cannot be read: {error}; name a .py file.'
    ) from None
  defined = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
  others = tuple((name, text) for name, text in program.files if name != path.name)
  if set(functions) <= defined:
    return Program(((ENTRY, program.text()), *others), ENTRY), (ENTRY,)
  if functions != FUNCTIONS:
    raise ConfigError(f'{path} defines no function {", ".join(functions)}; name a file that does.')
  module = _found_module(tree, path)
  own = RENAMED if path.name == ENTRY else path.name
  text = string.Template((TEXTS / f'training_{module.style}.txt').read_text()).substitute(
    {
      'class': module.name,
      'file': own,
      'module': own.removesuffix('.py'),
      'arguments': module.arguments,
      'call_train': _switched(module.switch, True),
      'call_eval': _switched(module.switch, False),
    }
  )
  return Program(((ENTRY, text), (own, program.text()), *others), ENTRY), (ENTRY, own)


def _found_module(tree: ast.Module, path: pathlib.Path) -> FoundModule:
  """The module that no other one uses; the last of several. Raises ConfigError."""
  classes = {
    node.name: node
    for node in tree.body
    if isinstance(node, ast.ClassDef)
    and any(ast.unparse(base).rpartition('.')[2] == 'Module' for base in node.bases)
  }
  used = {
    name.id
    for node in classes.values()
    for name in ast.walk(node)
    if isinstance(name, ast.Name) and name.id in classes and name.id != node.name
  }
  if not (free := [node for name, node in classes.items() if name not in used]):
    raise ConfigError(
      f'{path} defines neither {", ".join(FUNCTIONS)} nor a Flax module (a class of nn.Module or '
      'nnx.Module); name a file that does.'
    )
  node = free[-1]
  base = ast.unparse(node.bases[0])
  style = 'nnx' if base == 'nnx.Module' or _imports_nnx(tree, base) else 'linen'
  methods = {item.name: item for item in node.body if isinstance(item, ast.FunctionDef)}
  call = methods.get('__call__')
  if call is None:
    raise ConfigError(f'{path}: {node.name} has no __call__; give it one, as flax modules have.')
  switch = next((a.arg for a in _arguments(call) if a.arg in SWITCHES), '')
  return FoundModule(node.name, style, _construction(node, methods, style, path), switch)


def _imports_nnx(tree: ast.Module, base: str) -> bool:
  """Whether the base class `Module`, or the module that it is in, comes from flax.nnx."""
  first = base.partition('.')[0]
  for node in ast.walk(tree):
    if isinstance(node, ast.ImportFrom):
      for alias in node.names:
        if (alias.asname or alias.name) == first:
          return 'nnx' in f'{node.module}.{alias.name}'
    elif isinstance(node, ast.Import):
      for alias in node.names:
        if alias.asname == first:
          return 'nnx' in alias.name
  return False


def _construction(
  node: ast.ClassDef, methods: dict[str, ast.FunctionDef], style: str, path: pathlib.Path
) -> str:
  """The arguments of the constructor. Raises ConfigError for one that nothing is known of."""
  if style == 'nnx':
    if '__init__' not in methods:
      return ''
    arguments = methods['__init__'].args
    named = _arguments(methods['__init__'])
    with_default = [*arguments.args[len(arguments.args) - len(arguments.defaults) :]]
    with_default += [
      a for a, d in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True) if d is not None
    ]
    optional = {a.arg for a in with_default}
    names = [a.arg for a in named]
  else:
    fields = [
      item
      for item in node.body
      if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name)
    ]
    names = [item.target.id for item in fields if isinstance(item.target, ast.Name)]
    optional = {ast.unparse(item.target) for item in fields if item.value is not None}
  found = []
  for name in names:
    if name in OUTPUTS:
      found.append(f"{name}=sizes['outputs']")
    elif name in SHAPES:
      found.append(f"{name}=sizes['inputs']")
    elif name in INPUTS:
      found.append(f"{name}=sizes['inputs'][-1]")
    elif name == 'rngs':
      found.append('rngs=rngs')
    elif name not in optional:
      raise ConfigError(
        f'{path}: {node.name} needs {name!r}, whose value is not known. Give it a default, or call '
        'it num_classes if it is the number of outputs.'
      )
  return ', '.join(found)


def _arguments(function: ast.FunctionDef) -> list[ast.arg]:
  """The arguments of a method, without `self`."""
  return [*function.args.args[1:], *function.args.kwonlyargs]


def _switched(switch: str, training: bool) -> str:
  return f', {switch}={SWITCHES[switch] == training}' if switch else ''
