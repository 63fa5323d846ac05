"""Effects of groups of trials, drawn toward what is usual: empirical Bayes.

A group of two trials that went well is mostly luck. Its mean m has the variance

    v = s² / n,   s² = (d0·s0² + Σ(x - m)²) / (d0 + n - 1)

where s0 is the usual spread within a group: robust, since one step that wrecks training must not
make all others look uncertain (1.4826 times the median |residual|), and at least the noise of one
effect. d0 = 4 degrees of freedom are given to it (Smyth, Statistical Applications in Genetics and
Molecular Biology 3, 2004, https://doi.org/10.2202/1544-6115.1027).

The groups' true effects are taken to be normal around an overall mean μ with variance τ², both
estimated from the groups (DerSimonian and Laird, Controlled Clinical Trials 7, 1986,
https://doi.org/10.1016/0197-2456(86)90046-2). A group's effect is then

    m - B·(m - μ),   B = v / (v + τ²),   with the variance (1 - B)·v + B²·var(μ)

whose last term is what is not known of μ (Morris, Journal of the American Statistical Association
78, 1983). Groups may share trials, and children of one parent its noise; that is left out.
"""

from collections.abc import Sequence

import numpy as np

PRIOR_DEGREES = 4
LEAST = 1e-9  # spread within a group, in units of the largest effect: where all agree exactly


def shrunk(groups: Sequence[Sequence[float]], noise: float = 0.0) -> list[tuple[float, float]]:
  """(effect, standard deviation) of each group of measured effects, of which none is empty.

  noise: standard deviation of one effect by the seeds alone. A single group has nothing to be
  drawn to.
  """
  if not groups:
    return []
  scale = max(np.finfo(float).tiny, noise, *(max(map(abs, group)) for group in groups))
  scaled = [np.asarray(group) / scale for group in groups]
  effects, spreads = _shrunk(scaled, noise / scale)
  return [(float(e), float(s)) for e, s in zip(effects * scale, spreads * scale, strict=True)]


def _shrunk(groups: Sequence[np.ndarray], noise: float) -> tuple[np.ndarray, np.ndarray]:
  """Effects and standard deviations [groups], in units of the largest."""
  means = np.array([np.mean(g) for g in groups])
  variances = _variances(groups, means, noise)
  if len(groups) == 1:
    return means, np.sqrt(variances)
  between = _between(means, variances)
  weights = 1 / (variances + between)
  overall, unsure = float(np.sum(weights * means) / np.sum(weights)), 1 / np.sum(weights)
  drawn = variances * weights
  effects = means - drawn * (means - overall)
  return effects, np.sqrt((1 - drawn) * variances + drawn**2 * unsure)


def _variances(groups: Sequence[np.ndarray], means: np.ndarray, noise: float) -> np.ndarray:
  """Of the groups' means, in the order of the groups; above 0."""
  sizes = np.array([len(g) for g in groups])
  residuals = [g - m for g, m in zip(groups, means, strict=True)]
  # A residual of n values is too small by √((n - 1)/n) on average.
  scaled = [r * np.sqrt(len(r) / (len(r) - 1)) for r in residuals if len(r) > 1]
  usual = 1.4826 * float(np.median(np.abs(np.concatenate(scaled)))) if scaled else 0.0
  usual = max(usual, noise, LEAST)
  squares = np.array([float(np.sum(r**2)) for r in residuals])
  within = (PRIOR_DEGREES * usual**2 + squares) / (PRIOR_DEGREES + sizes - 1)
  return within / sizes


def _between(means: np.ndarray, variances: np.ndarray) -> float:
  """Variance of the groups' true effects, 0 where chance explains how far they are apart."""
  weights = 1 / variances
  total = np.sum(weights)
  overall = np.sum(weights * means) / total
  excess = np.sum(weights * (means - overall) ** 2) - (len(means) - 1)
  spare = total - np.sum(weights**2) / total
  if spare < 1e-9 * total:  # one group is known so much better that the others do not count
    return float(np.var(means, ddof=1))
  return max(0.0, float(excess / spare))
