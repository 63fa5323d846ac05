"""The packing program obeys the contract of a program, and packs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from autoresearch_jax import types
from autoresearch_jax.problems.packing import PackingVerifier
from autoresearch_jax.programs import catalogue
from autoresearch_jax.programs.packing import model
from autoresearch_jax.programs.source import Source
from autoresearch_jax.programs.structural_edits import available
from autoresearch_jax.proposers.mutate.constant_edits import constant_edits
from autoresearch_jax.proposers.mutate.steps import FactorRange

CIRCLES = 8
SPEC = types.Spec('construction', 'cpu', 1, types.Budget(60, 'steps'), output_shape=(CIRCLES, 3))
EMPTY = jnp.zeros(0)
BATCH = {'inputs': EMPTY, 'targets': EMPTY}


# Whole functions at a time, as a trial runs them: operation by operation they compile for seconds.
init = jax.jit(model.init, static_argnums=1)
step = jax.jit(model.train_step)
predict = jax.jit(model.predict)


def verified(state):
  return PackingVerifier().verify(np.asarray(predict(state, EMPTY), np.float64))


def test_steps_turn_random_starts_into_a_packing():
  state = init(jax.random.key(0), SPEC)
  before = verified(state)
  for i in range(60):
    state, metrics = step(state, BATCH, jnp.float32(i / 60))
  after = verified(state)
  assert before['sum_of_radii'] < 0.8
  assert after['sum_of_radii'] > 1.2  # 8 circles in a grid of 3 x 3 have 8 / 6
  assert after['sum_of_radii'] == pytest.approx(float(metrics['sum_of_radii']), rel=1e-5)


def test_predict_leaves_the_verifier_nothing_but_rounding():
  state, _ = step(init(jax.random.key(1), SPEC), BATCH, jnp.float32(0.5))
  built = predict(state, EMPTY)
  assert built.shape == (CIRCLES, 3) and built.dtype == jnp.float32
  assert verified(state)['largest_cut'] < 1e-5


def test_circles_in_one_place_have_a_finite_slope():
  centres = jnp.full((1, CIRCLES, 2), 0.5)
  packing = model.Packing(centres, jnp.full((1, CIRCLES), 0.1))
  slopes = jax.jit(jax.grad(model.mean_loss))(packing, jnp.float32(10.0))
  assert all(bool(jnp.isfinite(slope).all()) for slope in slopes)


def test_the_state_keeps_its_shapes_and_the_seed_decides():
  first, same, other = (init(jax.random.key(s), SPEC) for s in (0, 0, 1))
  after, _ = step(first, BATCH, jnp.float32(0))
  assert jax.tree.structure(after) == jax.tree.structure(first)
  shapes = [[(x.shape, x.dtype) for x in jax.tree.leaves(s)] for s in (first, after)]
  assert shapes[0] == shapes[1]
  centres = [s.packing.centres for s in (first, same, other)]
  assert (centres[0] == centres[1]).all() and (centres[0] != centres[2]).any()


def test_the_penalty_grows_between_its_constants():
  ends = [float(model.penalty(jnp.float32(p))) for p in (0, 1)]
  assert ends == pytest.approx([model.PENALTY_START, model.PENALTY_END])


def test_the_offline_proposer_finds_constants_and_structure():
  with open(model.__file__, encoding='utf-8') as file:  # noqa: PTH123
    source = Source(file.read())
  single = {e.key.split()[0] for e in constant_edits(source, FactorRange(1.1, 3.0))}
  assert {'BATCH_SIZE', 'LEARNING_RATE', 'PENALTY_START', 'PENALTY_END', 'START_RADIUS'} <= single
  kinds = {move.mechanisms for move in available(source, catalogue.packaged())}
  assert {('schedule',), ('optimizer',), ('penalty', 'loss'), ('initialisation',)} <= kinds
