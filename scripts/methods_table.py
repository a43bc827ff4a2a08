"""Prints the table of methods from what each of them declares.

python scripts/methods_table.py            # print it
python scripts/methods_table.py --write    # put it into README.md
"""

import pathlib
import sys

from absl import app, flags

from ttc import search, strategies

_WRITE = flags.DEFINE_bool('write', False, 'Replace the table in README.md.')
_BEGIN, _END = '<!-- methods -->\n', '<!-- /methods -->'
README = pathlib.Path(__file__).parent.parent / 'README.md'


def table() -> str:
  """The table in Markdown."""
  lines = [
    '| method | paper | file | generated tokens | what | how |',
    '| --- | --- | --- | --- | --- | --- |',
  ]
  for method in (*search.METHODS, *strategies.METHODS):
    lines.append(
      f'| `{method.name}` | [{method.paper}](https://arxiv.org/abs/'
      f'{method.paper}) | [{method.file}](ttc/{method.file}) | '
      f'`{method.cost}` | {method.what} | {", ".join(method.how)} |'
    )
  return '\n'.join(lines) + '\n'


def main(argv):
  """Prints or writes the table."""
  if len(argv) > 1:
    sys.exit(f'methods_table: unexpected argument {argv[1]!r}')
  if not _WRITE.value:
    print(table(), end='')
    return
  text = README.read_text(encoding='utf-8')
  before, rest = text.split(_BEGIN)
  _, after = rest.split(_END)
  README.write_text(before + _BEGIN + table() + _END + after, encoding='utf-8')


if __name__ == '__main__':
  app.run(main)
