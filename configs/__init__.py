"""The shipped configs: `--config=NAME[:VARIANT]` is what `get_config(VARIANT)` of NAME returns."""
