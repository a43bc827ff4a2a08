"""TestGenEval: tests for files of real repositories (2410.00752).

Jain et al., "TestGenEval: A Real World Unit Test Generation and Test Completion
Benchmark". 1 210 pairs of files from 11 repositories, in four settings: the
whole test file (full), and the first, the last, or one more test of a file that
is there. Completions count if they pass; coverage is what they add. Published:
the best model covers 35.2% of lines. Official runs take a container for each
repository; here a record brings its files, `code_src` and, under `files`, what
that imports. The field names of `preds_context` are from memory in part: tests
come after `preamble` (first), `last_minus_one` (last) and `last` (extra).
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from ttc import evaluation
from ttc.benchmarks.benchmark import MISSING, Benchmark, Verdict
from ttc.benchmarks.generated_tests.ladder import pass_at_k
from ttc.benchmarks.generated_tests.rule_repair import code_of
from ttc.benchmarks.judges import JudgeFn
from ttc.benchmarks.schema import Field, Record, from_records
from ttc.evaluation import Suite
from ttc.tasks import Item
from ttc.tasks.mutations import mutants

SCHEMA = (
  Field('id'),
  Field('repo'),
  Field('version', empty=True),
  Field('code_file'),
  Field('code_src'),
  Field('test_file'),
  Field('test_src'),
  Field('preds_context', dict, of=str),
  Field('local_imports', list, of=str, optional=True),
  Field('baseline_covs', dict, of=float, optional=True),  # percent
  Field('files', dict, of=str, optional=True),  # other sources, by path
)
# Settings of completion, and the context that each goes on from.
CONTEXTS = {'first': 'preamble', 'last': 'last_minus_one', 'extra': 'last'}
NUM_MUTANTS = 20  # of a file


def testgeneval() -> Benchmark:
  """Makes the benchmark; a record is an item for each setting it has."""
  return Benchmark(
    name='testgeneval',
    title='A Real World Unit Test Generation and Test Completion Benchmark',
    paper='2410.00752',
    metric='full all-pass@1',
    schema=SCHEMA,
    load=from_records(SCHEMA, _to_items),
    prompt=_prompt,
    grade=_grade,
    aggregate=_aggregate,
    cluster=lambda item: item.meta['repo'],
    categories=lambda item: {'setting': item.meta['setting']},
    max_new_tokens=2048,
  )


def _to_items(record: Record) -> list[Item]:
  if not any(
    context in record['preds_context'] for context in CONTEXTS.values()
  ):
    raise ValueError(
      f"field 'preds_context' has {sorted(record['preds_context'])}; expected "
      f'some of {sorted(CONTEXTS.values())}'
    )
  files = {
    **(record.get('files') or {}),
    record['code_file']: record['code_src'],
  }
  meta = {
    'repo': record['repo'],
    'files': files,
    'code_file': record['code_file'],
    'test_file': record['test_file'],
    'imports': record.get('local_imports') or [],
  }
  covs = record.get('baseline_covs') or {}
  items = [
    Item(f'{record["id"]}/full', '', record['test_src'],
         meta | {'setting': 'full', 'context': '', 'baseline': 0.0})
  ]  # fmt: skip
  for setting, name in CONTEXTS.items():
    if name in record['preds_context']:
      own = {
        'setting': setting,
        'context': record['preds_context'][name],
        'baseline': covs.get(name),
      }
      items.append(
        Item(f'{record["id"]}/{setting}', '', record['test_src'], meta | own)
      )
  return items


def _prompt(item: Item) -> str:
  meta = item.meta
  imports = '\n'.join(meta['imports'])
  head = (
    f'This is {meta["code_file"]}:\n\n{meta["files"][meta["code_file"]]}\n\n'
    f'It is imported so:\n{imports}\n\n'
  )
  if meta['setting'] == 'full':
    return head + f'Write {meta["test_file"]}, all of it, as a block of Python.'
  return head + (
    f'This is {meta["test_file"]} so far:\n\n{meta["context"]}\n\n'
    'Write only the next test, as a block of Python that follows it.'
  )


def _grade(item: Item, completion: str, judge: JudgeFn) -> Verdict:
  del judge
  context, written = item.meta['context'], code_of(completion)
  tests = f'{context.rstrip()}\n\n\n{written}' if context else written
  if item.meta['setting'] == 'full':
    return _grade_full(item, tests)
  before, after = evaluation.check_suites(
    [_suite(item, context), _suite(item, tests)], allow_execution=True
  )
  new = after.n_pass - before.n_pass
  passed = new > 0 and after.n_fail <= before.n_fail
  baseline = item.meta['baseline']
  baseline = before.line_cov if baseline is None else baseline / 100
  gain = after.line_cov - baseline if passed else 0.0
  return Verdict(float(passed), written, after.detail, {'coverage': gain})


def _grade_full(item: Item, tests: str) -> Verdict:
  """At least one passes, all pass, coverage, mutants killed."""
  source = item.meta['files'][item.meta['code_file']]
  changed = mutants(source, '', NUM_MUTANTS, 0, statements=True)
  (report,) = evaluation.check_suites(
    [_suite(item, tests)._replace(mutants=changed)], allow_execution=True
  )
  parts = {
    'any': float(report.n_pass > 0),
    'coverage': report.line_cov if report.n_pass else 0.0,
    'mutation': report.mutation_score or 0.0,
  }
  return Verdict(float(report.accepted), tests, report.detail, parts)


def _suite(item: Item, tests: str) -> Suite:
  return Suite(
    item.meta['files'],
    item.meta['code_file'],
    tests,
    test_path=item.meta['test_file'],
  )


def _aggregate(
  items: Sequence[Item], verdicts: Sequence[Sequence[Verdict]]
) -> Mapping[str, float]:
  """The figures of the paper; NaN of settings that there are not."""
  figures: dict[str, float] = {}
  for setting in ('full', *CONTEXTS):
    rows = [
      row
      for item, row in zip(items, verdicts, strict=True)
      if item.meta['setting'] == setting
    ]
    scores = [[x.score for x in row] for row in rows]
    coverage, any_, mutation = (
      [[x.parts.get(name, 0.0) for x in row] for row in rows]
      for name in ('coverage', 'any', 'mutation')
    )
    if setting == 'full':
      figures['full all-pass@1'] = _mean(scores)
      figures['full pass@1'] = _mean(any_)
      figures['full coverage'] = _mean(coverage)
      figures['full coverage@pass'] = _mean(coverage, any_)
      figures['full mutation'] = _mean(mutation)
      figures['full mutation@pass'] = _mean(mutation, scores)
      continue
    figures[f'{setting} pass@1'] = _mean(scores)
    figures[f'{setting} pass@5'] = _mean([[_pass_at_5(row)] for row in rows])
    figures[f'{setting} coverage gain'] = _mean(coverage)
    figures[f'{setting} coverage gain@pass'] = _mean(coverage, scores)
  return figures


def _pass_at_5(row: Sequence[Verdict]) -> float:
  """Of one item; 0 without any sample, NaN of fewer than five."""
  if len(row) < 5:
    return 0.0 if row == [MISSING] else math.nan
  return pass_at_k(len(row), round(sum(x.score for x in row)), 5)


def _mean(
  values: Sequence[Sequence[float]],
  where: Sequence[Sequence[float]] | None = None,
) -> float:
  """Of the items' means; of the entries where something is so, of all items."""
  if where is None:
    means = [float(np.mean(row)) for row in values]
    return float(np.mean(means)) if means else math.nan
  chosen = [
    x
    for row, mask in zip(values, where, strict=True)
    for x, keep in zip(row, mask, strict=True)
    if keep
  ]
  return float(np.mean(chosen)) if chosen else math.nan
