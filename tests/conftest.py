"""Puts this folder on the path, so that test files of the controller share one synthetic run.

Property tests are not timed: a machine that does other work is slow, and nothing else is.
"""

import pathlib
import sys

from hypothesis import HealthCheck, settings

sys.path.insert(0, str(pathlib.Path(__file__).parent))

settings.register_profile(
  'untimed',
  settings.get_profile(settings.get_current_profile_name()),
  deadline=None,
  suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile('untimed')
