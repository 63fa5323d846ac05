"""From what trials took and what was refused, it knows what fits; and it says how sure it is."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoresearch_jax import types
from autoresearch_jax.search.samplers.memory_limit import Footprint, MemoryLimit, footprint
from autoresearch_jax.search.samplers.space import Range, space_of

TEXT = 'WIDTH = 256\nBATCH = 64\nRATE = 0.01\nDECAY = 0.0\nSTEPS = 100\n'
RANGES = {
  'WIDTH': Range(64, 2048, log=True),
  'BATCH': Range(8, 512, powers=True),
  'RATE': Range(1e-4, 1.0, log=True),
  'DECAY': Range(-1.0, 1.0),
  'STEPS': Range(10, 1000),
}
SPACE = space_of(TEXT, RANGES)
DEVICE = 2**30


def product(values):
  """Activations alone."""
  width, batch, *_ = values
  return int(2**14 * width * batch)


def parts(values):
  """Parameters, activations, and what is there in any case."""
  width, batch, *_ = values
  return int(2**27 + 600 * width**2 + 2**13 * width * batch + 2**22 * batch)


def drawn(count, seed):
  """Points all over the space."""
  rng = np.random.default_rng(seed)
  return [
    (
      round(math.exp(rng.uniform(math.log(64), math.log(2048)))),
      2 ** int(rng.integers(3, 10)),
      math.exp(rng.uniform(math.log(1e-4), 0)),
      float(rng.uniform(-1, 1)),
      int(rng.integers(10, 1001)),
    )
    for _ in range(count)
  ]


def seen(needs, points, said=('bytes', 'device'), device=DEVICE):
  """The trials of these points; of those that did not fit only what is `said` is known."""
  made = []
  for point in points:
    fits = needs(point) <= device
    known = {'bytes': needs(point), 'device': device}
    known = {'bytes': needs(point)} if fits else {name: known[name] for name in said}
    made.append(Footprint(point, fits, **known))
  return tuple(made)


def mistaken(limit, needs, points, apart=1.0):
  """Share of the points, that are not within a factor `apart` of the limit, judged wrongly."""
  clear = [p for p in points if abs(math.log(needs(p) / DEVICE)) >= math.log(apart)]
  wrong = [(limit.oom_probability(p) > 0.5) != (needs(p) > DEVICE) for p in clear]
  return sum(wrong) / len(wrong)


@pytest.mark.parametrize('said', [('bytes', 'device'), ('device',), ('bytes',), ()])
@pytest.mark.parametrize('needs', [product, parts])
def test_it_tells_what_fits_from_what_does_not(needs, said):
  """However little is said of what did not fit, it learns the law from the others."""
  points = drawn(430, 1)
  limit = MemoryLimit(SPACE, seen(needs, points[:30], said))
  assert mistaken(limit, needs, points[30:], apart=2) < 0.03
  assert mistaken(limit, needs, points[30:]) < 0.08


def test_its_probabilities_are_honest_after_few_trials():
  """Of what it is sure not to fit after ten trials, at most a few fit, in many histories."""
  said, wrong = 0, 0
  for seed in range(12):
    points = drawn(90, seed)
    limit = MemoryLimit(SPACE, seen(parts, points[:10]))
    sure = [p for p in points[10:] if limit.oom_probability(p) > 0.8]
    said += len(sure)
    wrong += sum(parts(p) <= DEVICE for p in sure)
  assert said > 50
  assert wrong / said < 0.1


def test_what_was_tried_is_known_for_sure():
  points = drawn(12, 3)
  footprints = seen(product, points)
  limit = MemoryLimit(SPACE, footprints)
  assert [limit.oom_probability(f.values) for f in footprints] == [
    float(not f.fits) for f in footprints
  ]
  assert {f.fits for f in footprints} == {True, False}


def test_without_enough_sizes_nothing_else_is_claimed():
  point, other, *_ = drawn(5, 4)
  limit = MemoryLimit(SPACE, (Footprint(point, False), Footprint(drawn(1, 5)[0], True, 2**30)))
  assert limit.oom_probability(point) == 1.0
  assert limit.oom_probability(other) == 0.0


def test_the_margin_is_kept_free():
  points = drawn(60, 6)
  footprints = seen(product, points)
  near = (round(0.9 * DEVICE / 2**14 / 128), 128, 0.01, 0.0, 100)
  assert product(near) / DEVICE == pytest.approx(0.9, rel=0.01)
  assert MemoryLimit(SPACE, footprints).oom_probability(near) < 0.2
  assert MemoryLimit(SPACE, footprints, margin=0.3).oom_probability(near) > 0.8


def test_where_no_trial_was_it_is_less_sure():
  """All trials had small batches, so that what a large one takes is an extrapolation."""
  near = [p for p in drawn(200, 7) if p[1] <= 32][:12]
  refused = Footprint((2048, 512, 0.1, 0.0, 50), False, device=DEVICE)

  def doubt(batch):
    """How far from sure it is of a program that takes half of the device."""
    width = round(DEVICE / 2 / 2**14 / batch)
    limit = MemoryLimit(SPACE, (*seen(product, near), refused))
    return min(
      limit.oom_probability(point := (width, batch, 0.01, 0.0, 100)),
      1 - limit.oom_probability(point),
    )

  assert doubt(512) > 2 * doubt(32)


def test_choices_count_as_columns():
  space = space_of(
    'WIDTH = 256\nREMAT = False\n',
    {'WIDTH': RANGES['WIDTH'], 'REMAT': Range(choices=(False, True))},
  )

  def needs(values):
    return int(2**25 * values[0] / (4 if values[1] else 1))

  points = [(p[0], bool(p[4] % 2)) for p in drawn(260, 8)]
  limit = MemoryLimit(space, seen(needs, points[:16]))
  assert mistaken(limit, needs, points[16:], apart=1.2) < 0.05


@given(
  st.lists(
    st.builds(
      Footprint,
      st.sampled_from(drawn(9, 9)),
      st.booleans(),
      st.integers(0, 2**50),
      st.integers(0, 2**50),
    ),
    max_size=12,
  ),
  st.floats(0, 0.99),
)
@settings(max_examples=60, deadline=None)
def test_a_risk_is_a_probability_whatever_was_told(footprints, margin):
  limit = MemoryLimit(SPACE, tuple(footprints), margin)
  for point in drawn(9, 9) + drawn(9, 10):
    assert 0 <= limit.oom_probability(point) <= 1


def trial(status, facts=None, **cost):
  measured = (types.Measurement(0, {'loss': 1.0}, types.Cost(**cost)),) if cost else ()
  return types.Trial(
    1,
    types.Proposal(types.Operation.DRAFT),
    types.Edit(types.Program((('model.py', TEXT),), 'model.py'), '', types.Hypothesis('')),
    types.Result(1, status, measurements=measured, facts=facts or {}),
  )


@pytest.mark.parametrize(
  ('told', 'expected'),
  [
    (trial('ok', analysis_bytes=5, peak_bytes=7), Footprint((1,), True, 5)),
    (trial('ok', peak_bytes=7), Footprint((1,), True, 7)),
    (trial('diverged', {'analysis_bytes': 6}), Footprint((1,), True, 6)),
    (trial('ok', steps=3), None),
    (trial('invalid'), None),
    (trial('cancelled', {'analysis_bytes': 'many'}), None),
    (trial('oom'), Footprint((1,), False)),
    (trial('oom', {'memory_bytes': 9}), Footprint((1,), False, 0, 9)),
    (
      trial('oom', {'needed_bytes': 12, 'device_bytes': 8, 'memory_bytes': 9}),
      Footprint((1,), False, 12, 8),
    ),
    (
      trial('oom', {'needed_bytes': -3, 'device_bytes': float('nan'), 'memory_bytes': True}),
      Footprint((1,), False),
    ),
  ],
)
def test_what_a_trial_says_of_memory(told, expected):
  told = dataclasses.replace(
    told, result=dataclasses.replace(told.result, status=types.Status(told.result.status))
  )
  assert footprint(told, (1,)) == expected
