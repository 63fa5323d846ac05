"""One run of research: built from a config, begun or resumed, and driven to its end.

May import every package but `cli`, `benchmark` and `measure`.
"""
