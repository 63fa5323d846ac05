"""Lets processes that tests start import `helpers`, and takes time limits off property tests.

Property tests are not timed: a machine that does other work is slow, and nothing else is.
"""

import os
import pathlib

from hypothesis import HealthCheck, settings

os.environ['PYTHONPATH'] = os.pathsep.join(
  filter(None, [str(pathlib.Path(__file__).parent), os.environ.get('PYTHONPATH')])
)

settings.register_profile(
  'untimed',
  settings.get_profile(settings.get_current_profile_name()),
  deadline=None,
  suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile('untimed')
