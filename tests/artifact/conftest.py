"""The shared tracer and small program, see `helpers/traced.py`."""

from helpers.traced import *  # noqa: F403 - fixtures
