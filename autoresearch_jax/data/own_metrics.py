"""Where the exported metrics of the user's own lie in the cache.

An artifact is for one platform and made by one version of JAX, and the fingerprint of the data
depends on neither. So it lies in a folder of its own beside that of the user's file.
"""

import dataclasses
import hashlib
import importlib.metadata
import pathlib

import msgspec

from autoresearch_jax.types import Dataset, Platform

FORMAT = 2  # change it with anything that changes what the same file is exported to


def exported(dataset: Dataset, platform: Platform) -> Dataset:
  """Returns the dataset with the folder of its exported metrics; the same if it has none.

  Args:
    dataset: As a problem prepares it: its `own_metrics_folder` has the user's file.
    platform: Platform that the metrics are computed on.
  """
  if not dataset.own_metrics:
    return dataset
  source = pathlib.Path(dataset.own_metrics_folder)
  parts = (FORMAT, source.name, platform, importlib.metadata.version('jax'))
  name = hashlib.sha256(msgspec.json.encode(parts)).hexdigest()[:16]
  return dataclasses.replace(dataset, own_metrics_folder=str(source.with_name(name)))
