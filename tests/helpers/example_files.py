"""Small files of examples, as users have them."""

import atexit
import pathlib
import shutil
import tempfile

import numpy as np

FOLDER = pathlib.Path(tempfile.mkdtemp(prefix='autoresearch_jax_examples_'))
atexit.register(shutil.rmtree, FOLDER, ignore_errors=True)
SAMPLE = FOLDER / 'sample.npz'
NUMBERS = FOLDER / 'numbers.npz'


def images(examples=60, classes=3, seed=0):
  """uint8 images [examples, 4, 4, 1] that tell the classes apart, and labels."""
  rng = np.random.default_rng(seed)
  labels = np.arange(examples) % classes
  noise = rng.integers(0, 100, (examples, 4, 4, 1))
  return (noise + 50 * labels[:, None, None, None]).astype(np.uint8), labels


np.savez(SAMPLE, x=images()[0], y=images()[1])
np.savez(NUMBERS, x=np.arange(180.0).reshape(60, 3), y=100 + np.arange(60.0))
