"""Corpora, tokenizer, packing, batches, and the prepare command. No jax."""
