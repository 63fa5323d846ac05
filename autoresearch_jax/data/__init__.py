"""Training data: corpora, tokenizer, packing, the cache of prepared data, and a batch loader.

May import `types`, `messages` and `clock`; no jax, except by grain when training batches are read.
"""
