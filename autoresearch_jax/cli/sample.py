"""`autoresearch sample PATH`: text from the language models of a run."""

import importlib
import pathlib
import sys
from collections.abc import Sequence

from autoresearch_jax.cli.command import Command, CommandLine, Option
from autoresearch_jax.messages import say
from autoresearch_jax.models.exported import MODELS, ModelError, read_info
from autoresearch_jax.report.samples import (
  ModelText,
  TextSample,
  format_samples,
  write_samples,
)

MAX_TOKENS, MAX_TEMPERATURE = 100_000, 100.0
PROMPTS = {'python': ('def main(', 'import os\n', '# The ')}
OTHER_PROMPTS = ('The ', 'In 1969, ', 'Once upon a time')

COMMAND = Command(
  'sample',
  'Write text from the language models of a run.',
  """
  PATH is a run's folder or that of a model (`autoresearch export-model`). Of a run, its best model
  and the baseline's continue the same prompts with the same seed, and the texts are stored for
  `autoresearch report`. Every token costs a forward pass over a batch of whole rows.
  """,
  (
    Option('prompt', 'Text to continue.', value='TEXT', shown='a few short ones'),
    Option('tokens', 'Length of a text.', 100, minimum=1, maximum=MAX_TOKENS, value='N'),
    Option('temperature', 'Randomness; 0 takes the likeliest token each time.', 0.8, minimum=0.0,
           maximum=MAX_TEMPERATURE, value='T'),
    Option('seed', 'Seed of the sampling.', 0, minimum=0, value='N'),
  ),
  operand='PATH',
  examples={
    'autoresearch sample runs/gpt_small_cpu': 'Best and baseline.',
    "autoresearch sample runs/gpt_small_cpu/models/best --prompt='def '": 'One model, one prompt.',
  },
  exit_codes={'0': 'Done.', '2': 'There is no language model.'},
)  # fmt: skip


def main(arguments: Sequence[str]) -> int:
  """Runs the command; returns its exit code."""
  return COMMAND.run(_sample, arguments, (ModelError, OSError))


def _sample(line: CommandLine) -> int:
  path = pathlib.Path(line.operand)
  is_run = (path / 'ledger.db').is_file()
  folders = [path / MODELS / name for name in ('best', 'baseline')] if is_run else [path]
  folders = [folder for folder in folders if folder.is_dir()] or folders[:1]
  infos = {folder: read_info(folder) for folder in folders}
  corpus = infos[folders[0]].config.get('data', {}).get('corpus', '')
  prompts = (line['prompt'],) if line['prompt'] else PROMPTS.get(corpus, OTHER_PROMPTS)
  # By name, since commands import no jax by themselves.
  sampling = importlib.import_module('autoresearch_jax.models.sampling')
  loaded = importlib.import_module('autoresearch_jax.models.loaded')
  texts = {
    folder: sampling.sample(
      loaded.load_model(folder), prompts, line['tokens'], line['temperature'], line['seed']
    )
    for folder in folders
  }
  samples = tuple(
    TextSample(
      prompt,
      line['seed'],
      line['temperature'],
      tuple(ModelText(f.name, infos[f].trial, texts[f][i]) for f in folders),
    )
    for i, prompt in enumerate(prompts)
  )
  say(format_samples(samples))
  if is_run:
    write_samples(path, samples)
  return 0


if __name__ == '__main__':
  sys.exit(main(sys.argv[1:]))
