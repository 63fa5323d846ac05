"""The options of the problem `kernel`."""

import dataclasses

import pytest

from autoresearch_jax.problems.kernel import Kernel
from autoresearch_jax.types import KernelInput

GOOD = {
  'reference': 'kernels/scan/reference.py:reference',
  'inputs': ('float32[4,2]', 'int32[3] in [0, 9]'),
}


def test_a_problem_describes_its_kernel():
  kernel = Kernel(**GOOD).shapes()['kernel']
  assert kernel.inputs == (
    KernelInput((4, 2), 'float32'), KernelInput((3,), 'int32', 0.0, 9.0)
  )  # fmt: skip
  assert kernel.function == 'kernel' and not kernel.is_reference
  assert dataclasses.replace(kernel, is_reference=True).function == 'reference'


@pytest.mark.parametrize(
  ('options', 'words'),
  [
    ({'reference': 'scan.py'}, 'the file and the function'),
    ({'reference': 'nowhere.py:f'}, 'no file nowhere.py'),
    ({'reference': 'kernels/scan/reference.py:scan'}, 'defines: reference'),
    ({'inputs': ()}, 'give 1 to'),
    ({'inputs': ('float32 4,2',)}, 'a dtype and a shape'),
    ({'inputs': ('float99[4]',)}, 'Dtypes: float32'),
    ({'inputs': ('float32[0]',)}, '0 numbers'),
    ({'inputs': ('int32[4]',)}, 'which values'),
    ({'inputs': ('int32[4] in [0, 0.5]',)}, 'whole numbers'),
    ({'inputs': ('float32[4] in [1, 0]',)}, 'lower'),
    ({'inputs': ('int32[4] in [0, 9]',), 'gradients': True}, 'no input is a float'),
    ({'rtol': 2.0}, 'config.data.rtol'),
  ],
)
def test_a_wrong_option_is_refused(options, words):
  with pytest.raises(ValueError, match=words):
    Kernel(**{**GOOD, **options})
