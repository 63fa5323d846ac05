"""A history for prompts: the real GPT program, edited by hand, with results of every kind."""

from autoresearch_jax import types
from autoresearch_jax.knowledge import Memory, Question
from autoresearch_jax.programs.start import PROGRAMS
from autoresearch_jax.proposers import ProposalContext
from autoresearch_jax.types import Decision, Operation, Status

OBJECTIVE = types.Objective('val_bpb', 'minimize')
SPEC = types.Spec(
  'language_model', 'gpu', 1, types.Budget(300.0), vocab_size=8192, sequence_length=2048
)
FACTS = {
  'device': 'NVIDIA H100 80GB HBM3',
  'num_devices': 1,
  'memory_bytes': 80 * 2**30,
  'batch_size': 256,
  'parameters': 50_300_000,
  'state_bytes': 3 * 2**28,
  'matmul_dtypes': {'bfloat16': 9e12, 'float32': 1e12},
}
COST = types.Cost(
  training_seconds=300.0,
  steps=953,
  tokens=499_646_464,
  flops=953 * 1.6e14,
  mfu_percent=39.8,
  peak_bytes=44 * 2**30,
  parameters=50_300_000,
)


def gpt(**constants):
  """The starting GPT with other values of its constants."""
  lines = (PROGRAMS / 'gpt' / 'model.py').read_text().splitlines()
  for name, value in constants.items():
    (at,) = (i for i, line in enumerate(lines) if line.startswith(f'{name} = '))
    lines[at] = f'{name} = {value}'
  return types.Program((('model.py', '\n'.join(lines) + '\n'),), 'model.py')


def trial(
  number,
  program,
  *values,
  parents=(0,),
  operation=Operation.IMPROVE,
  status=Status.OK,
  reason='',
  description='',
  hypothesis=None,
  keep=False,
  fidelity=1.0,
  role='',
  duplicate_of=None,
  cost=COST,
  context=(),
):
  measured = tuple(
    types.Measurement(i, {'val_bpb': v}, cost) for i, v in enumerate(values, 10 * number)
  )
  return types.Trial(
    number,
    types.Proposal(operation, parents, context=context, fidelity=fidelity),
    types.Edit(program, description, hypothesis or types.Hypothesis(''), role=role),
    types.Result(
      number, status, reason, duplicate_of=duplicate_of, measurements=measured, facts=dict(FACTS)
    ),
    types.Verdict(Decision.KEEP if keep else Decision.DISCARD, ''),
  )


def night():
  """Eight trials of a night: kept, discarded, replicated, refused, diverged, a duplicate."""
  deeper = types.Hypothesis(
    'A deeper model learns more from each token.', ('depth',), -0.001, 0.003
  )
  faster = types.Hypothesis('Matrices can take larger steps.', ('optimizer',), 0.002, 0.002)
  return {
    each.id: each
    for each in (
      trial(0, gpt(), 0.9979, 0.9985, 0.9973, parents=(), operation=Operation.DRAFT, keep=True),
      trial(
        *(1, gpt(MATRIX_LR=0.06), 0.9951),
        description='raise MATRIX_LR 0.04 -> 0.06',
        hypothesis=faster,
        role='tuner',
      ),
      trial(2, gpt(MATRIX_LR=0.06), 0.9949, parents=(1,), operation=Operation.REPLICATE, keep=True),
      trial(
        *(3, gpt(DEPTH=12), 1.0132),
        description='DEPTH 8 -> 12',
        hypothesis=deeper,
        role='architect',
      ),
      trial(
        *(4, gpt(MICRO_BATCH_SIZE=256, MATRIX_LR=0.06)),
        parents=(1,),
        status=Status.OOM,
        reason='It needs 91.2 GiB on a device of 79.2 GiB; make the model or the batch smaller.',
        description='no micro-batches',
      ),
      trial(
        *(5, gpt(MATRIX_LR=0.3)),
        status=Status.DIVERGED,
        reason='The loss was nan at step 41.',
        description='MATRIX_LR 0.04 -> 0.3',
      ),
      trial(
        *(6, gpt(MATRIX_LR=0.06, WARMUP_RATIO=0.0)),
        parents=(1,),
        status=Status.DUPLICATE,
        reason='This change has no effect on the program.',
        duplicate_of=1,
        description='WARMUP_RATIO 0 -> 0.0',
      ),
      trial(
        *(7, gpt(MATRIX_LR=0.06, WARMDOWN_RATIO=0.7), 0.9938),
        parents=(1,),
        keep=True,
        description='WARMDOWN_RATIO 0.5 -> 0.7',
        role='optimizer_specialist',
      ),
    )
  }


class Notebook(Memory):
  """A memory that says what it is given, and remembers what it was searched for."""

  def __init__(self, said=(), found=()):
    super().__init__({}, OBJECTIVE)
    self.said, self.found, self.queries = said, found, []

  def lessons(self):
    return self.said

  def search(self, query, limit=5):
    self.queries.append(query)
    return self.found[:limit]


LESSONS = (
  types.Lesson('MATRIX_LR above 0.06 gains nothing.', (1, 5), ('MATRIX_LR',), -0.01, 0.002, 'm'),
  types.Lesson('Depth costs more steps than it is worth here.', (3,), ('DEPTH',), author='m'),
)


def context(history=None, parents=None, **changed):
  history = night() if history is None else history
  return ProposalContext(
    **{
      'parents': parents or (gpt(MATRIX_LR=0.06, WARMDOWN_RATIO=0.7),),
      'history': history,
      'editable': ('model.py',),
      'objective': OBJECTIVE,
      'spec': SPEC,
      'kept': dict.fromkeys((0, 1, 7)).keys(),
      'memory': Notebook(said=LESSONS),
      'questions': (Question('Is a longer way down still better at 0.9?', ('WARMDOWN_RATIO up',)),),
      **changed,
    }
  )
