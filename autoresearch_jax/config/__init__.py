"""The configuration of a run: found by name or path, checked, and converted to a `Config`.

A config file defines `get_config(variant)`, which returns an ml-collections ConfigDict; the shipped
ones are in `configs/`. `load` reads one and `from_config_dict` checks it. Unknown fields are
refused, and renamed ones with their new name.
"""

from autoresearch_jax.config.checks import (
  MAX_BYTES,
  MAX_COUNT,
  MAX_SECONDS,
  RANGES,
  RENAMED_FIELDS,
  checked,
  converted,
  from_config_dict,
)
from autoresearch_jax.config.fields import (
  CanaryConfig,
  Config,
  ConfigError,
  Findings,
  Knowledge,
  Limits,
  Search,
)
from autoresearch_jax.config.files import (
  find,
  load,
  shipped,
)

__all__ = [
  'MAX_BYTES',
  'MAX_COUNT',
  'MAX_SECONDS',
  'RANGES',
  'RENAMED_FIELDS',
  'CanaryConfig',
  'Config',
  'ConfigError',
  'Findings',
  'Knowledge',
  'Limits',
  'Search',
  'checked',
  'converted',
  'find',
  'from_config_dict',
  'load',
  'shipped',
]
