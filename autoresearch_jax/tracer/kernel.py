"""Exports a kernel, or its reference, to an artifact, and checks it against the contract.

Runs in the tracer's sandboxed child, as `export` does. A program and the reference are traced in
different children, so that no program can change the reference.
"""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp

from autoresearch_jax.artifact import fingerprint, kernel
from autoresearch_jax.artifact.header import ArtifactError, Leaf
from autoresearch_jax.artifact.kernel import EXACT_PLATFORM, MAX_OUTPUTS, KernelArtifact
from autoresearch_jax.config import Limits
from autoresearch_jax.programs import contract
from autoresearch_jax.programs.contract import ContractError
from autoresearch_jax.tracer import check, flat_program
from autoresearch_jax.tracer.flat_program import PlacedErrors
from autoresearch_jax.types import KernelSpec, Spec

# (name, function, shapes of its arguments) -> jax.export.Exported; see `export.Exporter`.
Export = Callable[..., Any]
NAMES = ('the kernel', 'the gradient of the kernel')


class FlatKernel:
  """A kernel with flat outputs, and with the gradients of its float inputs.

  Attributes:
    entry: Name of the file that defines it.
    outputs: Path, shape and dtype of each output, once `forward` is traced.
    exact: Whether it is traced in float64; `forward` was traced in its own dtypes before.
  """

  def __init__(self, module: ModuleType, entry: str, spec: KernelSpec):
    self.entry, self.exact = entry, False
    self.outputs: tuple[Leaf, ...] = ()
    self._spec = spec
    self._function = getattr(module, spec.function, None)
    if not callable(self._function):
      raise ContractError(
        f'{entry}: there is no function {spec.function!r}; define {spec.function}(*inputs), which '
        f'takes {len(spec.inputs)} arrays.'
      )
    self._floats = [i for i, each in enumerate(spec.inputs) if each.dtype in contract.FLOATS]

  def where(self, name: str) -> str:
    """File and line of the function."""
    del name
    return flat_program.where(self._function, self.entry)

  def forward(self, *inputs: jax.Array) -> tuple[jax.Array, ...]:
    """Returns the outputs for some inputs."""
    assert self._function is not None
    found = jax.tree_util.tree_flatten_with_path(self._function(*inputs))[0]
    with PlacedErrors(self.where('')):
      if not 1 <= len(found) <= MAX_OUTPUTS:
        raise ContractError(
          f'{self._spec.function} returns {len(found)} arrays; return 1 to {MAX_OUTPUTS}.'
        )
      if self.exact:
        return self._in_float64([leaf for _, leaf in found])
      outputs = tuple(_array(f'output{jax.tree_util.keystr(path)}', leaf) for path, leaf in found)
    self.outputs = tuple(
      Leaf(f'output{jax.tree_util.keystr(path)}'[:200], tuple(each.shape), str(each.dtype))
      for (path, _), each in zip(found, outputs, strict=True)
    )
    return outputs

  def _in_float64(self, leaves: list[Any]) -> tuple[jax.Array, ...]:
    return tuple(
      jnp.asarray(leaf).astype('float64' if known.dtype in contract.FLOATS else known.dtype)
      for leaf, known in zip(leaves, self.outputs, strict=True)
    )

  def both(self, *arguments: jax.Array) -> tuple[jax.Array, ...]:
    """Returns the outputs and the gradients of float inputs, for inputs and cotangents."""
    inputs, cotangents = arguments[: len(self._spec.inputs)], arguments[len(self._spec.inputs) :]

    def of_floats(*floats: jax.Array) -> tuple[tuple[jax.Array, ...], tuple[jax.Array, ...]]:
      every = list(inputs)
      for i, value in zip(self._floats, floats, strict=True):
        every[i] = value
      outputs = self.forward(*every)
      return tuple(each for each in outputs if jnp.issubdtype(each.dtype, jnp.floating)), outputs

    _, pull_back, outputs = jax.vjp(of_floats, *(inputs[i] for i in self._floats), has_aux=True)
    return (*outputs, *pull_back(tuple(cotangents)))


def export_kernel(
  module: ModuleType,
  entry: str,
  spec: Spec,
  make_exporter: Callable[[str, Callable[[str], str]], Any],
  limits: Limits | None,
) -> KernelArtifact:
  """Exports a kernel's functions. Raises ContractError, and whatever the program raises.

  Args:
    module: The imported entry.
    entry: Its name.
    spec: The problem.
    make_exporter: (platform, name of a function -> its file and line) -> exporter.
    limits: Limits that the artifact is checked against; None for no check.
  """
  assert spec.kernel is not None
  flat = FlatKernel(module, entry, spec.kernel)
  platform = contract.EXPORT_PLATFORMS[spec.platform]
  export = make_exporter(platform, flat.where)
  modules = _exported(export, flat, spec.kernel)
  outputs = flat.outputs
  artifact = KernelArtifact(platform, spec, outputs, modules)
  if limits is not None:
    read = check.read_checked(
      artifact.to_bytes(), limits, kernel.from_bytes, NAMES, entry, flat.where, export.place
    )
    _check_dependence(read, flat)
  if not spec.kernel.is_reference:
    return artifact
  exact = _exact(make_exporter(EXACT_PLATFORM, flat.where), flat, spec.kernel)
  with_exact = KernelArtifact(platform, spec, outputs, modules, exact)
  try:
    kernel.from_bytes(with_exact.to_bytes(), limits or Limits())
  except ArtifactError:  # a decomposition, say, that is not allowed in float64
    return artifact
  return with_exact


def _exported(export: Export, flat: FlatKernel, spec: KernelSpec, exact: bool = False) -> Any:
  inputs = kernel.input_shapes(spec, exact)
  modules = [export(NAMES[0], flat.forward, *inputs)]
  if spec.gradients:
    cotangents = kernel.cotangent_shapes(flat.outputs, exact)
    if not cotangents:
      raise ContractError(
        f'{flat.where("")}: no output is a float, so there are no gradients; set '
        'config.data.gradients to False, or return floats.'
      )
    modules.append(export(NAMES[1], flat.both, *inputs, *cotangents))
  return tuple(bytes(module.serialize()) for module in modules)


def _exact(export: Export, flat: FlatKernel, spec: KernelSpec) -> tuple[bytes, ...]:
  """The modules in float64; empty if a cast in the reference forbids that."""
  flat.exact = True
  try:
    with jax.enable_x64(True):
      return _exported(export, flat, spec, exact=True)
  except Exception:
    return ()


def _check_dependence(artifact: KernelArtifact, flat: FlatKernel) -> None:
  """Raises ContractError if no output depends on an input."""
  outputs = tuple(range(len(artifact.outputs)))
  if not fingerprint.arguments_read(artifact.graphs[0], outputs):
    raise ContractError(
      f'{flat.where("")}: {artifact.kernel.function} reads none of its inputs, so its outputs are '
      'constant; compute them from the inputs.'
    )


def _array(path: str, leaf: Any) -> jax.Array:
  if not hasattr(leaf, 'dtype') and not isinstance(leaf, bool | int | float | complex):
    raise ContractError(f'{path} is a {type(leaf).__name__}; return arrays.')
  array = jnp.asarray(leaf)
  if str(array.dtype) not in contract.DTYPES or jnp.iscomplexobj(array):
    raise ContractError(f'{path} is {array.dtype}; return floats, integers or booleans.')
  return jax.lax.convert_element_type(array, array.dtype)
