"""The presets of nanochat's depth dial have the published sizes."""

import jax
import pytest

from autoresearch_jax import config, types
from autoresearch_jax.programs.gpt import model as program


@pytest.mark.parametrize(
  ('variant', 'parameters', 'batch', 'steps'),
  [
    ('d4', 36_700_296, 2**18, None),
    ('d12', 286_262_424, 2**19, 2205),  # 1,156,055,040 tokens
    ('d24', 1_384_124_976, 2**20, 7308),  # 7,662,993,408 tokens
  ],
)
def test_sizes_are_the_published_ones(monkeypatch, variant, parameters, batch, steps):
  made = config.from_config_dict(config.load(f'nanochat:{variant}_gpu'))
  for name, value in made.constants.items():
    monkeypatch.setattr(program, name, value)
  assert program.BATCH_SIZE * made.data['sequence_length'] == batch
  if steps:
    assert made.budget.amount == steps * batch
  spec = types.Spec(
    'language_model', 'gpu', 1, made.budget, vocab_size=32_768, sequence_length=2048
  )
  state = jax.eval_shape(lambda: program.init(jax.random.key(0), spec))
  assert sum(x.size for x in jax.tree.leaves(state.model)) == parameters


def test_a_cpu_has_a_small_setting():
  made = config.from_config_dict(config.load('nanochat:d4_cpu'))
  assert (made.platform, made.data['corpus']) == ('cpu', 'python')
