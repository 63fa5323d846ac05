"""Which types of numbers a program's state may hold."""

import pytest
from helpers.tiny_language import SPEC, program

from autoresearch_jax.programs import contract
from autoresearch_jax.programs.contract import ContractError
from autoresearch_jax.tracer.export import export_program


@pytest.mark.parametrize('dtype', ['uint2', 'int2', 'float8_e5m2fnuz'])
def test_a_type_that_no_runner_takes_is_refused_with_those_it_takes(tmp_path, dtype):
  text = (
    program()
    + f"""

def with_rare_type(init):
  return lambda key, spec: {{**init(key, spec), 'rare': jnp.zeros(4, jnp.{dtype})}}


init = with_rare_type(init)
"""
  )
  (tmp_path / 'model.py').write_text(text)
  with pytest.raises(ContractError, match=rf"'rare'\] is {dtype}; use one of") as refused:
    export_program(tmp_path, 'model.py', SPEC, 16)
  assert all(allowed in str(refused.value) for allowed in contract.DTYPES)
