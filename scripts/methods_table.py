"""Prints the table of methods from what each declares and docs/compare.md.

python scripts/methods_table.py            # print it
python scripts/methods_table.py --write    # put it into README.md
"""

import pathlib
import sys

from absl import app, flags

from ttc import search, strategies

_WRITE = flags.DEFINE_bool('write', False, 'Replace the table in README.md.')
_BEGIN, _END = '<!-- methods -->\n', '<!-- /methods -->'
_ROOT = pathlib.Path(__file__).parent.parent
README, COMPARED = _ROOT / 'README.md', _ROOT / 'docs' / 'compare.md'
# The world in which every method has what it needs, and responses per problem.
WORLD, BUDGET = 'S3, model that thinks, revises and checks', '16'


def figures() -> dict[str, str]:
  """What each title reached: percent right, and tokens in brackets."""
  text = COMPARED.read_text(encoding='utf-8')
  section = text.split(f'## {WORLD}\n')[1].split('\n## ')[0]
  lines = [line for line in section.splitlines() if line.startswith('|')]
  header, _, *rows = [[x.strip() for x in s.split('|')[1:-1]] for s in lines]
  column = header.index(BUDGET)
  # "92.9 [91.5, 94.4] (144)" without its interval.
  short = lambda cell: f'{cell.split(" [")[0]} {cell.split("] ")[1]}'
  return {row[0]: short(row[column]) for row in rows if row[column]}


def where(method: search.Method) -> str:
  """What it runs on, in words."""
  if method.needs:
    return f'a policy with `{method.needs}`'
  if method.select or method.decode:
    return 'any policy'
  return 'worlds of its own'


def table() -> str:
  """The table in Markdown."""
  header = 'method, paper, file, generated tokens, what, how, where, how well'
  row = lambda cells: f'| {" | ".join(cells)} |'
  lines = [row(header.split(', ')), row(['---'] * 8)]
  reached = figures()
  for method in (*search.METHODS, *strategies.METHODS):
    cells = (
      f'`{method.name}`',
      f'[{method.paper}](https://arxiv.org/abs/{method.paper})',
      f'[{method.file}](ttc/{method.file})',
      f'`{method.cost}`',
      method.what,
      ', '.join(method.how),
      where(method),
      reached.get(method.title, ''),
    )
    lines.append(row(cells))
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
