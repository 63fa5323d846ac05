"""What kernels are compared on, and which of their outputs pass."""

import dataclasses

import numpy as np
import pytest

from autoresearch_jax.runner.kernels import gate, inputs
from autoresearch_jax.types import KernelInput, KernelSpec

LOGITS, LABELS = KernelInput((16, 256), 'float32'), KernelInput((16,), 'int32', 0, 255)
KERNEL = KernelSpec((LOGITS, LABELS), 'reference', gradients=True)


@pytest.mark.parametrize('kind', inputs.KINDS)
def test_inputs_have_their_shapes_and_stay_inside_of_their_bounds(kind):
  arrays = (
    LOGITS, LABELS, KernelInput((), 'float32'), KernelInput((5, 3), 'bfloat16', -2.0, 0.5),
    KernelInput((7,), 'bool', 0.0, 1.0), KernelInput((64,), 'float16'),
  )  # fmt: skip
  kernel = KernelSpec(arrays, 'reference')
  drawn = inputs.draw(kind, kernel, np.random.default_rng(0))
  for each, array in zip(arrays, drawn, strict=True):
    assert (array.shape, str(array.dtype)) == (each.shape, each.dtype)
    values = array.astype(np.float64)
    assert not np.isnan(values).any()
    assert np.isfinite(values).all() or (each.low is None and 'infinity' in kind)
    if each.low is not None:
      assert each.low <= values.min() and values.max() <= each.high
  assert kind not in inputs.INFINITE or np.isinf(drawn[0]).any()


def test_infinities_are_for_inputs_without_bounds():
  assert set(inputs.kinds(KERNEL)) == set(inputs.KINDS)
  assert not set(inputs.kinds(KernelSpec((LABELS,), 'reference'))) & set(inputs.INFINITE)


def checked(output, own, truth=None, **tolerances):
  own = np.asarray(own, np.float32)
  truth = own if truth is None else np.asarray(truth, np.float64)
  case = gate.Case('typical', [], [own], [truth])
  kernel = dataclasses.replace(KERNEL, **tolerances)
  return gate.check(case, [np.asarray(output, np.float32)], ['output'], kernel)


def test_tolerances_scale_with_the_value_and_with_the_largest_one():
  assert checked([1000.0, 1.0], [1000.0, 1.0]) == 0
  assert checked([1000.0, 1.005], [1000.0, 1.0]) == pytest.approx(0.5, rel=0.02)
  for scale in (1e-20, 1.0, 1e20):
    with pytest.raises(gate.GateError, match=r'output\[1\].*times the tolerance'):
      checked([scale, 0.1 * scale], [scale, 0.101 * scale])
  assert checked([1.0, 0.1], [1.0, 0.101], rtol=0.5) < 1


def test_an_inaccurate_reference_allows_four_times_as_much_where_it_is_inaccurate():
  truth = [1.0, 2.0]
  assert 0 < checked([1.0, 2.03], [1.0, 2.01], truth) < 1
  with pytest.raises(gate.GateError, match=r'output\[1\]'):
    checked([1.0, 2.05], [1.0, 2.01], truth)
  with pytest.raises(gate.GateError, match=r'output\[0\]'):
    checked([1.01, 2.0], [1.0, 2.01], truth)


@pytest.mark.parametrize('size', [2, 16, 1000])
def test_one_inaccurate_value_of_the_reference_allows_nothing_elsewhere(size):
  truth = np.ones(size)
  own = truth.copy()
  own[0] += 1000 * 1.1e-4  # rtol + atol of 1
  assert checked(own, own, truth) < 1
  for index in (1, size - 1):
    output = truth.copy()
    output[index] += 3 * 1.1e-4
    with pytest.raises(gate.GateError, match=rf'output\[{index}\]'):
      checked(output, own, truth)


@pytest.mark.parametrize('share', [0.2, 1.0])
def test_errors_as_common_as_those_of_the_reference_pass_anywhere(share):
  rng = np.random.default_rng(0)
  truth = rng.standard_normal(10000)

  def inaccurate():  # 100 times the tolerance, in the same part and by chance exact in places
    errors = rng.standard_normal(10000) * (np.arange(10000) < share * 10000)
    return truth + 100 * (1e-4 * abs(truth) + 4e-5) * errors

  assert checked(inaccurate(), inaccurate(), truth) < 1
  with pytest.raises(gate.GateError):
    checked(truth + 10 * (inaccurate() - truth), inaccurate(), truth)


def test_what_the_reference_does_not_define_may_be_anything():
  nan, inf = np.nan, np.inf
  assert checked([7.0, inf, 1.0], [nan, inf, 1.0]) == 0
  assert checked([7.0, 1.0], [inf, 1.0], [1e39, 1.0]) == 0  # overflows in its own dtype
  for wrong in ([nan, 1.0], [-inf, 1.0], [3.0, 1.0]):
    with pytest.raises(gate.GateError, match=r'output\[0\]'):
      checked(wrong, [inf, 1.0])
  with pytest.raises(gate.GateError, match='is nan'):
    checked([nan], [1.0])


def test_integers_must_be_equal():
  case = gate.Case('zeros', [], [np.array([1, 2])], [np.array([1, 2])])
  assert gate.check(case, [np.array([1, 2])], ['output'], KERNEL) == 0
  with pytest.raises(gate.GateError, match='all zero'):
    gate.check(case, [np.array([1, 3])], ['output'], KERNEL)
