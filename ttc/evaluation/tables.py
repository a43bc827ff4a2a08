"""The one way a Markdown table is written."""

from collections.abc import Iterable, Sequence


def markdown_table(
  header: Sequence[str],
  rows: Iterable[Sequence[object]],
  *,
  num_left: int | None = None,
) -> list[str]:
  """Lines of a Markdown table.

  Args:
    header: a title for each column.
    rows: of cells, as many as columns; a vertical bar is escaped.
    num_left: columns that are aligned left, the others right; None for all.

  Returns:
    The lines, without line breaks.

  Raises:
    ValueError: if a row has another number of cells.
  """
  left = len(header) if num_left is None else num_left
  marks = ['---'] * left + ['---:'] * (len(header) - left)
  lines = [_line(header), _line(marks)]
  for row in rows:
    if len(row) != len(header):
      raise ValueError(f'{len(row)} cells in a table of {len(header)} columns')
    lines.append(_line(row))
  return lines


def _line(cells: Sequence[object]) -> str:
  texts = (str(x).replace('|', r'\|').replace('\n', ' ') for x in cells)
  return f'| {" | ".join(texts)} |'
