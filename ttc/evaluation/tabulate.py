"""From the records of a run to the arrays that methods and curves work on."""

import collections
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from ttc.evaluation.records import SampleRecord, ScoreRecord
from ttc.types import Samples


class Table(NamedTuple):
  """`N` graded samples of each item."""

  item_ids: list[str]
  samples: Samples  # fields [items, N]; scores are mean log-probabilities
  correct: Bool[np.ndarray, 'items N']
  gold: Int[np.ndarray, ' items']  # id of the right answer: always 0
  prompt_tokens: Int[np.ndarray, ' items']
  flops: Float[np.ndarray, 'items N']  # of each sample, without the prompt


def tabulate(
  samples: Sequence[SampleRecord], scores: Sequence[ScoreRecord]
) -> Table:
  """Arranges records by item and sample index.

  Answers become ids within their item: all right ones 0, each other extracted
  text an id of its own, nothing extracted -1.

  Args:
    samples: with the same number for every item.
    scores: one for each sample, from one grader.

  Returns:
    The table, items in the order of their ids.

  Raises:
    ValueError: if items have different numbers of samples, or a sample was
      graded not once.
  """
  grades = collections.defaultdict(list)
  for score in scores:
    grades[score.item_id, score.sample_idx].append(score)
  by_item = collections.defaultdict(list)
  for record in sorted(samples, key=lambda record: record.key):
    by_item[record.item_id].append(record)
    found = len(grades[record.item_id, record.sample_idx])
    if found != 1:
      raise ValueError(
        f'sample {record.sample_idx} of {record.item_id} has {found} grades'
      )
  counts = {len(records) for records in by_item.values()}
  if len(counts) != 1:
    raise ValueError(f'items have {sorted(counts)} samples; they must agree')

  rows = list(by_item.values())
  graded = [
    [grades[record.item_id, record.sample_idx][0] for record in row]
    for row in rows
  ]
  field = lambda get, dtype: np.array(
    [[get(record) for record in row] for row in rows], dtype
  )
  return Table(
    item_ids=list(by_item),
    samples=Samples(
      answers=np.array([_answer_ids(row) for row in graded], np.int32),
      scores=field(lambda r: r.mean_logprob, np.float32),
      log_probs=field(lambda r: r.sum_logprob, np.float32),
      lengths=field(lambda r: r.completion_tokens, np.int32),
      finished=field(lambda r: r.finish_reason == 'stop', bool),
    ),
    correct=np.array([[g.score >= 1 for g in row] for row in graded]),
    gold=np.zeros((len(rows),), np.int32),
    prompt_tokens=np.array([row[0].prompt_tokens for row in rows]),
    flops=field(lambda r: r.flops_est or 0.0, np.float64),
  )


def _answer_ids(grades: Sequence[ScoreRecord]) -> list[int]:
  """Ids of the answers to one item; 0 is kept for right ones."""
  known: dict[str, int] = {}
  ids = []
  for grade in grades:
    if grade.score >= 1:
      ids.append(0)
    elif grade.extracted is None:
      ids.append(-1)
    else:
      ids.append(known.setdefault(grade.extracted, len(known) + 1))
  return ids
