"""Images as examples: a folder with a sub-folder for each class, or encoded images in a table.

Decoding needs Pillow, the extra `images`.
"""

import importlib
import importlib.util
import io
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from autoresearch_jax.data.examples import (
  KNOWN,
  SPLIT_NAMES,
  UNSPLIT,
  ExampleColumn,
  Examples,
  Request,
)

SUFFIXES = frozenset({'.png', '.jpg', '.jpeg', '.bmp', '.gif', '.tif', '.tiff', '.webp', '.ppm'})
WIDE = ('I', 'F')  # beginnings of Pillow's modes with more than 8 bits, which it would clip
CHANNELS = {'L': 1, 'RGB': 3, 'RGBA': 4}  # of Pillow's modes that are kept; others become RGB


class ImageColumn(ExampleColumn):
  """Encoded images that are decoded when they are read, uint8 [examples, height, width, channels].

  Args:
    name: What they are, for messages.
    images: Their files, or their bytes.
    size: Height and width to resize them to; () for their own, which must all be equal.
  """

  dtype = np.dtype(np.uint8)

  def __init__(self, name: str, images: Sequence[pathlib.Path | bytes], size: tuple[int, ...]):
    self.name, self._images, self._size = name, images, tuple(size)
    first = self._decoded(0, '')
    self._mode = {1: 'L', 3: 'RGB', 4: 'RGBA'}[first.shape[-1]]
    self.shape = (len(images), *first.shape)

  def read(self, rows: np.ndarray) -> np.ndarray:
    decoded = np.empty((len(rows), *self.shape[1:]), np.uint8)
    for place, row in enumerate(rows.tolist()):
      image = self._decoded(row, self._mode)
      if image.shape != self.shape[1:]:
        raise ValueError(
          f'{self._where(row)} has {_size(image.shape)} pixels and {self._where(0)} has '
          f'{_size(self.shape[1:])}; set config.data.image_size, such as (64, 64), to resize all.'
        )
      decoded[place] = image
    return decoded

  def _decoded(self, row: int, mode: str) -> np.ndarray:
    """The pixels of an image, uint8 [height, width, channels]."""
    source, pillow = self._images[row], _pillow()
    try:
      with pillow.open(io.BytesIO(source) if isinstance(source, bytes) else source) as image:
        pixels = self._pixels(image, row, mode)
    # Pillow raises the first two for damaged files, and the last for huge ones.
    except (OSError, SyntaxError, pillow.DecompressionBombError) as error:
      raise ValueError(
        f'{self._where(row)} cannot be read as an image ({error}); remove or replace it.'
      ) from None
    return pixels[..., None] if pixels.ndim == 2 else pixels

  def _pixels(self, image: Any, row: int, mode: str) -> np.ndarray:
    if image.mode.startswith(WIDE):
      raise ValueError(
        f'{self._where(row)} has more than 8 bits for a channel (mode {image.mode}). Save the '
        'pixels of all images as one array, with np.save or np.savez, or as 8-bit images.'
      )
    if (mode or image.mode) != image.mode or image.mode not in CHANNELS:
      image = image.convert(mode or ('L' if image.mode == '1' else 'RGB'))
    if self._size:
      image = image.resize((self._size[1], self._size[0]))
    return np.asarray(image)

  def _where(self, row: int) -> str:
    source = self._images[row]
    return f'Image {row} of {self.name}' if isinstance(source, bytes) else str(source)


def of_folder(path: pathlib.Path, request: Request) -> dict[str, Examples]:
  """The images in a folder of class folders, or in folders for each split with class folders."""
  for option in ('inputs', 'targets', 'by'):
    if getattr(request, option):
      field = 'split_by' if option == 'by' else option
      raise ValueError(f'config.data.{field} names an array, and {path} has none; leave it out.')
  splits = {name: split for split, names in SPLIT_NAMES.items() for name in names}
  folders = [entry for entry in sorted(path.iterdir()) if _is_visible_folder(entry)]
  given = {splits[f.name.lower()]: f for f in folders if f.name.lower() in splits}
  if given and len(given) == len(folders):
    found = {split: _by_class(folder) for split, folder in given.items()}
  else:
    found = {UNSPLIT: _by_class(path)}
  names = sorted({name for classes in found.values() for name in classes})
  if len(names) < 2:
    raise ValueError(
      f'{path} has {_listed(names, "no sub-folders with images")}; a folder of images needs a '
      f'sub-folder for each class. config.data.path may be {KNOWN}.'
    )
  made = {}
  for split, classes in found.items():
    files = [(file, names.index(name)) for name, images in classes.items() for file in images]
    targets = np.array([target for _, target in files], np.int64)
    images = ImageColumn(str(path), [file for file, _ in files], request.image_size)
    made[split] = Examples(images, targets, class_names=tuple(names))
  return made


def _by_class(folder: pathlib.Path) -> dict[str, list[pathlib.Path]]:
  """Image files by the name of their sub-folder, which may be nested deeper."""
  found = {}
  for entry in sorted(folder.iterdir()):
    if _is_visible_folder(entry):
      images = [p for p in sorted(entry.rglob('*')) if p.suffix.lower() in SUFFIXES and p.is_file()]
      if images:
        found[entry.name] = images
  return found


def _is_visible_folder(path: pathlib.Path) -> bool:
  return path.is_dir() and not path.name.startswith('.')


def _pillow() -> Any:
  if importlib.util.find_spec('PIL') is None:
    raise ValueError("Images need Pillow: pip install 'autoresearch_jax[images]'.")
  return importlib.import_module('PIL.Image')


def _size(shape: tuple[int, ...]) -> str:
  return ' x '.join(map(str, shape))


def _listed(names: list[str], none: str) -> str:
  return f'one class, {names[0]}' if names else none
