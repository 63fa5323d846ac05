"""The base class of executors: two methods make one, and its example is true."""

import doctest

import pytest

from autoresearch_jax.executors import Executor, base
from autoresearch_jax.types import Budget, Program


class Smallest(Executor):
  def submit(self, request):
    del request

  def wait(self, timeout):
    del timeout
    return []


def test_the_example_runs():
  results = doctest.testmod(base)
  assert results.attempted > 3 and not results.failed


def test_submit_and_wait_are_enough():
  executor = Smallest()
  assert executor.slots == 1
  assert executor.check(Program((('model.py', ''),), 'model.py'), Budget(1.0, 'steps')) == ''
  executor.cancel(3)
  executor.close()
  executor.close()


@pytest.mark.parametrize('method', ['submit', 'wait'])
def test_an_executor_without_one_of_them_cannot_be_made(method):
  incomplete = type('Incomplete', (Smallest,), {method: getattr(Executor, method)})
  with pytest.raises(TypeError, match=method):
    incomplete()
