"""From the records of a run to the arrays that methods and curves work on."""

import collections
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from ttc.evaluation.records import SampleRecord, ScoreRecord
from ttc.types import Samples


class Table(NamedTuple):
  """`N` graded samples of each item."""

  item_ids: list[str]
  samples: Samples  # fields [items, N]
  correct: Bool[np.ndarray, 'items N']
  gold: Bool[np.ndarray, 'items A']  # which ids of answers are right
  prompt_tokens: Int[np.ndarray, ' items']
  flops: Float[np.ndarray, 'items N']  # of each sample, without the prompt


def tabulate(
  samples: Sequence[SampleRecord],
  scores: Sequence[ScoreRecord],
  verifier: str | None = None,
) -> Table:
  """Arranges records by item and sample index.

  Answers become ids within their item, 0, 1, ... by first sample: one for each
  cluster of `cluster_scores`, and -1 where nothing was extracted. The grader
  only says which ids are right, and several may be. A cluster is right where
  its first sample is, for a method that settles on it gives one of its answers
  and none other is more its own; `correct` keeps what was said of each sample.
  A right sample from which nothing was extracted is an answer for itself.

  Args:
    samples: with the same number for every item.
    scores: one for each sample, from one grader, clustered.
    verifier: whose scores methods are told; None for mean log-probabilities.

  Returns:
    The table, items in the order of their ids.

  Raises:
    ValueError: if items have different numbers of samples, a sample was
      graded not once, an extracted answer has no cluster, or a sample has no
      score of the verifier.
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
  answers = [_answer_ids(row) for row in graded]
  field: Callable[..., Any] = lambda get, dtype: np.array(
    [[get(record) for record in row] for row in rows], dtype
  )
  ids: Any = np.array(answers, np.int32)
  return Table(
    item_ids=list(by_item),
    samples=Samples(
      answers=ids,
      scores=field(lambda r: _score(r, verifier), np.float32),
      log_probs=field(lambda r: r.sum_logprob, np.float32),
      lengths=field(lambda r: r.completion_tokens, np.int32),
      finished=field(lambda r: r.finish_reason == 'stop', bool),
    ),
    correct=np.array([[g.score >= 1 for g in row] for row in graded]),
    gold=_right_ids(answers, graded),
    prompt_tokens=np.array([row[0].prompt_tokens for row in rows]),
    flops=field(lambda r: r.flops_est or 0.0, np.float64),
  )


def _score(record: SampleRecord, verifier: str | None) -> float:
  """What methods are told of a sample."""
  if verifier is None:
    return record.mean_logprob
  scores = record.verifier_scores or {}
  if verifier not in scores:
    raise ValueError(
      f'sample {record.sample_idx} of {record.item_id} has no score of '
      f'{verifier!r}'
    )
  return scores[verifier]


def _answer_ids(grades: Sequence[ScoreRecord]) -> list[int]:
  """Ids of the answers to one item."""
  known: dict[str | int, int] = {}
  ids = []
  for index, grade in enumerate(grades):
    cluster: str | int | None = grade.cluster_id
    if cluster is None and grade.extracted is not None:
      raise ValueError(
        f'the score of sample {grade.sample_idx} of {grade.item_id} has no '
        'cluster_id: it was graded before answers were clustered. '
        'evaluation.cluster_scores gives it one, or delete scores.jsonl and '
        'grade again'
      )
    if cluster is None and grade.score >= 1:
      cluster = index
    ids.append(-1 if cluster is None else known.setdefault(cluster, len(known)))
  return ids


def _right_ids(
  answers: Sequence[Sequence[int]], graded: Sequence[Sequence[ScoreRecord]]
) -> Bool[np.ndarray, 'items A']:
  """Whether the first sample with each id is right."""
  right = np.zeros((len(answers), max(1, 1 + max(map(max, answers)))), bool)
  for row, ids, grades in zip(right, answers, graded, strict=True):
    for answer in set(ids) - {-1}:
      row[answer] = grades[ids.index(answer)].score >= 1
  return right
