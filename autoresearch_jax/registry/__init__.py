"""Registries: the name of each part that a config can choose, the class behind it, its options.

`registry` has the class, `renamed` the former names of options. Imports nothing of this library.
"""

from autoresearch_jax.registry.registry import Registry, installed_versions

__all__ = ['Registry', 'installed_versions']
