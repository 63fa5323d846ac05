"""Traces programs abstractly, one JSON line each: run in a process of its own, since it has jax.

python tracing.py < lines of {"files": ..., "spec": ...}  > lines of "" or the error
"""

import json
import sys
import types as pytypes

import jax

from autoresearch_jax import types
from autoresearch_jax.programs import contract


def trace(text, spec, evaluation_batch):
  """Shapes through init, train_step and predict, as the tracer calls them. Raises what they do."""
  module = pytypes.ModuleType('model')
  sys.modules['model'] = module  # dataclasses and NamedTuples look their module up
  exec(compile(text, 'model.py', 'exec'), module.__dict__)
  inputs, targets = map(_struct, contract.batch_shapes(spec, _phase(module, spec)))
  batch = {'inputs': inputs, 'targets': targets}
  state = jax.eval_shape(lambda key: module.init(key, spec), jax.random.key(0))
  new, metrics = jax.eval_shape(module.train_step, state, batch, _struct(contract.PROGRESS))
  assert metrics['loss'].shape == ()
  before, after = (jax.tree.map(lambda x: (x.shape, x.dtype), s) for s in (state, new))
  assert jax.tree.leaves(before) == jax.tree.leaves(after), 'train_step changes the state'
  shown = _struct(contract.predict_inputs(spec, evaluation_batch))
  outputs = jax.eval_shape(module.predict, state, shown)
  assert outputs.shape == contract.predict_outputs(spec, evaluation_batch)


def _phase(module, spec):
  return contract.Phase(1.0, module.BATCH_SIZE, spec.sequence_length or 0)


def _struct(shape):
  return jax.ShapeDtypeStruct(shape.shape, shape.dtype)


def main():
  for line in sys.stdin:
    request = json.loads(line)
    try:
      spec = types.from_builtins(request['spec'], types.Spec)
      trace(request['text'], spec, evaluation_batch=4)
      error = ''
    except Exception as raised:
      error = f'{type(raised).__name__}: {raised}'[:500]
    print(json.dumps(error), flush=True)


if __name__ == '__main__':
  main()
