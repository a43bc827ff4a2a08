"""What a compiled program exchanges between devices, read in its text.

Each computation is counted as often as it is run: the body of a loop as often
as the loop's condition says, once where that depends on what is computed (the
steps of decoding, the length of an episode); of a choice every branch. A
gather that TPUs spread over several fusions is counted where it starts.
"""

import math
import re
from collections import Counter
from typing import NamedTuple

_KINDS = (
  'all-gather',
  'all-reduce',
  'all-to-all',
  'collective-permute',
  'reduce-scatter',
)
_OPERATION = re.compile(rf'= (.*?) ({"|".join(_KINDS)})(?:-start)?\(')
_ARRAY = re.compile(r'(\w+)\[([\d,]*)\]')
_CALLED = re.compile(
  r'(?:calls|to_apply|body|(?:true|false)_computation)=%?([\w.\-]+)'
)
_BRANCHES = re.compile(r'branch_computations=\{([^}]*)\}')
_COUNTED = re.compile(r'known_trip_count":\{"n":"(\d+)"')
_LIMIT = re.compile(r'ROOT .* compare\(.*?%([\w.\-]+)\), direction=LT')
# Parts of a gather that has started, each of which names it again.
_STARTED = ('async_collective_fusion', 'async-collective-done')


class Exchanged(NamedTuple):
  """Of one device.

  Attributes:
    by_kind: bytes of the results of each kind of collective; of what goes into
      a reduce-scatter.
    largest_gather: bytes of the largest that is gathered, or exchanged by all.
  """

  by_kind: Counter[str]
  largest_gather: int


def find_collectives(text: str, *, of_a_step: bool = False) -> Exchanged:
  """Bytes of each kind of collective, and those of the largest gather.

  Args:
    text: of the optimised program.
    of_a_step: leave out what the program itself does before and behind loops.
  """
  found, (entry, *_) = _computations(text)
  counts = Counter()
  _add_runs(found, entry, 1, counts)
  if of_a_step:
    del counts[entry]
  by_kind, largest = Counter(), 0
  for name, runs in counts.items():
    for line in found[name]:
      match = _OPERATION.search(line)
      if match is None:
        continue
      shapes, kind = match.groups()
      sizes = [_size(*array) for array in _ARRAY.findall(shapes)]
      if '-start(' in line and kind == 'collective-permute':
        sizes = sizes[:1]  # behind it what it becomes, and two tokens
      elif '-start(' in line and kind != 'all-reduce':
        half = len(sizes) // 2  # inputs come first
        sizes = sizes[:half] if kind == 'reduce-scatter' else sizes[half:]
      elif kind == 'reduce-scatter':
        sizes = [size * _num_parts(line) for size in sizes]
      size = sum(sizes)
      if kind in ('all-gather', 'all-to-all'):
        largest = max(largest, *sizes)
      if name.startswith('all-reduce-scatter'):  # of TPUs, in one fusion
        kind = 'reduce-scatter'
      by_kind[kind] += runs * size
  return Exchanged(by_kind, largest)


def _num_parts(line: str) -> int:
  """How many devices of a group share what is scattered; 1 if unsaid."""
  groups = re.search(r'replica_groups=(?:\[\d+,(\d+)\]|\{\{([\d,]+)\})', line)
  if groups is None:
    return 1
  return int(groups[1]) if groups[1] else groups[2].count(',') + 1


def _size(dtype: str, dims: str) -> int:
  sizes = map(int, filter(None, dims.split(',')))
  bits = re.search(r'\d+', dtype)  # pred has none
  return max(1, int(bits[0]) // 8 if bits else 1) * math.prod(sizes)


def _computations(text: str) -> tuple[dict[str, list[str]], list[str]]:
  """Lines of each, by name; and the names, that of the program first."""
  found, lines, names = {}, [], []
  for line in text.splitlines():
    begins = re.match(r'(ENTRY )?%?([\w.\-]+) \(.*\{$', line)
    if begins:
      lines = found.setdefault(begins[2], [])
      names.insert(0 if begins[1] else len(names), begins[2])
    else:
      lines.append(line)
  return found, names


def _add_runs(found, name: str, runs: int, counts: Counter) -> None:
  """Adds how often a computation, and all that it calls, are run."""
  counts[name] += runs
  for line in found[name]:
    called = _CALLED.findall(line)
    for branches in _BRANCHES.findall(line):
      called += re.findall(r'[\w.\-]+', branches)
    if called and not line.lstrip(' %').startswith(_STARTED):
      times = _num_turns(found, line) if ' while(' in line else 1
      for callee in called:
        if callee in found and not callee.startswith(_STARTED):
          _add_runs(found, callee, runs * times, counts)


def _num_turns(found, line: str) -> int:
  """Of a loop, as far as it is known; else 1."""
  if counted := _COUNTED.search(line):
    return int(counted[1])
  condition = re.search(r'condition=%?([\w.\-]+)', line)
  text = '\n'.join(found[condition[1]]) if condition else ''
  limit = _LIMIT.search(text)
  if limit is None:
    return 1
  number = re.search(rf'%?{re.escape(limit[1])} = \S+ constant\((\d+)\)', text)
  return int(number[1]) if number else 1
