"""Tables that models write: how they are read, and how cells are compared.

The metrics of columns are those of WideSearch (2508.07999). Dates are read in
ISO form, or in any form with the package dateparser.
"""

import datetime
import re
import urllib.parse
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ttc.benchmarks import judges
from ttc.benchmarks.judges import JudgeFn
from ttc.tasks import numbers

Row = dict[str, str]
_FENCE = re.compile(r'```(?:markdown|md)\s*\n(.*?)(?:```|\Z)', re.DOTALL)
_NEAR_DAYS = 31
PREPROCESSORS = ('extract_number', 'norm_date', 'norm_str')


def column(name: str) -> str:
  """The name of a column without case and blanks."""
  return ''.join(name.lower().split())


def read_markdown(text: str) -> list[Row]:
  """Rows of the first table: of a fenced block, or else of lines with bars."""
  fenced = _FENCE.search(text)
  lines = (fenced[1] if fenced else text).splitlines()
  lines = [line.strip() for line in lines]
  first = next((i for i, x in enumerate(lines) if x.count('|') >= 2), None)
  if first is None:
    return []
  cells = []
  for line in lines[first:]:
    if '|' not in line:
      break
    parts = re.split(r'(?<!\\)\|', line.strip().strip('|'))
    cells.append([x.strip().replace('\\|', '|') for x in parts])
  head, *body = cells
  body = [
    row for row in body if not all(re.fullmatch(r':?-+:?', x) for x in row)
  ]
  names = [column(name) for name in head]
  if len(set(names)) < len(names):
    return []
  # A row that is too short was cut; one that is too long has a bar too many.
  return [
    dict(zip(names, row, strict=True)) for row in body if len(row) == len(names)
  ]


def unique(rows: Sequence[Row], keys: Sequence[str]) -> list[Row]:
  """The first row of each key."""
  found: dict[tuple[str, ...], Row] = {}
  for row in rows:
    found.setdefault(tuple(row[key] for key in keys), row)
  return list(found.values())


def prepare(rule: Mapping[str, Any], text: str) -> str:
  """A cell as its column's rule prepares it for comparison."""
  for name in rule.get('preprocess', []):
    if name == 'extract_number':
      number = re.search(r'-?\d[\d,]*\.?\d*\s*%?', text)
      text = number[0].replace(',', '').replace(' ', '') if number else text
    elif name == 'norm_str':
      text = ''.join(text.lower().split())
    elif name == 'norm_date':
      date = read_date(text)
      text = date.isoformat() if date else text
  return text.strip()


def score_cell(
  rule: Mapping[str, Any],
  gold: str,
  said: str,
  judge: JudgeFn,
  *,
  official: bool = False,
) -> float:
  """The score of a cell, 0 or 1: every metric of the rule must agree.

  Args:
    rule: {preprocess, metric, criterion} of the column.
    gold: the cell that is wanted.
    said: the cell of the response.
    judge: for `llm_judge`.
    official: two dates that cannot be read are near.
  """
  gold, said = prepare(rule, gold), prepare(rule, said)
  criterion = rule.get('criterion')
  for name in rule.get('metric', ['exact_match']):
    if name == 'llm_judge':
      near = judges.says(
        judges.ask(judge, cell_prompt(rule, gold, said)), 'yes'
      )
    elif name == 'date_near' and official and not _dates(gold, said):
      near = True
    else:
      near = METRICS[name](gold, said, criterion)
    if not near:
      return 0.0
  return 1.0


def cell_prompt(rule: Mapping[str, Any], gold: str, said: str) -> str:
  """Asks a judge whether two cells mean the same."""
  gold, said = prepare(rule, gold), prepare(rule, said)
  what = rule.get('criterion') or 'the cell'
  return (
    f'Do these two entries for "{what}" mean the same?\nReference: {gold}\n'
    f'Entry: {said}\nAnswer yes or no.'
  )


def read_date(text: str) -> datetime.date | None:
  """A date in ISO form, or in any form if dateparser is installed."""
  try:
    return datetime.date.fromisoformat(text.strip())
  except ValueError:
    pass  # in some other form
  try:
    import dateparser  # of the extra 'benchmarks'
  except ImportError:
    return None
  found = dateparser.parse(text)
  return found.date() if found else None


def _dates(*texts: str) -> list[datetime.date]:
  return [date for text in texts if (date := read_date(text)) is not None]


def _exact(gold: str, said: str, criterion: Any) -> bool:
  del criterion
  return gold.lower() == said.lower()


def _in(gold: str, said: str, criterion: Any) -> bool:
  """What was said is part of what is wanted."""
  del criterion
  return bool(said) and said.lower() in gold.lower()


def _url(gold: str, said: str, criterion: Any) -> bool:
  """The same set of hosts."""
  del criterion

  def hosts(text):
    links = re.findall(r'https?://[^\s,;|)\]]+', text)
    return {urllib.parse.urlsplit(link).netloc.lower() for link in links}

  return hosts(gold) == hosts(said) != set()


def _number_near(gold: str, said: str, criterion: Any) -> bool:
  """Within a share of what is wanted; percents are hundredths."""
  wanted, found = _value(gold), _value(said)
  if wanted is None and found is None:
    return gold == said
  if wanted is None or found is None:
    return False
  return abs(found - wanted) <= abs(wanted) * float(criterion or 0)


def _value(text: str) -> float | None:
  text = text.replace(' ', '')
  value = numbers.value(text.removesuffix('%'))
  if value is None:
    return None
  return float(value) / (100 if text.endswith('%') else 1)


def _date_near(gold: str, said: str, criterion: Any) -> bool:
  """At most 31 days apart; what is no date is near to what is the same."""
  del criterion
  found = _dates(gold, said)
  if len(found) < 2:
    return not found and gold == said
  return abs((found[0] - found[1]).days) <= _NEAR_DAYS


def _judged(gold: str, said: str, criterion: Any) -> bool:
  raise AssertionError('a judge is asked by `score_cell`')


METRICS: dict[str, Callable[[str, str, Any], bool]] = {
  'date_near': _date_near,
  'exact_match': _exact,
  'in_match': _in,
  'llm_judge': _judged,
  'number_near': _number_near,
  'url_match': _url,
}
