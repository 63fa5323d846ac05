"""The names in a registry that are the library's own: tests register some of theirs too."""


def ours(registry):
  def is_ours(name):
    return registry.get(name).__module__.startswith('autoresearch_jax.')

  return {name for name in registry.names() if is_ours(name)}
