"""Trial artifacts as plain data: StableHLO modules and a header, read with suspicion.

Written by `tracer`, read by `tracer`, `executors` and `runner`. May import `types`, `config`,
`messages` and `programs.contract`.
"""
