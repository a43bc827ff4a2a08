r"""Which graded answers are one answer: what votes are counted by.

Answers to one item are compared with each other, never with the gold answer: a
vote that merged what the grader accepts, and kept apart what it refuses, would
count right answers together and wrong ones by their spelling.
"""

import collections
import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeAlias

from ttc.evaluation.records import ScoreRecord

SameFn: TypeAlias = Callable[[str, str], bool]


def cluster_scores(
  scores: Sequence[ScoreRecord],
  same: Mapping[str, SameFn],
  known: Iterable[ScoreRecord] = (),
) -> list[ScoreRecord]:
  """Fills in `cluster_id`: equivalent answers to an item share one.

  A cluster is named after its first text, by sample index. An answer belongs to
  the first cluster whose name is the same, so clusters are disjoint also where
  the equivalence is not transitive. Records that have a cluster keep it; those
  without an extracted answer get none.

  Args:
    scores: of any items and graders.
    same: by name of the grader, whether two extracted answers are one.
    known: records of the same run, as an earlier stage wrote them.

  Returns:
    The records, in their order.

  Raises:
    ValueError: at a grader that is not in `same` and whose answers are not yet
      clustered.
  """
  names: dict[tuple[str, str], dict[str, None]] = collections.defaultdict(dict)
  of_text: dict[tuple[str, str, str], str] = {}
  for record in sorted([*known, *scores], key=lambda record: record.key):
    home = record.item_id, record.grader
    if record.cluster_id is not None:
      names[home].setdefault(record.cluster_id)
      if record.extracted is not None:
        of_text.setdefault((*home, record.extracted), record.cluster_id)
  for record in sorted(scores, key=lambda record: record.key):
    text, home = record.extracted, (record.item_id, record.grader)
    if record.cluster_id is not None or text is None:
      continue
    if (*home, text) in of_text:
      continue
    if record.grader not in same:
      raise ValueError(
        f'the scores of {record.item_id} by {record.grader!r} have no '
        f'cluster_id, and answers can be compared for {sorted(same)} only'
      )
    agrees = same[record.grader]
    found = next((name for name in names[home] if agrees(name, text)), text)
    names[home].setdefault(found)
    of_text[*home, text] = found
  return [_with_cluster(record, of_text) for record in scores]


def _with_cluster(
  record: ScoreRecord, of_text: Mapping[tuple[str, str, str], str]
) -> ScoreRecord:
  if record.cluster_id is not None or record.extracted is None:
    return record
  found = of_text[record.item_id, record.grader, record.extracted]
  return dataclasses.replace(record, cluster_id=found)
