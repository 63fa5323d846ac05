"""The trusted process that owns the accelerator: compiles artifacts, trains, evaluates, reports.

`client` is the controller's side and imports no jax. `server` is the process it starts, which has a
`training_runner` or the runner of `kernels`.
`program_cache` loads and compiles artifacts (`hoist_constants`, `compile`) and prefetches those of
later trials; `train` trains under the budget (`clock`), prunes at rungs (`pruning`), and `evaluate`
computes the metrics. `devices` describes the hardware.

May import `types`, `config`, `clock`, `data`, `problems.verifiers`, `programs.contract` and
`artifact`.
"""
