"""The ladder that a generated test climbs, and what is counted on it.

TestBench (Zhang et al., 2024, arXiv 2409.17561): a test that does not parse is
a syntax error, one that does not compile (in Python: import) a compile error,
one that does not pass a test error; the others are accepted. Rates are shares
of all tests; coverage and defect detection are of those that are accepted, and,
more strictly, of all, where the others count as 0.
"""

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from ttc.evaluation import SuiteReport

Rung = Literal['syntax error', 'compile error', 'test error', 'accept']


class LadderRates(NamedTuple):
  """Shares in 0..1; NaN where there is nothing that could be shared."""

  syntax: float  # SR: parses
  compiles: float  # CR
  passes: float  # PR
  line_cov: float  # of accepted tests, of the focal method
  branch_cov: float
  defect_detection: float  # share of mutants that accepted tests kill
  line_cov_all: float  # of all tests; 0 where not accepted
  branch_cov_all: float
  defect_detection_all: float


def rung(report: SuiteReport) -> Rung:
  """How far a test file comes."""
  if not report.syntax_ok:
    return 'syntax error'
  if not report.import_ok:
    return 'compile error'
  return 'accept' if report.accepted else 'test error'


def ladder_rates(reports: Sequence[SuiteReport]) -> LadderRates:
  """Rates of test files.

  Args:
    reports: of at least one.

  Raises:
    ValueError: of none.
  """
  if not reports:
    raise ValueError('reports=[] is empty; rates are of at least one report')
  rungs = [rung(report) for report in reports]
  accepted = [x for x in reports if x.accepted]
  mean = lambda values: float(np.mean(values)) if values else math.nan
  figures = {
    'line_cov': [x.line_cov for x in accepted],
    'branch_cov': [x.branch_cov for x in accepted],
    'defect_detection': [
      x.mutation_score for x in accepted if x.mutation_score is not None
    ],
  }
  return LadderRates(
    1 - mean([x == 'syntax error' for x in rungs]),
    mean([x in ('test error', 'accept') for x in rungs]),
    mean([x == 'accept' for x in rungs]),
    *(mean(values) for values in figures.values()),
    *(float(np.sum(values)) / len(reports) for values in figures.values()),
  )


def pass_at_k(num_samples: int, num_passed: int, k: int) -> float:
  r"""Chance that one of `k` samples passes, without bias, exactly.

  .. math:: 1 - \binom{n - c}{k} / \binom{n}{k}

  Chen et al., 2021, arXiv 2107.03374, eq. 1.

  Raises:
    ValueError: where there are fewer than `k` samples.
  """
  if not 1 <= k <= num_samples or not 0 <= num_passed <= num_samples:
    raise ValueError(
      f'k={k} of num_samples={num_samples} with num_passed={num_passed}; '
      'expected 1 <= k <= num_samples and 0 <= num_passed <= num_samples'
    )
  lost = math.comb(num_samples - num_passed, k)
  return 1 - lost / math.comb(num_samples, k)
