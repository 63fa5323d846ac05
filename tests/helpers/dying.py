"""Deaths of a run in the test's own process, at a chosen step."""


class Killed(BaseException):
  """Stands for kill -9: nothing in the library catches it."""


class Dying:
  """Counts the steps that leave a trace and dies at one of them, before or after it is done."""

  def __init__(self, step, late):
    self.step, self.late, self.count = step, late, 0

  def around(self, function):
    def guarded(*arguments):
      self.count += 1
      now = self.count == self.step
      if now and not self.late:
        raise Killed
      result = function(*arguments)
      if now:
        raise Killed
      return result

    return guarded
