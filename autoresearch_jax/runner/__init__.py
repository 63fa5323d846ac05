"""The trusted process that owns the accelerator: compiles artifacts, trains, evaluates, reports.

`client` is the controller's side of it and imports no jax; everything else here may.
"""
