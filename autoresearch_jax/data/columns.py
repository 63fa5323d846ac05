"""Tables as examples: .parquet and .csv files, and Hugging Face datasets saved to disk.

Read with pyarrow alone: `Dataset.save_to_disk` writes Arrow files, so the package `datasets` is not
needed. A column of numbers is an input feature, a column of lists of numbers or of encoded images
is a whole input.
"""

import dataclasses
import importlib
import json
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from autoresearch_jax.data.examples import (
  INPUT_NAMES,
  SPLIT_NAMES,
  TARGET_NAMES,
  UNSPLIT,
  ArrayColumn,
  ExampleColumn,
  Examples,
  Request,
  chosen,
)
from autoresearch_jax.data.image_folders import ImageColumn

pc: Any = importlib.import_module('pyarrow.compute')  # has its functions at run time only
STATE, SPLITS = 'state.json', 'dataset_dict.json'  # of `Dataset.save_to_disk`, `DatasetDict`'s


def open_table(path: pathlib.Path, request: Request) -> dict[str, Examples]:
  """The rows of a table, of a folder of Parquet files, or of a saved dataset, by split."""
  if path.is_file():
    return {UNSPLIT: _examples(_read(path), path, request)}
  if (path / STATE).is_file() or (path / SPLITS).is_file():
    return _of_saved_dataset(path, request)
  return _of_folder(path, request)


def _of_folder(path: pathlib.Path, request: Request) -> dict[str, Examples]:
  """The Parquet files of a folder, by the split that their names begin with, if any."""
  splits = {name: split for split, names in SPLIT_NAMES.items() for name in names}
  files: dict[str, list[pathlib.Path]] = {}
  for file in sorted(path.glob('*.parquet')):
    word = file.stem.replace('_', '-').partition('-')[0].lower()
    files.setdefault(splits.get(word, UNSPLIT), []).append(file)
  if UNSPLIT in files and len(files) > 1:
    files.setdefault('train', []).extend(files.pop(UNSPLIT))
  made = {}
  for split, parts in files.items():
    table = pa.concat_tables([_read(part) for part in parts])
    made[split] = _examples(table, path, request)
  return made


def _of_saved_dataset(path: pathlib.Path, request: Request) -> dict[str, Examples]:
  """The rows of a saved Hugging Face dataset, in its splits."""
  if (path / STATE).is_file():
    return {UNSPLIT: _of_saved_split(path, request)}
  known = {name: split for split, names in SPLIT_NAMES.items() for name in names}
  names = json.loads((path / SPLITS).read_text())['splits']
  if other := [name for name in names if name not in known]:
    raise ValueError(
      f'{path} has the split {other[0]!r}; rename it to train, validation or test, or set '
      f'config.data.path to one split, such as {path / other[0]}.'
    )
  made = {known[name]: _of_saved_split(path / name, request) for name in names}
  return {UNSPLIT: made['train']} if made.keys() == {'train'} else made


def _of_saved_split(path: pathlib.Path, request: Request) -> Examples:
  state = json.loads((path / STATE).read_text())
  if state.get('_indices_data_files'):
    raise ValueError(f'{path} has an index over its rows; save it after flatten_indices().')
  tables = []
  for file in state['_data_files']:
    with pa.memory_map(str(path / file['filename'])) as source:
      tables.append(pa.ipc.open_stream(source).read_all())
  features = json.loads((path / 'dataset_info.json').read_text()).get('features') or {}
  names = {
    column: tuple(feature['names'])
    for column, feature in features.items()
    if isinstance(feature, dict) and feature.get('_type') == 'ClassLabel' and feature.get('names')
  }
  table = pa.concat_tables(tables)
  made = _examples(table, path, request)
  return dataclasses.replace(made, class_names=names.get(_target(table, path, request), ()))


def _read(path: pathlib.Path) -> pa.Table:
  try:
    if path.suffix == '.csv':
      return importlib.import_module('pyarrow.csv').read_csv(path)
    return importlib.import_module('pyarrow.parquet').read_table(path)
  except (pa.ArrowInvalid, OSError) as error:
    raise ValueError(
      f'{path} cannot be read as a table ({str(error).splitlines()[0]}); write it again, or name '
      'another file in config.data.path.'
    ) from None


def _examples(table: pa.Table, path: pathlib.Path, request: Request) -> Examples:
  target = _target(table, path, request)
  by = None
  if request.by:
    by = _numbers_or_texts(_column_of(table, request.by, 'split_by', path), request.by, path)
  left_out = {target, request.by}
  names = request.inputs or _recognised(table, left_out)
  targets = _numbers_or_texts(_column_of(table, target, 'targets', path), target, path)
  return Examples(_inputs(table, names, path, request), targets, by)


