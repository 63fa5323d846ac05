"""The kernel that computes cross-entropies over a large vocabulary."""
