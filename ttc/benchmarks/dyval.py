r"""DyVal: reasoning on graphs that are drawn anew for each test (2309.17167).

Zhu et al., "DyVal: Dynamic Evaluation of Large Language Models for Reasoning
Tasks". A directed acyclic graph is drawn, described in sentences, and its
answer computed: of trees whose inner nodes are operations (arithmetic, boolean
and deductive logic, the coefficients of two linear equations), and of plain
graphs (reachability, the path of the largest sum). An item is the harder the
deeper the tree, the more children, extra links and nodes that do not matter.
Sentences come in topological order, reversed, or at random.

The data are settings: a record {id, kind, depth, num_items, seed, ...} draws
that many items, so that a test set is a line and nobody can have seen it. The
graphs themselves are in `dyval_graphs`.
"""

import random
import re

from ttc.benchmarks import dyval_graphs
from ttc.benchmarks.benchmark import Benchmark, Verdict
from ttc.benchmarks.judges import JudgeFn
from ttc.benchmarks.schema import Field, Record, from_records
from ttc.tasks import Item, graders
from ttc.tasks.graders import reply

_MOST_LEAVES = 2048
ORDERS = ('topological', 'reversed', 'random')
SCHEMA = (
  Field('id'),
  Field('kind', allowed=dyval_graphs.KINDS),
  Field('depth', int),  # levels of a tree; a graph has twice as many nodes
  Field('num_items', int),
  Field('seed', int),
  Field('children', int, optional=True),  # 2
  Field('extra_links', int, optional=True),  # 0
  Field('distractors', int, optional=True),  # 0
  Field('order', allowed=ORDERS, optional=True),  # topological
)


def dyval() -> Benchmark:
  """Makes the benchmark."""
  return Benchmark(
    name='dyval',
    title='DyVal: Dynamic Evaluation of LLMs for Reasoning Tasks',
    paper='2309.17167',
    metric='accuracy',
    schema=SCHEMA,
    load=from_records(SCHEMA, draw_items),
    prompt=_prompt,
    grade=_grade,
    categories=lambda item: {
      'kind': item.meta['kind'],
      f'depth of {item.meta["kind"]}': str(item.meta['depth']),
      'order': item.meta['order'],
    },
  )


def draw_items(record: Record) -> list[Item]:
  """The items of one record of settings.

  Raises:
    ValueError: naming the field that is out of range.
  """
  for name, low, high in (
    ('depth', 2, 12),
    ('num_items', 1, 100_000),
    ('children', 1, 10),
    ('extra_links', 0, 100),
    ('distractors', 0, 100),
  ):
    value = record.get(name)
    if value is not None and not low <= value <= high:
      raise ValueError(f'field {name!r} is {value}; expected {low} to {high}')
  children = record.get('children') or 2
  if children ** (record['depth'] - 1) > _MOST_LEAVES:
    raise ValueError(
      f"field 'children' is {children}; expected at most {_MOST_LEAVES} leaves "
      f'at depth {record["depth"]}'
    )
  items = []
  for index in range(record['num_items']):
    rng = random.Random(f'dyval/{record["kind"]}/{record["seed"]}/{index}')
    problem = dyval_graphs.draw_problem(
      record['kind'],
      rng,
      record['depth'],
      children=children,
      extra_links=record.get('extra_links') or 0,
      distractors=record.get('distractors') or 0,
    )
    order = record.get('order') or 'topological'
    sentences = list(problem.sentences)
    if order == 'reversed':
      sentences.reverse()
    elif order == 'random':
      rng.shuffle(sentences)
    meta = {
      'kind': record['kind'],
      'depth': record['depth'],
      'order': order,
      'text': ' '.join(sentences),
    }
    items.append(
      Item(f'{record["id"]}/{index}', problem.question, problem.answer, meta)
    )
  return items


def _prompt(item: Item) -> str:
  return (
    f'{dyval_graphs.RULES[item.meta["kind"]]}\n\n{item.meta["text"]}\n\n'
    f'{item.question}\nEnd with "The answer is" and the answer.'
  )


def _grade(item: Item, completion: str, judge: JudgeFn) -> Verdict:
  del judge
  said = reply(completion)
  if item.meta['kind'] == 'linear':
    found = [re.findall(rf'\b{n}\s*=\s*(-?\d+)', said)[-1:] for n in 'xy']
    pairs = zip('xy', found, strict=True)
    answer = ', '.join(f'{n} = {v[0]}' for n, v in pairs if v)
  elif item.answer in ('True', 'False'):
    words = re.findall(r'\b(true|false)\b', said, re.IGNORECASE)
    answer = words[-1].capitalize() if words else ''
  elif 'N/A' in (item.answer, last := _last_answer(said)):
    answer = last
  else:
    grade = graders.numeric(item.answer, said)
    return Verdict(grade.score, grade.extracted, grade.detail)
  return Verdict(
    float(answer == item.answer), answer or None, item.meta['kind']
  )


def _last_answer(said: str) -> str:
  """What "the answer is" last, or else the last of all: N/A or a number."""
  *before, last = re.split(r'answer is\b', said)
  found = re.findall(r'\bN/A\b|(?<!\w)-?\d+', last)
  return ''.join(found[:1] if before else found[-1:])
