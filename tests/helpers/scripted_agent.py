"""A coding agent for tests: sets one constant of model.py to a number drawn by its seed.

It needs no library but the standard one, and reads its task before it does anything.
"""

import os
import pathlib
import random
import re
import sys


def main():
  task = sys.stdin.read()
  draw = random.Random(int(os.environ['AUTORESEARCH_SEED']))
  path = pathlib.Path('model.py')
  text = path.read_text()
  constants = [c for c in re.findall(r'^([A-Z_]+) = ([0-9.]+)', text, re.MULTILINE) if float(c[1])]
  if '`model.py`' not in task or not constants:
    return
  name, value = draw.choice([c for c in constants if '.' in c[1]] or constants)
  new = round(float(value) * draw.uniform(0.5, 2.0), 9)
  path.write_text(text.replace(f'{name} = {value}', f'{name} = {new}', 1))
  print('set', name, 'to', new)


if __name__ == '__main__':
  main()
