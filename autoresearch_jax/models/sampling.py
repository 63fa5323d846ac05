"""Text from an exported language model, one token after the other.

`predict` has fixed shapes, so every token costs a forward pass over whole rows. Prompts are
continued together, as rows of one batch.
"""

from collections.abc import Sequence

import numpy as np

from autoresearch_jax.models.exported import ModelError
from autoresearch_jax.models.loaded import Model


def sample(
  model: Model,
  prompts: Sequence[str],
  tokens: int = 100,
  temperature: float = 0.8,
  seed: int = 0,
) -> tuple[str, ...]:
  """Continues prompts with text from a language model.

  Args:
    model: The model.
    prompts: One or several.
    tokens: Length of a continuation at most; it ends early where a document ends.
    temperature: Logits are divided by it; 0 takes the likeliest token each time.
    seed: Of the sampling. Prompts do not affect each other's text.

  Returns:
    The continuations, without the prompts.

  Raises:
    ModelError: It is no language model.
  """
  tokenizer = model.tokenizer
  if not model.sequence_length:
    raise ModelError(f'{model.folder} is no language model.')
  rows = [[int(token) for token in row] for row in tokenizer.encode(prompts, threads=1)]
  starts, open_rows = [len(row) for row in rows], set(range(len(rows)))
  generators = [np.random.default_rng((seed, index)) for index in range(len(rows))]
  for _ in range(tokens):
    if not open_rows:
      break
    order = sorted(open_rows)
    logits = model.next_logits([rows[i] for i in order])
    for i, row_logits in zip(order, logits, strict=True):
      token = _draw(row_logits, temperature, generators[i])
      if token >= tokenizer.document_start:
        open_rows.discard(i)
      else:
        rows[i].append(token)
  pairs = zip(rows, starts, strict=True)
  return tuple(tokenizer.decode(row[start:]).decode(errors='replace') for row, start in pairs)


def _draw(logits: np.ndarray, temperature: float, rng: np.random.Generator) -> int:
  """Draws a token with probability softmax(logits / temperature)."""
  if not temperature:
    return int(logits.argmax())
  scaled = logits.astype(np.float64) / temperature
  probabilities = np.exp(scaled - scaled.max())
  return int(rng.choice(len(logits), p=probabilities / probabilities.sum()))
