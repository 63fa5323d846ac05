"""The sandboxed process in which candidate Python runs, and only here: it exports programs.

`client` is the controller's side of it and imports no jax.
"""