def _target(table: pa.Table, path: pathlib.Path, request: Request) -> str:
  if request.targets:
    return request.targets
  return chosen(table.column_names, '', TARGET_NAMES, 'targets', path)[UNSPLIT]


def _recognised(table: pa.Table, left_out: set[str]) -> tuple[str, ...]:
  """The input columns where none are named: one with a known name, or all others."""
  names = [name for name in table.column_names if name not in left_out]
  known = [name for name in names if name.lower() in INPUT_NAMES]
  return (known[0],) if len(known) == 1 else tuple(names)


def _column_of(table: pa.Table, name: str, option: str, path: pathlib.Path) -> pa.ChunkedArray:
  if name not in table.column_names:
    has = ', '.join(table.column_names[:12]) + (', ...' if len(table.column_names) > 12 else '')
    raise ValueError(f'{path} has no column {name!r}, which config.data.{option} names. It has: '
                     f'{has}.')  # fmt: skip
  column = table[name]
  if column.null_count:
    row = pc.index(pc.is_null(column), True).as_py()
    raise ValueError(
      f'{path}: the column {name!r} has no value in row {row} ({column.null_count} of '
      f'{len(column)} rows have none); fill them in, or leave these rows out.'
    )
  return column


def _inputs(
  table: pa.Table, names: Sequence[str], path: pathlib.Path, request: Request
) -> ExampleColumn:
  columns = [_column_of(table, name, 'inputs', path) for name in names]
  if not columns:
    raise ValueError(f'{path} has no columns beside its targets; inputs need one at least.')
  if len(columns) == 1:
    (column,), (name,) = columns, names
    if images := _encoded_images(column):
      return ImageColumn(f'the column {name!r} of {path}', images, request.image_size)
    if (
      pa.types.is_list(column.type)
      or pa.types.is_fixed_size_list(column.type)
      or (pa.types.is_large_list(column.type))
    ):
      array = _nested(column, name, path)
      return ArrayColumn(name, array.shape, array.dtype, lambda: array)
  features = []
  for name, column in zip(names, columns, strict=True):
    values = _numbers_or_texts(column, name, path)
    if values.ndim != 1 or values.dtype.kind not in 'biuf':
      raise ValueError(
        f'{path}: the column {name!r} holds {column.type}, not numbers. Name the columns that are '
        'inputs in config.data.inputs, or encode it as numbers.'
      )
    features.append(values.astype(np.float32 if values.dtype.kind == 'f' else values.dtype))
  array = np.stack(features, axis=1)
  return ArrayColumn(', '.join(names[:4]), array.shape, array.dtype, lambda: array)


def _encoded_images(column: pa.ChunkedArray) -> list[bytes]:
  """The images of a column as Hugging Face stores them, {'bytes', 'path'}, or of plain bytes."""
  kind = column.type
  if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
    return column.to_pylist()
  if not pa.types.is_struct(kind) or kind.get_field_index('bytes') < 0:
    return []
  images = pc.struct_field(column, 'bytes').to_pylist()
  if None in images:
    raise ValueError(
      f'Image {images.index(None)} of the table is stored as a path only; embed the images, or use '
      'a folder of them.'
    )
  return images


def _nested(column: pa.ChunkedArray, name: str, path: pathlib.Path) -> np.ndarray:
  """A column of lists, of equal lengths at each level, as one array."""
  array: Any = column.combine_chunks()
  shape = [len(array)]
  while pa.types.is_nested(array.type):
    values = array.flatten()
    length, rest = divmod(len(values), max(1, len(array)))
    lengths = pc.unique(pc.list_value_length(array))
    if rest or len(lengths) != 1:
      raise ValueError(
        f'{path}: the lists in column {name!r} have different lengths; inputs need the same shape '
        'in every row.'
      )
    shape.append(length)
    array = values
  return _numbers_or_texts(array, name, path).reshape(shape)


def _numbers_or_texts(column: Any, name: str, path: pathlib.Path) -> np.ndarray:
  kind = column.type
  if pa.types.is_dictionary(kind):
    column = column.cast(kind.value_type)
    kind = column.type
  if pa.types.is_temporal(kind):
    column = column.cast(pa.int64()) if not pa.types.is_date32(kind) else column.cast(pa.int32())
  if pa.types.is_string(kind) or pa.types.is_large_string(kind):
    return np.array(column.to_pylist(), str)
  if pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind):
    return _nested(column, name, path)
  array = np.asarray(column)
  if array.dtype.kind not in 'biufU':
    raise ValueError(f'{path}: the column {name!r} holds {kind}; use numbers or texts instead.')
  return array
