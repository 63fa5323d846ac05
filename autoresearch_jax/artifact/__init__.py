"""The trial artifact: a traced program as plain data, StableHLO modules and a header. Untrusted.

Written by `tracer`; read by `tracer`, `executors` (the header alone) and `runner`. `header` is the
file format and imports no jax; `reader` checks artifacts, `graph` walks their modules, and
`fingerprint`, `matmuls` and `lapack` analyse them.

May import `types`, `config` and `programs.contract`.
"""
