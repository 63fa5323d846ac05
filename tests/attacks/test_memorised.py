"""Text or weights that a program brings along."""

from helpers.tiny_language import program


def embedding(table, use):
  text = program().replace('import jax, jax', f'import numpy\n{table}\nimport jax, jax', 1)
  return text.replace('  return x\n', f'  return x + {use}\n', 1)


def test_a_table_of_text(arena):
  table = 'TEXT = numpy.random.default_rng(0).integers(0, 16, (2**21,)).astype("int32")'
  arena.refused(embedding(table, 'jnp.asarray(TEXT).sum()'), 'embeds constants of 8.00 MiB', 'iota')


def test_a_table_in_pieces(arena):
  table = 'TEXT = numpy.random.default_rng(0).integers(0, 9, (40, 2**16)).astype("int32")'
  arena.refused(embedding(table, 'sum(jnp.asarray(t).max() for t in TEXT)'), 'embeds constants')


def test_a_table_that_init_puts_into_the_state(arena):
  table = 'WEIGHTS = numpy.random.default_rng(0).normal(size=(2**21,)).astype("float32")'
  text = embedding(table, '0')
  text = text.replace("return {'table': ", "return {'table': jnp.asarray(WEIGHTS)[:256].sum() + ")
  text = text.replace('jnp.asarray(WEIGHTS)[:256].sum()', 'jnp.asarray(WEIGHTS).sum()')
  arena.refused(text, 'embeds constants')


def test_a_table_for_all_of_an_artifact(arena):
  table = 'TEXT = numpy.random.default_rng(0).random(2**24 + 99).astype("float32")'
  arena.refused(embedding(table, 'jnp.asarray(TEXT).sum()'), 'limits.artifact_bytes allows 64')
