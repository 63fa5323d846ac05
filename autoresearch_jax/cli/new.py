"""`autoresearch new FOLDER`: writes a commented folder for a problem of the user's own."""

import dataclasses
import importlib
import pathlib
import re
import string
import sys
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from autoresearch_jax.cli.command import Command, CommandLine, Option, UsageError
from autoresearch_jax.cli.wrapped_module import read_model
from autoresearch_jax.config import ConfigError
from autoresearch_jax.problems import PROBLEMS
from autoresearch_jax.programs.contract import FUNCTIONS
from autoresearch_jax.programs.start import PROGRAMS
from autoresearch_jax.types import Program

TEXTS = pathlib.Path(__file__).resolve().parent / 'templates'
MODEL = 'model.py'


@dataclasses.dataclass(frozen=True)
class ProblemTemplate:
  """What `autoresearch new` writes: `templates/NAME` with its placeholders filled in, and a model.

  A file `X.txt` there becomes `X`. Placeholders are `$name`, `$folder`, `$data`,
  `$sample_row`, `$names`, `$editable` and `$constants`.

  Attributes:
    summary: What it is for, a few words.
    program: The packaged program whose files are copied.
    sample: Name of the sample data, and what writes them to a path; None for a problem without.
    problem: The problem that reads data of the user's (option --data), by its option `path`.
    constants: Values of the program's constants, with what they are; not with the user's model.
    functions: What the model's file must define.
  """

  summary: str
  program: str
  sample: tuple[str, Callable[[pathlib.Path], None]] | None = None
  problem: str = ''
  constants: Mapping[str, tuple[int, str]] = dataclasses.field(default_factory=dict)
  functions: tuple[str, ...] = FUNCTIONS


def _write_digits(path: pathlib.Path) -> None:
  """Writes scikit-learn's 1797 handwritten digits as x, uint8 [1797, 8, 8, 1], and y."""
  from sklearn.datasets import load_digits  # noqa: PLC0415 - slow to import, needed here only

  inputs, labels = load_digits(return_X_y=True)
  images = np.asarray(inputs).reshape(-1, 8, 8, 1).astype(np.uint8)
  np.savez_compressed(path, x=images, y=np.asarray(labels).astype(np.int64))


def _write_reference(path: pathlib.Path) -> None:
  """Writes the language reference that `help()` shows, about 700 kB of English and Python."""
  topics = importlib.import_module('pydoc_data.topics').topics
  path.write_text('\n\n'.join(topics[name] for name in sorted(topics)), encoding='utf-8')


# Of the GPT for a trial of seconds on a CPU; without a model of the user's.
SMALL_GPT = {
  'DEPTH': (2, 'transformer blocks'),
  'ASPECT_RATIO': (32, 'width = DEPTH * ASPECT_RATIO'),
  'HEAD_DIM': (32, 'width of one attention head'),
  'BATCH_SIZE': (16, 'sequences per train step'),
}
# A further template is one more row, and a folder of its name in `templates`.
TEMPLATES: Mapping[str, ProblemTemplate] = {
  'arrays': ProblemTemplate(
    'images, vectors or tables of yours', 'convnet', ('data.npz', _write_digits), 'arrays'
  ),
  'text': ProblemTemplate(
    'language models of a text of yours', 'gpt', ('text.txt', _write_reference), 'text', SMALL_GPT
  ),
  'kernel': ProblemTemplate(
    'functions of yours, made fast at equal outputs',
    'kernels/softmax_xent',
    functions=('kernel',),
  ),
}

COMMAND = Command(
  'new',
  'Write a folder for a problem of your own: config, model, README, sample data.',
  f"""
  The first run starts from the folder without a change, on sample data. --data and --model put your
  own in their place; both can be changed in the folder later.

  Templates: {'; '.join(f'{name}, for {made.summary}' for name, made in TEMPLATES.items())}.
  """,
  (
    Option('from', 'The template.', 'arrays', choices=tuple(TEMPLATES), value='TEMPLATE'),
    Option('data', 'Your data, which are looked at, and stay where they are.', value='PATH',
           shown='sample data'),
    Option('inputs', 'Arrays or columns that are inputs, if their names are not recognised.',
           kind=list, value='NAME,...'),
    Option('targets', 'The array or column that is the target; of text, its column.', value='NAME'),
    Option('model', 'Your model: a Flax module, or init, train_step and predict. Copied, with '
           'the files next to it that it imports.', value='FILE', shown='a baseline'),
  ),
  operand='FOLDER',
  examples={
    'autoresearch new my_problem --from=arrays': 'Runs at once, on sample data.',
    'autoresearch new my_problem --data=mine.npz --model=my_cnn.py': 'Your data and your model.',
  },
  exit_codes={'0': 'Written.', '2': 'Invalid input; the message says what to fix.'},
)  # fmt: skip


