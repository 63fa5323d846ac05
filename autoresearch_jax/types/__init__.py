"""The library's data types, as frozen dataclasses, and their conversion to and from JSON.

Whatever crosses a process boundary or enters the ledger is one of these. They hold plain data, so
`msgspec` serialises them and rejects input of another type. The controller imports this package, so
it does not import jax.
"""

from autoresearch_jax.types.budget import (
  COSTS_TO_TARGET,
  TARGET_METRIC,
  Budget,
  BudgetUnit,
  Platform,
)
from autoresearch_jax.types.encoding import (
  from_builtins,
  from_json,
  to_builtins,
  to_json,
)
from autoresearch_jax.types.kernel import (
  KernelInput,
  KernelSpec,
)
from autoresearch_jax.types.problem import (
  OWN_METRICS_FILE,
  Dataset,
  Direction,
  Spec,
  test_metric,
)
from autoresearch_jax.types.program import (
  Edit,
  Hypothesis,
  ImportedClaim,
  Program,
)
from autoresearch_jax.types.proposal import (
  GUIDANCE,
  RERUNS,
  Exchange,
  Lesson,
  Operation,
  Proposal,
  Spend,
  original_of,
)
from autoresearch_jax.types.request import (
  PARAMETERS,
  STATES,
  CheckpointPlan,
  Constraint,
  PruningRung,
  ReferenceStep,
  SavePlan,
  TrialRequest,
)
from autoresearch_jax.types.result import (
  INCONCLUSIVE,
  UNEVALUATED,
  Cost,
  Hardware,
  Isolation,
  Measurement,
  Progress,
  Result,
  SeedResult,
  Status,
)
from autoresearch_jax.types.steering import (
  Ends,
  SteeringRequest,
  Verb,
)
from autoresearch_jax.types.trial import (
  Decision,
  Objective,
  Trial,
  Verdict,
)

__all__ = [
  'COSTS_TO_TARGET',
  'GUIDANCE',
  'INCONCLUSIVE',
  'OWN_METRICS_FILE',
  'PARAMETERS',
  'RERUNS',
  'STATES',
  'TARGET_METRIC',
  'UNEVALUATED',
  'Budget',
  'BudgetUnit',
  'CheckpointPlan',
  'Constraint',
  'Cost',
  'Dataset',
  'Decision',
  'Direction',
  'Edit',
  'Ends',
  'Exchange',
  'Hardware',
  'Hypothesis',
  'ImportedClaim',
  'Isolation',
  'KernelInput',
  'KernelSpec',
  'Lesson',
  'Measurement',
  'Objective',
  'Operation',
  'Platform',
  'Program',
  'Progress',
  'Proposal',
  'PruningRung',
  'ReferenceStep',
  'Result',
  'SavePlan',
  'SeedResult',
  'Spec',
  'Spend',
  'Status',
  'SteeringRequest',
  'Trial',
  'TrialRequest',
  'Verb',
  'Verdict',
  'from_builtins',
  'from_json',
  'original_of',
  'test_metric',
  'to_builtins',
  'to_json',
]
