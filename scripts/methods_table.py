"""Prints the table of methods from what each declares and docs/compare.md.

python scripts/methods_table.py            # print it
python scripts/methods_table.py --write    # put it into README.md
"""

import pathlib

from absl import flags

from ttc.drivers import command
from ttc.drivers.methods_table import methods_table, replace_table
from ttc.io import files

_WRITE = flags.DEFINE_bool('write', False, 'Replace the table in README.md.')
_ROOT = pathlib.Path(__file__).resolve().parent.parent


def main():
  """Prints or writes the table."""
  compared = _ROOT / 'docs' / 'compare.md'
  table = methods_table(compared.read_text(encoding='utf-8'))
  readme = _ROOT / 'README.md'
  if _WRITE.value:
    text = replace_table(readme.read_text(encoding='utf-8'), table)
    files.write_atomically(readme, text)
  else:
    print(table, end='')


if __name__ == '__main__':
  command.run('methods_table', main, cache=False)