def main(arguments: Sequence[str]) -> int:
  """Runs the command; returns its exit code."""
  return COMMAND.run(_new, arguments, (OSError,))


def _new(line: CommandLine) -> int:
  folder = pathlib.Path(line.operand)
  if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
    raise UsageError(f'{str(folder)!r} is not an empty folder; name a new one.')
  template = TEMPLATES[line['from']]
  names = {name: value for name, value in _names(line).items() if value}
  found = _look_at(template, {'path': line['data'], **names}) if line['data'] else ''
  path = pathlib.Path(line['model'] or PROGRAMS / template.program / MODEL)
  program, editable = read_model(path, template.functions)
  values = {
    'constants': '' if line['model'] else _lines('constants.', template.constants),
    'names': ''.join(f'  c.data.{name} = {value!r}\n' for name, value in names.items()),
    'editable': repr(editable),
  }
  for path in write(folder, line['from'], program, line['data'] or '', values):
    print(path)
  if found:
    print(found)
  print(
    f'Next: autoresearch check {folder} --config={folder}/config.py, then '
    f'autoresearch run --config={folder}/config.py'
  )
  return 0


def write(
  folder: pathlib.Path,
  name: str,
  program: Program,
  data: str = '',
  values: Mapping[str, str] = types.MappingProxyType({}),
) -> list[pathlib.Path]:
  """Writes a template into a folder, and returns its files.

  Args:
    folder: A new or empty folder.
    name: Name of the template.
    program: The model's files; its entry becomes model.py.
    data: Path of the user's data; '' for the sample.
    values: Texts for further placeholders.
  """
  template = TEMPLATES[name]
  folder.mkdir(parents=True, exist_ok=True)
  sample = template.sample if not data else None
  values = {
    'constants': '',
    'names': '',
    'editable': repr((MODEL,)),
    'name': re.sub(r'\W+', '_', folder.resolve().name) or 'problem',
    'folder': folder.as_posix(),
    'data': repr(str(pathlib.Path(data).resolve())),
    'sample_row': '',
    **values,
  }
  written = []
  if sample is not None:
    path = folder / sample[0]
    sample[1](path)
    values['data'] = f"str(HERE / '{sample[0]}')"
    values['sample_row'] = f'| `{sample[0]}` | sample data, which your own replace |\n'
    written.append(path)
  texts = {
    path.name.removesuffix('.txt'): string.Template(path.read_text()).substitute(values)
    for path in sorted((TEXTS / name).iterdir())
  }
  for file, text in program.files:
    texts[MODEL if file == program.entry else file] = text
  for file, text in texts.items():
    path = folder / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding='utf-8')
    written.append(path)
  return sorted(written)


def _names(line: CommandLine) -> dict[str, Any]:
  """Options of the problem that name parts of the data."""
  if line['from'] == 'arrays':
    return {'inputs': tuple(line['inputs'] or ()), 'targets': line['targets']}
  return {'column': line['targets']}


def _lines(prefix: str, values: Mapping[str, tuple[int, str]]) -> str:
  """Lines of a config that set fields, with comments."""
  return ''.join(f'  c.{prefix}{n} = {value}  # {what}\n' for n, (value, what) in values.items())


def _look_at(template: ProblemTemplate, options: Mapping[str, Any]) -> str:
  """What the user's data hold, one line. Raises ConfigError if they cannot be used."""
  if not template.problem:
    raise UsageError('This template needs no data; leave --data out.')
  if not pathlib.Path(options['path']).exists():
    raise ConfigError(f'--data is {options["path"]!r}: there is no file or folder; name another.')
  try:
    shapes = PROBLEMS.make(template.problem, options).shapes()
  except ValueError as error:
    raise ConfigError(f'{error} Here: --inputs and --targets.') from error
  shown = ', '.join(f'{name} {value}' for name, value in shapes.items() if name != 'kind')
  return f'Found in {options["path"]}: {shown}.'


if __name__ == '__main__':
  sys.exit(main(sys.argv[1:]))
