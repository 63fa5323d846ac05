"""The original's research on a small GPT: bits per byte after a fixed training time.

  python -m autoresearch_jax.main --config=configs/gpt_small.py            # this machine's best
  python -m autoresearch_jax.main --config=configs/gpt_small.py:cpu

Variants: `cpu`, `gpu`, `tpu`; `auto` (default) asks JAX in a short process. gpu and tpu are the
setting of karpathy/autoresearch: depth 8, 2048 tokens, 300 s, ClimbMix, vocabulary 8192; they
need `python -m autoresearch_jax.data.prepare` first. cpu is sized for two cores and needs no
download: its corpus is the text that ships with Python, so its scores compare on one Python only.

Any field can be set on the command line, `--config.budget.amount=30`, and so can options that are
not listed here: `--config.search.options.context_size=10`, `--config.limits.step_seconds=300`.
"""

from ml_collections import ConfigDict

from autoresearch_jax.executors import probe


def get_config(variant: str = 'auto') -> ConfigDict:  # noqa: PLR0915 - a statement a setting
  """The whole run in plain sight; see the module's docstring for variants."""
  variant = probe.platform() if variant in ('auto', '') else variant
  if variant not in ('cpu', 'gpu', 'tpu'):
    raise ValueError(f'There is no variant {variant!r}; there are: auto, cpu, gpu, tpu.')
  cpu = variant == 'cpu'
  c = ConfigDict()

  c.name = (
    f'gpt_small_{variant}'  # of the run: its folder below runs/, its branch autoresearch/NAME
  )
  c.platform = variant  # asserted: a run never falls back to another platform in silence
  c.seed = 0  # root of all randomness of the search; a trial's training seeds are the proposal's

  # What is optimised.
  c.metric = (
    'val_bpb'  # bits per byte on a validation slice that only the runner opens; or val_loss
  )
  c.direction = 'minimize'  # or maximize

  # What is edited.
  c.program = 'gpt'  # a folder in autoresearch_jax/programs, or a path to one
  c.entry = 'model.py'  # the file that defines init, train_step and predict
  c.editable = ('model.py',)  # files a proposer may change
  c.constants = ConfigDict()  # ALL_CAPS constants of the program that start with another value
  if cpu:
    # The best of six sizes after 12 s on two cores: width 128, 0.8 M parameters.
    c.constants.DEPTH = 2  # transformer blocks
    c.constants.ASPECT_RATIO = 64  # width = DEPTH * ASPECT_RATIO
    c.constants.HEAD_DIM = 64
    c.constants.BATCH_SIZE = 8  # sequences a train step
  else:
    # Sequences in one pass of a device, which decide its memory; XLA's figures for each chip, by
    # autoresearch_jax/measure/memory.py: 128 take 42 GB on an H100 (of its 80, 74 are a program's;
    # less fits a smaller GPU), 16 take 8 GB on a TPU v6e, 32 take 14 of the 16 GB of a v5e. A batch
    # is made of as many passes as it takes.
    c.constants.MICRO_BATCH_SIZE = 128 if variant == 'gpu' else 16

  # How long a trial trains: counted training time; compilation is never part of it.
  c.budget = ConfigDict()
  c.budget.amount = 12.0 if cpu else 300.0  # in the unit below
  c.budget.unit = 'seconds'  # steps, tokens, flops: loops of unknown length count as one round

  # Data: options of the problem.
  c.problem = 'language_model'  # a name in problems/
  c.data = ConfigDict()
  c.data.corpus = 'python' if cpu else 'climbmix'  # python: the text that ships with Python
  c.data.vocab_size = 1024 if cpu else 8192  # byte-pair tokens, the four special ones included
  c.data.sequence_length = 256 if cpu else 2048  # tokens a row
  c.data.validation_tokens = 2**14 if cpu else 40 * 2**19  # targets scored after each training
  c.data.test_tokens = 2**15 if cpu else 10 * 2**19  # scored at the end alone, see final_seeds
  c.data.evaluation_batch = 16 if cpu else 32  # rows in one call of predict
  c.data.shards = 10  # training shards of climbmix that are used; python has none

  # How the next thing to try is chosen. Of the strategies that take any edit, tree has the lowest
  # regret on the leaderboard (scripts/studies/leaderboard), as a mean over runs of 11
  # problems: 0.39, greedy 0.43, best_of_n 0.52, random 0.81 (the start: 1, the optimum: 0).
  # Speculative: tree, whose next trial is written and traced while one trains, and moved onto the
  # new parent where that one is kept.
  c.search = ConfigDict()
  c.search.strategy = 'speculative'  # around tree, AIDE's; greedy: the original's
  c.search.options = ConfigDict()  # of the strategy; speculative: inner, inner_options
  c.search.max_trials = 0  # the baseline included; 0: until stopped
  c.search.prefetch = 1  # trials prepared while others run; 0: none, as in the original

  # Who writes the edits. auto: gemini where GEMINI_API_KEY or GOOGLE_API_KEY is set, else mutate,
  # random edits of constants and structure without a key; the first line of the run says which.
  # Others: agent (any coding agent's command), replay (another run's edits).
  c.proposer = 'auto'
  c.proposer_options = ConfigDict()  # gemini: models, roles, max_dollars, ...; mutate: learn, ...

  # What proposers are told of the run so far.
  c.knowledge = ConfigDict(
    {
      'memory': True,  # what each edit was expected to do and did, and lessons from that
      'planner': False,  # what would be worth knowing; not shown to pay
      'duplicate_tolerance': 0.02,  # programs whose floats differ by less are duplicates
    }
  )

  # What counts as better. Sequential replicates what looks better until a test is sure: of nights
  # with 100 edits without effect 2 % have a false keep, with noise 31 %, with strict 99 %. On the
  # leaderboard that costs runs: a final regret of 0.20 instead of strict's 0.09, whose keeps are
  # false one time in five. Under tree, the search goes on from the best score meanwhile.
  c.acceptance = 'sequential'  # or noise; or strict, the original's: any better score is kept
  c.acceptance_options = ConfigDict()  # of the rule; sequential: alpha, horizon, looks, ...
  c.acceptance_options.baseline_seeds = 5  # training runs of the unmodified program at the start

  # Ends a training that is too far behind to be kept, at equal progress with the programs before
  # it, once 16 are known. Over recorded curves of a smaller cpu variant that saves half of the
  # training of random edits and missed none of 189 keeps (of 14 programs); where most edits
  # change little it saves little (scripts/studies/pruning/pruning.md). Each
  # training to the end pays for it with 4 batches of predict, outside of its budget.
  c.pruning = True  # False for strategies that climb from below the best, such as restarts

  c.executor = 'local'  # on this machine
  c.executor_options = ConfigDict()
  # Trials at once. 1: each has all devices; 0: each has one device; else so many share the devices,
  # on a CPU the cores. A trial then trains on less, so a run keeps the number it began with. GPUs
  # have a trial each: in one that has several, each of them would compute all of cuDNN's attention.
  c.executor_options.slots = 0 if variant == 'gpu' else 1
  # Whether the next program is compiled while one trains. On a TPU the host does that; on a CPU it
  # takes the training's cores; on a GPU the compiler tries kernels out on the device.
  c.executor_options.compile_ahead = variant == 'tpu'

  # At the end (a Ctrl-C is one) best and baseline are trained again, on so many seeds each that no
  # trial had, and scored on text that the search never saw: 2 minutes on cpu, 30 elsewhere. The
  # gain's 95 % interval is 9 deviations of a pair's gain to each side with 2 seeds, 2.5 with 3, 1.6
  # with 4. A second Ctrl-C leaves it out; 0: none.
  c.final_seeds = 4 if cpu else 3

  # What a candidate may use; passing one ends the trial with a sentence. All: config.Limits.
  c.limits = ConfigDict()
  c.limits.isolation = 'full'  # full, limits or none: what the sandbox must achieve
  c.limits.trace_seconds = 60.0  # wall clock of one trace
  c.limits.compile_seconds = 300.0  # wall clock of one compilation
  c.limits.step_seconds = 60.0  # longest silence of the runner: a step, or a batch of predict
  c.limits.max_loss = 100.0  # fail at once when the training loss is NaN or above
  return c.lock()
