"""Opens the examples of the user at a path: finds out what is there, and reads arrays.

An .npz file and a folder of .npy files are read here, by the headers of their arrays; a folder of
images in `image_folders`, a table or a Hugging Face dataset saved to disk in `columns`.
"""

import dataclasses
import pathlib
import zipfile
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from autoresearch_jax.data import image_folders
from autoresearch_jax.data.examples import (
  INPUT_NAMES,
  KNOWN,
  TARGET_NAMES,
  UNSPLIT,
  ArrayColumn,
  Examples,
  Request,
  chosen,
)
from autoresearch_jax.messages import available_memory

TABLES = ('.parquet', '.pq', '.csv')
MAX_MEMORY_FRACTION = 0.6  # of the free memory, for an array that has to be read as a whole


def open_examples(path: pathlib.Path, request: Request) -> dict[str, Examples]:
  """Opens the examples at a path. Targets are read, inputs are not.

  Returns:
    `train`, `validation` and `test`, as far as they are given, or UNSPLIT alone.

  Raises:
    ValueError: There is nothing of a known kind, or it cannot be used; the message says what to do.
  """
  if not path.exists():
    raise ValueError(
      f'There is no file or folder {str(path)!r} (from {pathlib.Path.cwd()}); set config.data.path '
      f'to {KNOWN}.'
    )
  if path.suffix == '.npy':
    request = dataclasses.replace(request, inputs=chosen_inputs(path, request.inputs))
    return _of_arrays(path.parent, _npy_columns(path.parent), request)
  if path.is_file() and path.suffix not in TABLES:
    return _of_arrays(path, _npz_columns(path), request)
  if path.is_dir() and any(path.glob('*.npy')):
    return _of_arrays(path, _npy_columns(path), request)
  if path.is_dir() and not _has_tables(path):
    return image_folders.of_folder(path, request)
  from autoresearch_jax.data import columns  # noqa: PLC0415 - pyarrow, which few need

  return columns.open_table(path, request)


def chosen_inputs(path: pathlib.Path, inputs: tuple[str, ...]) -> tuple[str, ...]:
  """Names of the inputs at a path: those of the config, or the array that an .npy path names."""
  return inputs or ((path.stem,) if path.suffix == '.npy' else ())


def files_of(path: pathlib.Path) -> list[pathlib.Path]:
  """The files of the examples at a path, sorted, from which `open_examples` reads."""
  if path.suffix == '.npy':
    path = path.parent
  if not path.is_dir():
    return [path]
  for pattern in ('*.npy', '*.parquet'):
    if found := sorted(path.glob(pattern)):
      return found
  files = (file for file in path.rglob('*') if file.is_file())
  wanted = image_folders.SUFFIXES if not _has_tables(path) else {'.arrow', '.json'}
  return sorted(file for file in files if file.suffix.lower() in wanted)


def hidden_paths(path: pathlib.Path) -> tuple[pathlib.Path, ...]:
  """Files and folders that hold the examples, absolute."""
  if not path.exists():
    return ()
  files = files_of(path.absolute())
  root = path.absolute() if path.is_dir() else path.absolute().parent
  return tuple(sorted({root / file.relative_to(root).parts[0] for file in files}))


def _has_tables(path: pathlib.Path) -> bool:
  names = ('state.json', 'dataset_dict.json')  # of a saved Hugging Face dataset
  return any(path.glob('*.parquet')) or any((path / name).is_file() for name in names)


def _of_arrays(
  where: pathlib.Path, arrays: Mapping[str, ArrayColumn], request: Request
) -> dict[str, Examples]:
  """The examples in named arrays."""
  if len(request.inputs) > 1:
    raise ValueError(
      f'config.data.inputs has {len(request.inputs)} names, but {where} has arrays; name one.'
    )
  inputs = chosen(arrays, *(request.inputs or ('',)), INPUT_NAMES, 'inputs', where)
  targets = chosen(arrays, request.targets, TARGET_NAMES, 'targets', where)
  if inputs.keys() != targets.keys():
    raise ValueError(
      f'{where} has inputs {", ".join(inputs.values())} and targets {", ".join(targets.values())}; '
      'give both for each split, or one array of each without splits.'
    )
  made = {}
  for split, name in inputs.items():
    rows = arrays[name]
    labels = _whole(arrays[targets[split]], where)
    if not rows.shape:
      raise ValueError(f'{name} in {where} is one number; inputs need a row for each example.')
    if len(labels) != rows.shape[0]:
      raise ValueError(
        f'{where}: {name} has {rows.shape[0]} examples and {targets[split]} has {len(labels)}; '
        'both need a row for each example.'
      )
    by = None
    if request.by and split in (UNSPLIT, 'train'):
      by = _named(arrays, request.by, where, len(labels))
    made[split] = Examples(rows, labels, by)
  return made


