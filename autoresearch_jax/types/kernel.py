"""What a kernel computes and how exactly: the `kernel` of a `Spec`."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class KernelInput:
  """One array that a kernel takes.

  Attributes:
    shape: Of the array.
    dtype: Name of its dtype.
    low: Lowest value that the reference is defined for; None for no limit.
    high: Highest value, itself included; None for no limit.
  """

  shape: tuple[int, ...]
  dtype: str
  low: float | None = None
  high: float | None = None


@dataclasses.dataclass(frozen=True)
class KernelSpec:
  """A kernel's inputs, its reference, and the tolerances of the comparison.

  Attributes:
    inputs: The arrays that it takes, in order.
    reference: Name of the reference function in its file.
    gradients: Whether gradients of the inputs are compared and timed too.
    rtol: Tolerated error as a fraction of each value; None for the default of the dtype.
    atol: Tolerated error as a fraction of an output's largest value; None for the default.
    is_reference: Whether the reference is traced, instead of a program.
  """

  inputs: tuple[KernelInput, ...]
  reference: str
  gradients: bool = False
  rtol: float | None = None
  atol: float | None = None
  is_reference: bool = False

  @property
  def function(self) -> str:
    """Name of the function that is traced."""
    return self.reference if self.is_reference else 'kernel'
