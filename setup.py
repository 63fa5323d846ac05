"""What pyproject.toml cannot say: configs/ is installed inside the package."""

from setuptools import find_namespace_packages, setup

setup(
  packages=[*find_namespace_packages(include=['autoresearch_jax*']), 'autoresearch_jax.configs'],
  package_dir={'autoresearch_jax.configs': 'configs'},
)
