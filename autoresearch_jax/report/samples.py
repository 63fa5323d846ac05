"""Text that the language models of a run have written, as `autoresearch sample` stores it."""

import dataclasses
import pathlib
from collections.abc import Sequence

import msgspec

SAMPLES = pathlib.PurePath('models', 'samples.json')  # inside a run's folder


@dataclasses.dataclass(frozen=True)
class ModelText:
  """What one model wrote.

  Attributes:
    model: `best` or `baseline`.
    trial: First trial of its program.
    text: The continuation, without the prompt.
  """

  model: str
  trial: int
  text: str


@dataclasses.dataclass(frozen=True)
class TextSample:
  """Continuations of one prompt by several models, with the same seed.

  Attributes:
    prompt: The prompt.
    seed: Seed of the sampling.
    temperature: Of the sampling; 0: the likeliest token each time.
    texts: One for each model.
  """

  prompt: str
  seed: int
  temperature: float
  texts: tuple[ModelText, ...]


def read_samples(directory: pathlib.Path) -> tuple[TextSample, ...]:
  """Returns the stored samples of a run; none if there are none, or they cannot be read."""
  try:
    return msgspec.json.decode((directory / SAMPLES).read_bytes(), type=tuple[TextSample, ...])
  except (OSError, msgspec.DecodeError):
    return ()


def write_samples(directory: pathlib.Path, samples: tuple[TextSample, ...]) -> None:
  """Stores the samples of a run. Raises OSError."""
  data = msgspec.json.format(msgspec.json.encode(samples), indent=1)
  (directory / SAMPLES).write_bytes(data + b'\n')


def format_samples(samples: Sequence[TextSample]) -> str:
  """Returns samples as text for a terminal, without control characters."""
  parts = [
    f'--- {text.model}, trial {text.trial}\n{sample.prompt}{text.text}\n'
    for sample in samples
    for text in sample.texts
  ]
  return ''.join(
    c if c in '\n\t' or c.isprintable() else '\N{REPLACEMENT CHARACTER}' for c in '\n'.join(parts)
  )
