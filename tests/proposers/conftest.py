"""Puts this folder on the path, so that the test files share one loopback server."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent))
