"""A small GPT in the setting of karpathy/autoresearch: bits per byte after a fixed training time.

  python -m autoresearch_jax.main --config=configs/gpt_small.py            # auto
  python -m autoresearch_jax.main --config=configs/gpt_small.py:cpu

Variants: `cpu`, `gpu`, `tpu`; `auto` (default) is the platform that JAX finds. gpu and tpu are the
original's setting: depth 8, 2048 tokens, 300 s, ClimbMix, vocabulary 8192. cpu is a smaller one.

Source: https://github.com/karpathy/autoresearch (2026).
Data: gpu and tpu need `autoresearch prepare` first. cpu uses the text that ships with Python, so
its scores are only comparable for one version of Python.
Hardware: cpu two cores; gpu an H100 (80 GB); tpu a v6e or v5e.
Time: a trial takes 12 s (cpu) or 300 s (gpu, tpu) of training, plus compilation and evaluation.

Any field can be set on the command line, also options that are not listed here:
`--config.budget.amount=30`, `--config.search.options.context_size=10`.
"""

from ml_collections import ConfigDict

from autoresearch_jax.executors import probe


def get_config(variant: str = 'auto') -> ConfigDict:  # noqa: PLR0915 - one statement per field
  """Returns the config of a run; the module's docstring describes the variants."""
  variant = probe.platform() if variant in ('auto', '') else variant
  if variant not in ('cpu', 'gpu', 'tpu'):
    raise ValueError(f'There is no variant {variant!r}; there are: auto, cpu, gpu, tpu.')
  cpu = variant == 'cpu'
  c = ConfigDict()

  c.name = f'gpt_small_{variant}'  # names the folder runs/NAME and the branch autoresearch/NAME
  c.platform = variant  # asserted: a run never silently falls back to another platform
  c.seed = 0  # root seed of the search; the training seeds are part of each proposal

  # Objective.
  c.metric = 'val_bpb'  # bits per byte on the validation split; or val_loss, nats per token
  # Bounds on metrics and costs, such as {'parameters': '<= 1_000_000'}; others are not kept.
  c.constraints = ConfigDict()

  # Program.
  c.program = 'gpt'  # a folder in autoresearch_jax/programs, or a path to one
  c.entry = 'model.py'  # the file that defines init, train_step and predict
  c.editable = ('model.py',)  # files that a proposer may change
  c.constants = ConfigDict()  # values that replace the program's ALL_CAPS constants
  if cpu:
    # The best of six sizes after 12 s on two cores: width 128, 0.8 M parameters.
    c.constants.DEPTH = 2  # transformer blocks
    c.constants.ASPECT_RATIO = 64  # width = DEPTH * ASPECT_RATIO
    c.constants.HEAD_DIM = 64
    c.constants.BATCH_SIZE = 8  # sequences per train step
  else:
    # Sequences per micro-batch (gradient accumulation), which determines the memory. By
    # `autoresearch measure memory`, 128 need 42 GB on an H100 (of 80 GB, 74 are available to a
    # program; use less on a smaller GPU). On a TPU, the activations of 4 stay in fast memory: by
    # XLA's estimate, a block takes 0.62 of the time of 16.
    c.constants.MICRO_BATCH_SIZE = 128 if variant == 'gpu' else 4

  # Training budget of a trial; compilation does not count.
  c.budget = ConfigDict()
  c.budget.amount = 12.0 if cpu else 300.0  # in the unit below
  c.budget.unit = 'seconds'  # or steps, tokens, flops (a loop of unknown length counts once)
  # How seconds are counted. calibrated: longer while other processes use the machine or its cores
  # are slow, so that a trial gets the same work done at any hour; wall: by the wall clock; auto:
  # calibrated, unless the run began with the wall clock. `autoresearch measure drift` compares.
  c.budget.clock = 'auto'

  # Data: options of the problem.
  c.problem = 'language_model'
  c.data = ConfigDict()
  c.data.corpus = 'python' if cpu else 'climbmix'  # python: the text that ships with Python
  c.data.vocab_size = 1024 if cpu else 8192  # byte-pair tokens, including the four special ones
  c.data.sequence_length = 256 if cpu else 2048  # tokens per row
  c.data.validation_tokens = 2**14 if cpu else 40 * 2**19  # scored after each training run
  c.data.test_tokens = 2**15 if cpu else 10 * 2**19  # scored in the final evaluation only
  c.data.evaluation_batch = 16 if cpu else 32  # rows per call of predict
  c.data.shards = 10  # training shards of climbmix

  # Search strategy. Of the strategies for arbitrary edits, tree has the lowest mean regret over the
  # 11 problems of the leaderboard (scripts/studies/leaderboard): 0.39, greedy 0.43, best_of_n 0.52,
  # random 0.81 (1 is the starting program, 0 the optimum). `speculative` wraps tree: the next trial
  # is proposed and traced while another one trains, and rebased if that one is kept.
  c.search = ConfigDict()
  c.search.strategy = 'speculative'  # wraps tree, which is AIDE's; greedy is the original's
  c.search.options = ConfigDict()  # speculative: inner, inner_options
  c.search.max_trials = 0  # trials, including the baseline; 0: until stopped
  c.search.prefetch = 1  # trials prepared while others run; 0: none, as in the original

  # Proposer. `auto` is gemini or openai if GEMINI_API_KEY, GOOGLE_API_KEY or OPENAI_API_KEY is set,
  # and else mutate (random edits of constants and structure, offline); the first line of the output
  # says which. Others: agent (the command of a coding agent), replay (another run's edits).
  c.proposer = 'auto'
  c.proposer_options = ConfigDict()  # gemini: models, roles, max_dollars, ...; mutate: learn, ...

  # What proposers are told about the run so far.
  c.knowledge = ConfigDict()
  c.knowledge.memory = True  # earlier hypotheses, their outcomes, and lessons
  c.knowledge.planner = False  # the most informative experiments; no benefit was measured
  c.knowledge.duplicate_tolerance = 0.02  # relative difference of floats in near-duplicates

  # Edits of other runs that are tried here (docs/proposers.md).
  c.findings = ConfigDict()
  c.findings.stores = ()  # addresses of stores, such as '../shared'; none: no edits of others
  c.findings.share = 0.25  # largest share of the new programs
  c.findings.refresh_seconds = 600.0  # how often the stores are read again
  c.findings.claim = False  # tell other runs through the stores which edit is being tried

  # Acceptance rule. `paired` runs promising programs and the incumbent in turns until a sequential
  # test decides, so that a machine whose speed changes does not. Of runs with 100 edits without
  # effect, 1 % have a false keep, with noise 31 %, with strict 99 % (docs/acceptance.md). Tree
  # meanwhile builds on the best score. `sequential` is the same without turns: 10 runs instead of
  # 15 for a gain of three seed standard deviations.
  c.acceptance = 'paired'  # or sequential, noise; or strict, the original's: any gain is kept
  c.acceptance_options = ConfigDict()  # paired: alpha, horizon, looks, control_interval, ...
  c.acceptance_options.baseline_seeds = 5  # training runs of the baseline
  # Gains below so many seed standard deviations end a test, so that more programs are tried. By
  # scripts/studies/acceptance/min_gain.py; the rule's own default 0.6 finds small gains more often.
  c.acceptance_options.min_gain = 1.0

  # Whether to stop trials that are too far behind to be kept, once there are 16 programs. On
  # recorded curves of a smaller cpu variant this saves half of the training of random edits and
  # missed none of 189 keeps (of 14 programs); it saves little if most edits have small effects
  # (scripts/studies/pruning/pruning.md). It costs 4 batches of predict per training run, outside of
  # the budget.
  c.pruning = True  # set False for strategies that build on worse programs, such as restarts

  c.executor = 'local'  # on this machine
  c.executor_options = ConfigDict()
  # Concurrent trials. 1: one trial uses all devices; 0: one trial per device; else the trials share
  # the devices, or on a CPU the cores. This affects how much a trial trains, so it cannot change
  # within a run. On several GPUs, one trial each: sharing a batch was not measured there yet.
  c.executor_options.slots = 0 if variant == 'gpu' else 1
  # Whether to compile the next program during training. On a TPU this uses the idle host; on a CPU
  # it would take cores from training, and on a GPU autotuning would use the device.
  c.executor_options.compile_ahead = variant == 'tpu'

  # Training runs per program in the final evaluation, which compares best and baseline on unused
  # seeds and on the test split when the run ends or is stopped by Ctrl-C: 2 minutes on cpu, 30
  # elsewhere. The half width of the gain's 95 % interval is 9 standard deviations of the paired
  # difference with 2 seeds, 2.5 with 3, 1.6 with 4. A second Ctrl-C skips it; 0: none.
  c.final_seeds = 4 if cpu else 3

  # Limits on a candidate; exceeding one ends the trial. `autoresearch run --help` lists all.
  c.limits = ConfigDict()
  c.limits.isolation = 'full'  # required of the sandbox: full, limits or none
  c.limits.trace_seconds = 60.0  # wall-clock time of a trace
  # Time of a compilation, by the wall clock, or in CPU time if that takes longer. By estimate the
  # step of the tpu variant takes 175 s (v5e) to 350 s (v6e) of a slow CPU.
  c.limits.compile_seconds = 900.0 if variant == 'tpu' else 300.0
  c.limits.step_seconds = 60.0  # longest time without a message: one step, or a batch of predict
  c.limits.max_loss = 100.0  # training loss above which, or if NaN, the trial has diverged
  return c.lock()
