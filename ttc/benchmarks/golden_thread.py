r"""Spinning the Golden Thread: long texts to instructions (2409.02076).

Wu et al., "LongGenBench". A text of many blocks, a week or a floor each, must
have an event in one block, in a range of blocks, or in every so-manieth. Output
is split at `#*#`; a block is known by its first "Week 7".

- completion rate CR: the share of blocks 1..n that are there, in percent;
- STIC-1: mean over the kinds of check of the accuracy on blocks that are there;
- STIC-2: the same, blocks that are not there failing;
- wAvg: CR times STIC-2 (from memory).

A kind of which no check can be made counts 0 in the released scorer; by default
it does not count. The judge is asked once for each check; `golden_thread_match`
looks for the event's words instead.
"""

import hashlib
import re
from collections.abc import Sequence

from ttc.benchmarks import judges
from ttc.benchmarks.benchmark import Benchmark, Verdict
from ttc.benchmarks.judges import JudgeFn
from ttc.benchmarks.schema import Field, Record, from_records
from ttc.benchmarks.text_overlap import normalize
from ttc.tasks import Item
from ttc.tasks.graders import reply

KINDS = ('checks_once', 'checks_range', 'checks_periodic')
SCHEMA = (
  Field('prompt'),
  Field('type', allowed=('Week', 'Floor', 'Block', 'Menu Week')),
  Field('number', int),
  *(Field(name, dict, of=str) for name in KINDS),
)


def golden_thread(*, official: bool = False) -> Benchmark:
  """Makes the benchmark with a judge.

  Args:
    official: a kind without checks counts 0; any reply with "yes" agrees.
  """
  return _benchmark('golden_thread', ask_judge, official)


def golden_thread_match(*, official: bool = False) -> Benchmark:
  """Makes the benchmark that looks for words; see `golden_thread`."""
  return _benchmark('golden_thread_match', match_words, official)


def _benchmark(name, check, official) -> Benchmark:
  return Benchmark(
    name=name,
    title='Spinning the Golden Thread: Benchmarking Long-Form Generation',
    paper='2409.02076',
    metric='wAvg',
    schema=SCHEMA,
    load=from_records(SCHEMA, _to_item),
    prompt=lambda item: item.question,
    grade=lambda item, completion, judge: _grade(
      item, completion, judge, check, official
    ),
    categories=lambda item: {'type': item.meta['type']},
    max_new_tokens=16384,
    grades_cut=True,  # a text that ends early has fewer blocks
  )


def split_blocks(completion: str, kind: str) -> dict[int, str]:
  """Blocks by number; of two with one number the first."""
  blocks: dict[int, str] = {}
  for part in completion.split('#*#'):
    match = re.search(rf'{re.escape(kind)} (\d+)', part)
    if match:
      blocks.setdefault(int(match[1]), part)
  return blocks


def ask_judge(
  pairs: Sequence[tuple[str, str]], judge: JudgeFn, official: bool
) -> list[bool]:
  """Whether each (block, event) has its event, as a judge says."""
  prompts = [
    f'Text:\n{block}\n\nDoes this text include: {event}? Answer yes or no.'
    for block, event in pairs
  ]
  said = [row[0] for row in judge(prompts)] if prompts else []
  if official:
    return ['yes' in x.lower() for x in said]
  return [judges.says(x, 'yes') for x in said]


def match_words(
  pairs: Sequence[tuple[str, str]], judge: JudgeFn, official: bool
) -> list[bool]:
  """Whether the normalised event is in the normalised block."""
  del judge, official
  return [
    f' {normalize(event)} ' in f' {normalize(block)} ' for block, event in pairs
  ]


def _to_item(record: Record) -> Item:
  number = record['number']
  if number < 1:
    raise ValueError(f"field 'number' is {number}; expected at least 1")
  for name in KINDS:
    for block in record[name]:
      if not block.isdigit() or not 1 <= int(block) <= number:
        raise ValueError(
          f'field {name!r} has a check of block {block!r}; expected one of 1 '
          f'to {number}'
        )
  meta = {'type': record['type'], 'number': number}
  meta |= {
    name: {int(k): event for k, event in record[name].items()} for name in KINDS
  }
  digest = hashlib.sha256(record['prompt'].encode()).hexdigest()[:12]
  return Item(f'{record["type"]}/{digest}', record['prompt'], '', meta)


def _grade(item, completion, judge, check, official) -> Verdict:
  number = item.meta['number']
  blocks = split_blocks(reply(completion), item.meta['type'])
  rate = len(set(blocks) & set(range(1, number + 1))) / number
  checks = [
    (kind, block, event)
    for kind in KINDS
    for block, event in item.meta[kind].items()
  ]
  there = [x for x in checks if x[1] in blocks]
  pairs = [(blocks[block], event) for _, block, event in there]
  passed = dict(zip(there, check(pairs, judge, official), strict=True))
  on_there = [[passed[x] for x in there if x[0] == kind] for kind in KINDS]
  on_all = [
    [passed.get(x, False) for x in checks if x[0] == kind] for kind in KINDS
  ]
  first, second = (_mean_of_kinds(x, official) for x in (on_there, on_all))
  parts = {'CR (%)': 100 * rate, 'STIC-1': first, 'STIC-2': second}
  shown = f'{len(blocks)} blocks'
  detail = f'{sum(passed.values())} of {len(checks)} checks'
  return Verdict(rate * second, shown, detail, parts)


def _mean_of_kinds(by_kind: Sequence[Sequence[bool]], official: bool) -> float:
  """Mean accuracy over the kinds; of one without checks 0, or left out."""
  shares = [sum(x) / len(x) if x else 0.0 for x in by_kind]
  if not official:
    shares = [s for s, x in zip(shares, by_kind, strict=True) if x]
  return sum(shares) / len(shares) if shares else 0.0
