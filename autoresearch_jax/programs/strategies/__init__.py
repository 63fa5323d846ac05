"""Search strategies as programs: what the problem `meta` starts from, and the donors of its parts.

Each file is a whole strategy of the same skeleton: `init`, `ask` and `tell` keep the trials, and
the parts `opening`, `choose`, `fidelity` and `guidance` decide. So a part of one file works in any
other.
"""
