"""Traces programs abstractly, one JSON line each: run in a process of its own, since it has jax.

python tracing.py < lines of {"files": ..., "spec": ...}  > lines of "" or the error
"""

import json
import sys
import types as pytypes

import jax
import jax.numpy as jnp

from autoresearch_jax import types


def trace(text, spec, evaluation_batch):
  """Shapes through init, train_step and predict, as the tracer calls them. Raises what they do."""
  module = pytypes.ModuleType('model')
  sys.modules['model'] = module  # dataclasses and NamedTuples look their module up
  exec(compile(text, 'model.py', 'exec'), module.__dict__)
  if spec.kind == 'language_model':
    shape, dtype = (spec.sequence_length,), jnp.int32
  else:
    shape, dtype = spec.input_shape, jnp.float32
  size = module.BATCH_SIZE
  struct = jax.ShapeDtypeStruct
  targets = (size, *shape) if spec.kind == 'language_model' else (size,)
  batch = {'inputs': struct((size, *shape), dtype), 'targets': struct(targets, jnp.int32)}
  state = jax.eval_shape(lambda key: module.init(key, spec), jax.random.key(0))
  new, metrics = jax.eval_shape(module.train_step, state, batch, struct((), jnp.float32))
  assert metrics['loss'].shape == ()
  before, after = (jax.tree.map(lambda x: (x.shape, x.dtype), s) for s in (state, new))
  assert jax.tree.leaves(before) == jax.tree.leaves(after), 'train_step changes the state'
  outputs = jax.eval_shape(module.predict, state, struct((evaluation_batch, *shape), dtype))
  last = spec.vocab_size if spec.kind == 'language_model' else spec.num_classes
  assert outputs.shape[0] == evaluation_batch and outputs.shape[-1] == last


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
