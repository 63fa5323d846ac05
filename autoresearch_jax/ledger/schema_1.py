"""The names of ledger schema 1, and what they are called in schema 2. Data for `upgrade.py`."""

from autoresearch_jax.config import RENAMED_FIELDS
from autoresearch_jax.registry.renamed import RENAMED_OPTIONS

# Fields of a config by path: former -> present name of the last part.
FIELDS = {
  former.removeprefix('config.'): present.rpartition('.')[2]
  for former, present in RENAMED_FIELDS.items()
}
# Options of parts, by kind and name: former -> present name.
OPTIONS = RENAMED_OPTIONS
# Kind of a part -> the fields of a config that hold its name and its options.
PARTS = {
  'strategy': ('search.strategy', 'search.options'),
  'acceptance': ('acceptance', 'acceptance_options'),
  'proposer': ('proposer', 'proposer_options'),
  'problem': ('problem', 'data'),
}
# Parts that wrap another one of their kind, whose options are in `inner_options` -> the default of
# `inner`.
WRAPPERS = {
  ('strategy', 'islands'): 'greedy',
  ('strategy', 'novelty'): 'greedy',
  ('strategy', 'restarts'): 'greedy',
  ('strategy', 'rungs'): 'greedy',
  ('strategy', 'speculative'): 'tree',
  ('acceptance', 'simplicity'): 'noise',
}
# Parts whose options are those of others of their kind, by name.
NESTED = {('proposer', 'auto'): ('gemini', 'mutate')}
# Values of options: (former option, former value) -> present value.
VALUES = {
  ('strategy', 'dgm'): {('keep', 'all'): 'keep_all', ('keep', 'better'): 'keep_better'},
}


def metric(name: str) -> str:
  """The present name of a metric: `test_bpb` for `locked_bpb`."""
  return f'test_{name.removeprefix("locked_")}' if name.startswith('locked_') else name
