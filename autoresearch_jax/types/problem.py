"""What a program is told about its problem, where its data lies, and names of metrics."""

import dataclasses
from typing import Literal

from autoresearch_jax.types.budget import Budget, Platform
from autoresearch_jax.types.kernel import KernelSpec

OWN_METRICS_FILE = 'own_metrics.py'  # in `Dataset.own_metrics_folder`

Direction = Literal['minimize', 'maximize']


@dataclasses.dataclass(frozen=True)
class Spec:
  """The problem as a program sees it: the `spec` in `init(key, spec)`.

  Fields that do not apply to the problem's kind are None.
  """

  kind: Literal['language_model', 'supervised', 'construction', 'kernel', 'strategy']
  platform: Platform
  num_devices: int
  budget: Budget
  vocab_size: int | None = None  # language models
  sequence_length: int | None = None  # language models
  input_shape: tuple[int, ...] | None = None  # of one example; supervised problems
  num_classes: int | None = None  # classification
  # Of a construction, or of the target of one example in regression: () for a number.
  output_shape: tuple[int, ...] | None = None
  kernel: KernelSpec | None = None  # kernels

  @property
  def is_regression(self) -> bool:
    """Whether the targets are floats, of shape `output_shape`, rather than classes."""
    return self.kind == 'supervised' and self.output_shape is not None


@dataclasses.dataclass(frozen=True)
class Dataset:
  """A problem's prepared data, which only the runner opens.

  A split is a folder. For language models it has rows.npy, uint16 [rows, sequence_length + 1]; for
  supervised problems inputs.npy, [examples, *input_shape] of any numbers, which become float32, and
  targets.npy: int32 [examples] of classes, or float32 [examples, *output_shape] in regression.

  Attributes:
    train: Folder of the training split.
    validation: Folder of the validation split.
    token_bytes: File, int32 [vocab_size]: UTF-8 bytes of each token, 0 for special tokens; '' for
      none: then there is no val_bpb.
    evaluation_batch: Rows (examples) per call of `predict`; divides the rows of a language model.
    verifier: Name in VERIFIERS of the function that scores a construction.
    fingerprint: SHA-256 over whatever can change a metric: content, tokenizer, split.
    test: Folder of the test split, on which only the final evaluation scores; '' for none. A kernel
      is timed anew on other inputs, and this is the folder of its reference.
    metrics: Names in `problems.metrics` of what is measured; () for those of every problem of its
      kind.
    target_mean: What was subtracted from the targets of a regression; metrics are of the originals.
    target_std: What they were then divided by, one number for each element of a target.
    reference: File of the reference function; kernels.
    num_classes: Of a classification whose metrics are named; else 0.
    own_metrics: Names and directions of metrics of the user's own, which `metrics` does not have.
    own_metrics_folder: Their file, and the artifacts that are made of it.
  """

  kind: Literal['language_model', 'supervised', 'construction', 'kernel', 'strategy']
  train: str = ''
  validation: str = ''
  token_bytes: str = ''
  evaluation_batch: int = 0
  verifier: str = ''
  fingerprint: str = ''
  test: str = ''
  metrics: tuple[str, ...] = ()
  target_mean: tuple[float, ...] = ()
  target_std: tuple[float, ...] = ()
  reference: str = ''
  num_classes: int = 0
  own_metrics: tuple[tuple[str, Direction], ...] = ()
  own_metrics_folder: str = ''

  def own_metrics_artifact(self, on_test: bool) -> str:
    """Path of the exported metrics of the user's own, for a held-out split."""
    return f'{self.own_metrics_folder}/{"test" if on_test else "validation"}.artifact'


def test_metric(metric: str) -> str:
  """Returns the name of a validation metric on the test split: `test_bpb` for `val_bpb`."""
  return f'test_{metric.removeprefix("val_")}'
