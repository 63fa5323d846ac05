"""What tests share: small programs, datasets, synthetic runs, processes. No tests in here."""

import pathlib

HELPERS = pathlib.Path(__file__).resolve().parent
TESTS = HELPERS.parent
ROOT = TESTS.parent
