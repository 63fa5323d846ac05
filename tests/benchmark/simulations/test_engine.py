"""The trial engine as an instance of a benchmark: real trials, in their sandbox."""

import subprocess
import sys
import time
import types as pytypes

import numpy as np
import pytest

from autoresearch_jax import types
from autoresearch_jax.benchmark.simulations.engine import VALUE_SEED, EngineSimulation, load
from autoresearch_jax.config import ConfigError
from autoresearch_jax.proposers import ProposalContext

PACKING = EngineSimulation('configs/packing.py', 'steps', value_seeds=2)
DIGITS = EngineSimulation('configs/digits.py', 'steps')


def asked(instance, program, seeds=(0,), known=None):
  return types.TrialRequest(7, program, seeds, instance.spec.budget, known or {})


def context(instance):
  """As the benchmark makes it: it knows nothing of the config."""
  return ProposalContext(
    (instance.start,), pytypes.MappingProxyType({}), (), instance.objective, None
  )


def test_an_instance_says_what_is_compared_without_starting_anything():
  packing, digits = PACKING.instance(3), DIGITS.instance(3)
  assert packing.objective == types.Objective('sum_of_radii', 'maximize')
  assert (packing.optimum, digits.optimum) == (2.6360, 0.07)
  assert packing.spec.output_shape == (26, 3)
  assert digits.spec.budget.unit == 'steps'
  assert EngineSimulation('configs/digits.py', 'seconds').instance(0).spec.budget.unit == 'seconds'
  packing.close()


def test_proposals_are_edits_of_the_config_s_program():
  instance = PACKING.instance(0)
  proposal = types.Proposal(types.Operation.IMPROVE)
  first, same, other = (
    instance.propose(proposal, context(instance), np.random.default_rng(s)) for s in (1, 1, 2)
  )
  assert first == same != other
  assert first.program.entry == 'model.py' and first.program != instance.start


@pytest.mark.slow
def test_trials_are_real_and_an_instance_has_seeds_of_its_own(monkeypatch, tmp_path):
  monkeypatch.setenv('AUTORESEARCH_JAX_CACHE', str(tmp_path))
  one, two = PACKING.instance(1), PACKING.instance(2)
  try:
    began = time.monotonic()
    result = one.measure(asked(one, one.start, (0, 5)))
    elapsed = time.monotonic() - began
    assert result.status == types.Status.OK, result.reason
    assert [m.seed for m in result.measurements] == [0, 5] == list(map(int, result.facts['curves']))
    assert result.isolation and result.isolation.system_calls
    first, second = (m.metrics['sum_of_radii'] for m in result.measurements)
    assert 2 < first != second > 2
    assert 0 < result.facts['seconds'] <= elapsed
    assert one._executor.hidden == ()  # not the folder we are in: there are no data to hide
    known = {result.fingerprint: 7}
    assert one.measure(asked(one, one.start, known=known)).status == types.Status.DUPLICATE

    value = one.value(one.start)
    assert value is not None and 2 < value < 2.636
    one.close()
    assert two.value(two.start) == value  # known by now: nothing is started for it
    assert two._executor is None
    again = two.measure(asked(two, two.start))
    assert again.fingerprint == result.fingerprint
    assert again.measurements[0].metrics['sum_of_radii'] not in (first, second)

    text = two.start.text().replace('return jnp.concatenate(', 'return jnp.nan * jnp.concatenate(')
    broken = two.start.with_text(text)
    failed = two.measure(asked(two, broken))
    assert failed.status == types.Status.INVALID and 'Circle 0' in failed.reason
    assert two.value(broken) is None
  finally:
    one.close()
    two.close()


def test_the_seeds_of_values_are_nobody_s():
  assert PACKING.instance(2**29 - 1)._first_seed < VALUE_SEED
  with pytest.raises(ValueError, match='instance seed is 536870912'):
    PACKING.instance(2**29)


@pytest.mark.parametrize(
  ('problem', 'sentence'),
  [
    (EngineSimulation('configs/nothing.py'), r'no config .*nothing.*: benchmark, digits'),
    (EngineSimulation('configs/digits.py', 'fast'), r"There is no variant 'fast'"),
    (EngineSimulation('configs/gpt_small.py', 'cpu'), 'No best known value of val_bpb'),
  ],
)
def test_what_cannot_be_compared_is_a_sentence(problem, sentence):
  with pytest.raises(ValueError, match=sentence):
    problem.instance(0)


def test_a_file_without_get_config_is_a_sentence(tmp_path):
  (tmp_path / 'empty.py').write_text('')
  with pytest.raises(ConfigError, match='get_config'):
    load(str(tmp_path / 'empty.py'))


def test_jax_is_not_imported():
  code = (
    'import sys\nfrom autoresearch_jax.benchmark.simulations.engine import EngineSimulation\n'
    "EngineSimulation().instance(0)\nassert 'jax' not in sys.modules"
  )
  subprocess.run([sys.executable, '-c', code], check=True, timeout=120)
