"""Configs: each file has `get_config(variant)`; start one with `--config=configs/NAME.py`."""
