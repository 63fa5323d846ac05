"""A copy of a run in a bucket, from which the run goes on when its machine is lost.

`data/bucket.py` is the bucket, `lease.py` says which controller may write to it, `snapshots.py` has
copies of the ledger, and `mirror.py` uploads in the background.
"""

from autoresearch_jax.mirror.lease import MirrorError
from autoresearch_jax.mirror.mirror import Mirror, NoMirror, open_mirror

__all__ = ['Mirror', 'MirrorError', 'NoMirror', 'open_mirror']
