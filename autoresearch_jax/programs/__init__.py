"""Programs: the starting ones, a folder each, and what reads and edits program text.

A program's folder holds `model.py`, which is edited and therefore only read as text, and
`edits.py`, its structural edits for the proposer `mutate`. May import `types`, `config` and
`messages`; the `model.py` files import jax and `ops`, and only the tracer imports them.
"""
