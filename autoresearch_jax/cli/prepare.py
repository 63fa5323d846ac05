"""`autoresearch prepare`: downloads, tokenizes and packs the data of language models."""

import pathlib
import signal
import sys
from collections.abc import Callable, Sequence

import rich.console

from autoresearch_jax.cli.command import FAILED, INTERRUPTED, Command, CommandLine, Option
from autoresearch_jax.data import cache as caching
from autoresearch_jax.data import prepare, shards
from autoresearch_jax.problems import PROBLEMS

ORIGINAL = {
  'vocab_size': 8192,
  'sequence_length': 2048,
  'validation_tokens': 40 * 524_288,
  'test_tokens': 10 * 524_288,  # the original has no test split
}
SIZES = tuple(ORIGINAL)
COMMAND = Command(
  'prepare',
  'Download and prepare the data of language models.',
  """
  Downloads ClimbMix shards (the original's ten and the validation shard), then trains the
  tokenizer and packs the rows, as the first run with the same config.data would do. The corpus
  `python`, the text that ships with Python, needs no download. The corpus `fineweb` is in GPT-2's
  tokens already; its rows are cut by the first run with the problem `fineweb`.

  After an interruption, the same command continues. The defaults are those of the original; for
  another config pass its values of config.data.
  """,
  (
    Option('corpus', 'Corpus to prepare.', 'climbmix', choices=('climbmix', 'python', 'fineweb')),
    Option('shards', 'Training shards: up to 6542 of ClimbMix, 103 of FineWeb.', 10, minimum=1,
           maximum=shards.CLIMBMIX.training),
    Option('cache', 'Folder for the data.', value='DIR',
           shown='$AUTORESEARCH_JAX_CACHE or ~/.cache/autoresearch_jax'),
    Option('url', 'Base URL of the shards.', value='URL', shown='the corpus has its own'),
    Option('workers', 'Parallel downloads.', 4, minimum=1, maximum=32),
    Option('attempts', 'Consecutive failures after which a shard fails.', 6, minimum=1),
    Option('verify', 'Read all shards, and download damaged ones again.', False),
    Option('only_fetch', 'Stop after the download.', False),
    Option('vocab_size', 'Vocabulary size.', kind=int, minimum=1, shown='8192; python: 1024'),
    Option('sequence_length', 'Tokens per row.', kind=int, minimum=1, shown='2048; python: 256'),
    Option('validation_tokens', 'Tokens of the validation split.', kind=int, minimum=1,
           shown='20971520; python: 131072'),
    Option('test_tokens', 'Tokens of the test split.', kind=int, minimum=0,
           shown='5242880; python: 0'),
  ),
  examples={
    'autoresearch prepare': 'Data for the gpu and tpu variants of gpt_small.',
    'autoresearch prepare --corpus=python': 'A small corpus without download.',
    'autoresearch prepare --corpus=fineweb': 'Data for configs/gpt2_124m.py.',
  },
  exit_codes={
    '0': 'The data are ready.',
    '1': 'The data could not be prepared; the message says why.',
    '2': 'An option is invalid.',
    '130': 'Stopped by Ctrl-C; the same command continues.',
  },
)  # fmt: skip


def main(arguments: Sequence[str]) -> int:
  """Runs the command; returns its exit code."""
  return COMMAND.run(_prepare, arguments, (OSError,))


def _prepare(line: CommandLine) -> int:
  # Shells ignore SIGINT in background jobs; it must stop them as well.
  signal.signal(signal.SIGINT, signal.default_int_handler)
  console = rich.console.Console(highlight=False, markup=False, soft_wrap=True)
  cache = pathlib.Path(line['cache']).absolute() if line['cache'] else caching.directory()
  try:
    if shard_set := shards.SHARD_SETS.get(line['corpus']):
      with caching.explained(cache):
        prepare.download(
          shard_set, cache / shard_set.corpus, line['shards'], console, line['url'] or '',
          line['workers'], line['attempts'], line['verify'],
        )  # fmt: skip
    if not line['only_fetch'] and line['corpus'] != 'fineweb':
      _pack(line, cache, console.print)
  except KeyboardInterrupt:
    console.print('Interrupted; run the same command again to continue where it stopped.')
    return INTERRUPTED
  except (shards.ShardUnavailable, OSError, ValueError) as error:
    console.print(f'Not prepared: {error}')
    return FAILED
  return 0


def _pack(line: CommandLine, cache: pathlib.Path, say: Callable[[str], None]) -> None:
  options = dict(ORIGINAL) if line['corpus'] == 'climbmix' else {}
  options |= {name: line[name] for name in SIZES if line[name] is not None}
  options |= {'corpus': line['corpus'], 'shards': line['shards'], 'evaluation_batch': 1}
  dataset = PROBLEMS.make('language_model', options).prepare(cache, say)
  say(f'Ready in {pathlib.Path(dataset.train).parent}.')


if __name__ == '__main__':
  sys.exit(main(sys.argv[1:]))
