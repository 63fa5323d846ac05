"""Mean effects of groups of trials, each shrunk towards 0: empirical Bayes.

A group of two trials that went well is mostly luck. Its mean m has the variance

    v = s² / n,   s² = (d0·s0² + Σ(x - m)²) / (d0 + n - 1)

where s0 is the typical standard deviation within a group: 1.4826 times the median |residual|, which
is robust against the one edit that wrecks training, and at least the noise of one effect. It counts
as d0 = 4 degrees of freedom (Smyth, Statistical Applications in Genetics and Molecular Biology 3,
2004, https://doi.org/10.2202/1544-6115.1027).

The true effects of the groups are taken to be normal around 0 with variance τ². The shrunk effect
of a group and its variance are

    (1 - B)·m,   (1 - B)·v,   B = v / (v + τ²)

so that no group is more certain than its own trials: |effect| / sd = √(1 - B)·|m| / √v. τ maximises
the marginal likelihood times τ, the boundary-avoiding prior of Chung, Rabe-Hesketh, Dorie, Gelman
and Liu (A Nondegenerate Penalized Likelihood Estimator for Variance Parameters in Multilevel
Models, Psychometrika 78, 2013, https://doi.org/10.1007/s11336-013-9328-2). Without that factor, few
groups often give τ = 0, and all of them the same effect. Dependence is ignored: groups may share
trials, and children of one parent share its noise.
"""

from collections.abc import Sequence

import numpy as np

PRIOR_DEGREES = 4
GRID = 400  # values of τ that are tried
MIN_SD = 1e-9  # within a group, in units of the largest effect; for effects that agree exactly


def shrink(groups: Sequence[Sequence[float]], noise: float = 0.0) -> list[tuple[float, float]]:
  """Returns (effect, standard deviation) of each group. A single group is not shrunk.

  Args:
    groups: Measured effects of each group; no group is empty.
    noise: Standard deviation of one effect due to the seeds alone.
  """
  if not groups:
    return []
  scale = max(np.finfo(float).tiny, noise, *(max(map(abs, group)) for group in groups))
  scaled = [np.asarray(group) / scale for group in groups]
  effects, sds = _shrink(scaled, noise / scale)
  return [(float(e), float(s)) for e, s in zip(effects * scale, sds * scale, strict=True)]


def _shrink(groups: Sequence[np.ndarray], noise: float) -> tuple[np.ndarray, np.ndarray]:
  """Returns effects and standard deviations [groups], in units of the largest effect."""
  means = np.array([np.mean(g) for g in groups])
  variances = _variances(groups, means, noise)
  if len(groups) == 1:
    return means, np.sqrt(variances)
  between = _between_variance(means, variances)
  kept = between / (variances + between)
  return kept * means, np.sqrt(kept * variances)


def _variances(groups: Sequence[np.ndarray], means: np.ndarray, noise: float) -> np.ndarray:
  """Returns the variances of the groups' means [groups]; above 0."""
  sizes = np.array([len(g) for g in groups])
  residuals = [g - m for g, m in zip(groups, means, strict=True)]
  # A residual of n values is too small by √((n - 1)/n) on average.
  scaled = [r * np.sqrt(len(r) / (len(r) - 1)) for r in residuals if len(r) > 1]
  typical = 1.4826 * float(np.median(np.abs(np.concatenate(scaled)))) if scaled else 0.0
  typical = max(typical, noise, MIN_SD)
  squares = np.array([float(np.sum(r**2)) for r in residuals])
  within = (PRIOR_DEGREES * typical**2 + squares) / (PRIOR_DEGREES + sizes - 1)
  return within / sizes


def _between_variance(means: np.ndarray, variances: np.ndarray) -> float:
  """Returns τ², the variance of the groups' true effects; above 0."""
  low = 1e-3 * float(np.sqrt(variances.min()))
  high = 10.0 * float(np.sqrt(variances.max() + np.max(means**2)))
  sds = np.geomspace(low, high, GRID)
  totals = variances + sds[:, None] ** 2
  likelihood = -0.5 * np.sum(np.log(totals) + means**2 / totals, axis=1)
  return float(sds[np.argmax(likelihood + np.log(sds))] ** 2)
