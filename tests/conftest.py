"""Puts this folder on the path, so that test files of the controller share one synthetic run."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent))
