"""README's table of methods, from what each declares and docs/compare.md."""

from ttc import evaluation, search, strategies

BEGIN, END = '<!-- methods -->\n', '<!-- /methods -->'
# The world in which every method has what it needs, and responses per problem.
WORLD, BUDGET = 'S3, model that thinks, revises and checks', '16'


def figures(text: str) -> dict[str, str]:
  """What each title reached: percent right, and tokens in brackets."""
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


def methods_table(compared: str) -> str:
  """The table in Markdown.

  Args:
    compared: text of docs/compare.md.

  Returns:
    A line for each method.
  """
  header = 'method, paper, file, generated tokens, what, how, where, how well'
  rows = []
  reached = figures(compared)
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
    rows.append(cells)
  lines = evaluation.markdown_table(header.split(', '), rows)
  return '\n'.join(lines) + '\n'


def replace_table(readme: str, table: str) -> str:
  """README with the table in its place."""
  before, rest = readme.split(BEGIN)
  _, after = rest.split(END)
  return before + BEGIN + table + END + after
