"""Operations that programs may import: attention, cross-entropy, linear; fast on every platform.

Imports jax alone.
"""
