"""The shipped configs. `--config=NAME[:VARIANT]` calls `get_config(VARIANT)` of the module NAME."""
