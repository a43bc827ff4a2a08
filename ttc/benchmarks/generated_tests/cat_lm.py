"""CAT-LM: code and its tests as one document; samples that are filtered.

Rao et al., "CAT-LM: Training Language Models on Aligned Code And Tests", 2023,
arXiv 2310.01602. A test file follows the file that it tests, behind a
separator, within one context of 8 192 tokens and without a token of its end, so
the model learns what follows what. For use, n tests are sampled (temperature
.2, top-p .95, top-k 50) and filtered: those that parse, then those that run and
pass, then those that cover what the others do not. The filter is a verifier of
best-of-n.

Cost: n completions, and n runs of tests.
"""

import pathlib
from collections.abc import Callable, Mapping, Sequence

import jax.numpy as jnp
import numpy as np

from ttc import evaluation
from ttc.evaluation import Suite, SuiteReport
from ttc.types import ScoreFn

SEPARATOR = '<|codetestpair|>'
CONTEXT = 8192  # tokens
TEMPERATURE, TOP_P, TOP_K = 0.2, 0.95, 50  # of the paper's samples


def pair_files(paths: Sequence[str]) -> dict[str, str]:
  """The file that each test file tests, by the likeness of paths.

  Args:
    paths: of Python files.

  Returns:
    `{test path: code path}`. `test_x.py` and `x_test.py` are of `x.py`; of
    several the one with the most folders in common, and no code has two tests.
  """
  code: dict[str, list[str]] = {}
  tests = []
  for path in sorted(paths):
    stem = pathlib.PurePosixPath(path).stem
    if name := _tested(stem):
      tests.append((path, name))
    else:
      code.setdefault(stem, []).append(path)
  options = [
    (-_likeness(test, path), len(path), test, path)
    for test, name in tests
    for path in code.get(name, [])
  ]
  pairs: dict[str, str] = {}
  for _, _, test, path in sorted(options):
    if test not in pairs and path not in pairs.values():
      pairs[test] = path
  return pairs


def pack(files: Mapping[str, str]) -> list[str]:
  """Documents to train on: pairs of code and tests, then what has no partner.

  Args:
    files: sources by path.

  Returns:
    `code + SEPARATOR + test` of pairs, and the other files alone.
  """
  pairs = pair_files(list(files))
  documents = [files[pairs[t]] + SEPARATOR + files[t] for t in sorted(pairs)]
  paired = {*pairs, *pairs.values()}
  return documents + [files[p] for p in sorted(files) if p not in paired]


def windows(
  documents: Sequence[Sequence[int]], context: int = CONTEXT
) -> list[list[int]]:
  """Token documents cut to contexts; nothing marks an end."""
  if context < 1:
    raise ValueError(f'context={context} must be positive')
  return [
    list(document[i : i + context])
    for document in documents
    for i in range(0, len(document), context)
  ]


def prompt(code: str, existing: str = '') -> str:
  """What the model goes on from: the code, and the tests that there are.

  With imports only it writes the first test, with all but the last test the
  last, with all tests an extra one.
  """
  return code + SEPARATOR + existing


def keep(
  reports: Sequence[SuiteReport], covered: Sequence[int] = ()
) -> list[int]:
  """The filter: which samples parse, run, pass, and cover something new.

  Args:
    reports: of the samples, in their order, of one function.
    covered: lines that tests cover already.

  Returns:
    Indices. Samples come one after another, so those that are kept of the
    first n are kept of all, and what they cover grows with n.
  """
  seen, kept = set(covered), []
  for i, report in enumerate(reports):
    if report.accepted and not report.vacuous and set(report.covered) - seen:
      kept.append(i)
      seen |= set(report.covered)
  return kept


def suite_score(report: SuiteReport, covered: Sequence[int] = ()) -> float:
  """The filter as a score: higher is better.

  Returns:
    0 for what does not parse, 1 for what does not import, 2 for what does not
    pass, from 3 to 4 otherwise: by the share of lines that are newly covered
    and the share of branches, evenly.
  """
  if not report.accepted or report.vacuous:
    return float(report.syntax_ok) + float(report.import_ok)
  new = len(set(report.covered) - set(covered))
  total = len(report.covered) + len(report.uncovered)
  return 3 + (new / max(total, 1) + report.branch_cov) / 2


def suite_verifier(
  decode: Callable[[Sequence[int]], str],
  suite_of: Callable[[int, str], Suite],
) -> ScoreFn:
  """The verifier of best-of-n that runs what was written.

  Args:
    decode: tokens to text.
    suite_of: `(problem, text) -> Suite`, of the problem's row in the batch.

  Returns:
    `(prompt, generation) -> [B, N]`, on the host; not to be jitted.
  """

  def score(prompt, generation):
    del prompt
    tokens = np.asarray(generation.tokens)
    lengths = np.asarray(generation.lengths)
    suites = [
      suite_of(b, decode(tokens[b, n, : lengths[b, n]].tolist()))
      for b in range(tokens.shape[0])
      for n in range(tokens.shape[1])
    ]
    reports = evaluation.check_suites(suites, allow_execution=True)
    scores = jnp.array([suite_score(x) for x in reports], jnp.float32)
    return scores.reshape(tokens.shape[:2])

  return score


def _tested(stem: str) -> str:
  """What a test file of this name tests; empty if it is none."""
  if stem.startswith('test_'):
    return stem.removeprefix('test_')
  return stem.removesuffix('_test') if stem.endswith('_test') else ''


def _likeness(first: str, second: str) -> int:
  """Folders at the beginning of both paths, and folders of one name."""
  folders = [pathlib.PurePosixPath(x).parent.parts for x in (first, second)]
  same = [a == b for a, b in zip(*folders, strict=False)]
  prefix = same.index(False) if False in same else len(same)
  return prefix + len(set(folders[0]) & set(folders[1]))