def _named(
  arrays: Mapping[str, ArrayColumn], name: str, where: pathlib.Path, examples: int
) -> np.ndarray:
  if name not in arrays:
    raise ValueError(
      f'config.data.split_by is {name!r}, which {where} does not have. It has: {", ".join(arrays)}.'
    )
  values = _whole(arrays[name], where)
  if values.shape != (examples,):
    raise ValueError(
      f'{where}: {name} has the shape {list(values.shape)}; config.data.split_by needs a value for '
      f'each of the {examples} examples.'
    )
  return values


def _whole(column: ArrayColumn, where: pathlib.Path) -> np.ndarray:
  array = np.asarray(column.load())
  if not array.ndim:
    raise ValueError(f'{column.name} in {where} is one number; give one for each example.')
  return array


def _npz_columns(path: pathlib.Path) -> dict[str, ArrayColumn]:
  """The arrays of an .npz file, by their headers."""
  try:
    with zipfile.ZipFile(path) as archive:
      headers = {
        name.removesuffix('.npy'): _header(archive.open(name))
        for name in archive.namelist()
        if name.endswith('.npy')
      }
  except (zipfile.BadZipFile, ValueError, EOFError) as error:
    raise ValueError(
      f'{path} cannot be read as an .npz file ({error}); set config.data.path to {KNOWN}.'
    ) from None

  def load(name: str, size: int) -> np.ndarray:
    _require_memory(size, f'{name} in {path}')
    with np.load(path, allow_pickle=False) as archive:
      return archive[name]

  return {
    name: _column(
      name, shape, dtype, path, lambda name=name, s=shape, d=dtype: load(name, _bytes(s, d))
    )
    for name, (shape, dtype) in headers.items()
  }


def _npy_columns(folder: pathlib.Path) -> dict[str, ArrayColumn]:
  """The .npy files of a folder, by their headers."""
  made = {}
  for path in sorted(folder.glob('*.npy')):
    try:
      with path.open('rb') as file:
        shape, dtype = _header(file)
    except (ValueError, EOFError) as error:
      raise ValueError(f'{path} cannot be read ({error}); save it again with np.save.') from None
    made[path.stem] = _column(
      path.stem, shape, dtype, path, lambda path=path: np.load(path, mmap_mode='r')
    )
  return made


def _header(file: Any) -> tuple[tuple[int, ...], np.dtype]:
  """Shape and dtype of an array in the .npy format, without its data."""
  with file:
    version = np.lib.format.read_magic(file)
    read = np.lib.format
    one = version == (1, 0)
    shape, _, dtype = (read.read_array_header_1_0 if one else read.read_array_header_2_0)(file)
  return shape, dtype


def _column(
  name: str,
  shape: tuple[int, ...],
  dtype: np.dtype,
  path: pathlib.Path,
  load: Callable[[], np.ndarray],
) -> ArrayColumn:
  def checked() -> np.ndarray:
    if dtype.hasobject:
      raise ValueError(
        f'{name} in {path} holds Python objects, such as rows of different lengths; save one array '
        'of numbers, for instance np.stack(rows).astype(np.float32).'
      )
    return load()

  return ArrayColumn(name, shape, dtype, checked)


def _bytes(shape: tuple[int, ...], dtype: np.dtype) -> int:
  return int(np.prod(shape, dtype=np.float64) * dtype.itemsize)


def _require_memory(size: int, what: str) -> None:
  """Raises ValueError if an array of so many bytes leaves too little memory."""
  free = available_memory()
  if free and size > MAX_MEMORY_FRACTION * free:
    raise ValueError(
      f'{what} takes {size / 2**30:.1f} GiB, and {free / 2**30:.1f} GiB of memory are free. Use a '
      'folder of .npy files (np.save), which are read in parts, or a smaller dtype such as uint8.'
    )
