"""Findings chosen and sorted for somebody who looks for something."""

import dataclasses
import math
from collections.abc import Iterable

from autoresearch_jax.findings.finding import Finding, FindingSetting, latest

SORTS = ('gain', 't', 'runs', 'created')


@dataclasses.dataclass(frozen=True)
class Selection:
  """Which findings to take. Empty fields choose nothing.

  Attributes:
    problem: Name of the problem.
    metric: Name of the metric.
    status: `gain`, `no_gain`, `undecided` or `failed`.
    source: Beginning of the source, with or without `ed25519:`.
    device: Part of the device's name, in any case.
    text: Part of description, claim or tags, in any case.
    superseded: Whether to take earlier reports on the same comparison, too.
  """

  problem: str = ''
  metric: str = ''
  status: str = ''
  source: str = ''
  device: str = ''
  text: str = ''
  superseded: bool = False

  def of(self, findings: Iterable[Finding]) -> list[Finding]:
    """Returns the findings that are wanted."""
    chosen = [finding for finding in findings if self._wants(finding)]
    return chosen if self.superseded else latest(chosen)

  def _wants(self, finding: Finding) -> bool:
    setting = finding.setting
    return (
      self.problem in ('', setting.problem)
      and self.metric in ('', setting.metric)
      and self.status in ('', finding.status)
      and (
        finding.source.startswith(self.source)
        or finding.source.partition(':')[2].startswith(self.source)
      )
      and self.device.lower() in setting.device.lower()
      and (not self.text or self._mentions(finding))
    )

  def _mentions(self, finding: Finding) -> bool:
    texts = (finding.description, finding.hypothesis.claim, *finding.hypothesis.mechanisms)
    return any(self.text.lower() in text.lower() for text in texts)


def by_setting(
  findings: Iterable[Finding], sort: str = 'gain'
) -> list[tuple[FindingSetting, list[Finding]]]:
  """Returns the findings of each setting, best first; gains compare in one setting only.

  Args:
    findings: The findings.
    sort: One of SORTS.
  """
  groups: dict[FindingSetting, list[Finding]] = {}
  known: dict[FindingSetting, list[Finding]] = {}
  for finding in findings:
    if finding.setting not in known:
      setting = dataclasses.replace(finding.setting, step_seconds=None)  # differs a bit each time
      known[finding.setting] = groups.setdefault(setting, [])
    known[finding.setting].append(finding)
  for group in groups.values():
    group.sort(key=lambda finding: (-_key(finding, sort), finding.id))
  return sorted(groups.items(), key=lambda item: (-len(item[1]), item[1][0].id))


def _key(finding: Finding, sort: str) -> float:
  values = {'gain': finding.gain, 't': finding.t, 'runs': finding.runs, 'created': finding.created}
  value = values[sort]
  return -math.inf if value is None else float(value)
