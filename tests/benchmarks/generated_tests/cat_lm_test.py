"""Packing of pairs, the ladder, and the filter as a verifier of best-of-n."""

import math
import types

import jax.numpy as jnp
import numpy as np
import pytest

from ttc import evaluation
from ttc.benchmarks import generated_tests
from ttc.benchmarks.generated_tests import cat_lm
from ttc.testbeds import tested_functions

CLIP = tested_functions.FUNCTIONS[0]
WRONG = {
  'syntax error': 'def test_x(: pass',
  'compile error': 'from nowhere import clip\ndef test_x(): pass',
  'test error': 'from code_file import clip\n'
  'def test_x(): assert clip(1, 2, 3) == 9\ndef test_y(): assert clip',
}


@pytest.fixture(scope='module')
def reports():
  """The four rungs, one right input after another, and what checks nothing."""
  tests = [
    *WRONG.values(),
    *(tested_functions.test_file(CLIP, [row]) for row in (0, 3, 1, 2)),
    tested_functions.strong(CLIP),
    'def test_x(): assert True',
    'from code_file import clip\ndef test_x():\n  try: clip(5, 0, 9)\n'
    '  except Exception: pass\n',  # runs what it does not look at
  ]
  suites = [tested_functions.suite(CLIP, x) for x in tests]
  suites[-3] = suites[-3]._replace(mutants=tested_functions.mutants(CLIP))
  return evaluation.check_suites(suites, allow_execution=True)


def test_rungs_and_rates(reports):
  assert [generated_tests.rung(x) for x in reports[:4]] == [*WRONG, 'accept']
  rates = generated_tests.ladder_rates([*reports[:3], reports[7]])
  assert rates[:3] == (3 / 4, 2 / 4, 1 / 4)
  # All of five lines and four arms; five of seven mutants, two are the same.
  assert rates[3:6] == (1.0, 1.0, 5 / 7)
  np.testing.assert_allclose(rates[6:], [1 / 4, 1 / 4, 5 / 28])
  none = generated_tests.ladder_rates(reports[:1])
  assert none[:3] == (0, 0, 0) and math.isnan(none.line_cov)
  with pytest.raises(ValueError, match='at least one'):
    generated_tests.ladder_rates([])


def test_the_filter_keeps_what_passes_and_adds(reports):
  # Input 3 runs the same lines as input 0; what asserts nothing adds nothing.
  assert cat_lm.keep(reports) == [3, 5, 6]
  assert cat_lm.keep(reports, covered=reports[3].covered) == [5, 6]
  assert cat_lm.keep(reports[3:5][::-1]) == [0]
  assert reports[9].covered and reports[9].vacuous
  assert cat_lm.keep(reports[9:]) == [] and cat_lm.suite_score(reports[9]) == 2
  scores = [cat_lm.suite_score(x) for x in reports]
  assert scores[:3] == [0, 1, 2] and scores[8] == 2
  # Three lines of five, and two arms of four.
  assert scores[3] == pytest.approx(3 + (3 / 5 + 2 / 4) / 2)
  assert scores[7] == 4 and np.argmax(scores) == 7
  assert cat_lm.suite_score(reports[7], reports[7].covered) == 3.5


def test_the_verifier_scores_a_batch():
  texts = [
    [WRONG['syntax error'], tested_functions.strong(CLIP)],
    [tested_functions.weak(CLIP), WRONG['test error']],
  ]
  width = max(len(x) for row in texts for x in row)
  tokens = np.zeros((2, 2, width), np.int32)
  for b, row in enumerate(texts):
    for n, text in enumerate(row):
      tokens[b, n, : len(text)] = [ord(c) for c in text]
  lengths = np.array([[len(x) for x in row] for row in texts], np.int32)
  generation = types.SimpleNamespace(
    tokens=jnp.asarray(tokens), lengths=jnp.asarray(lengths)
  )
  verifier = cat_lm.suite_verifier(
    lambda ids: ''.join(map(chr, ids)),
    lambda problem, text: tested_functions.suite(CLIP, text),
  )
  scores = verifier(None, generation)
  assert scores.shape == (2, 2) and scores.dtype == np.float32
  assert scores[0, 0] == 0 and scores[0, 1] == 4 and scores[1, 1] == 2
  assert list(scores.argmax(axis=1)) == [1, 0]


def test_files_are_paired_by_name_and_path():
  paths = [
    'src/shapes/area.py',
    'src/area.py',
    'tests/shapes/test_area.py',
    'tests/test_area.py',
    'src/shapes/test_box.py',
    'src/line.py',
    'line_test.py',
  ]
  assert cat_lm.pair_files(paths) == {
    'tests/shapes/test_area.py': 'src/shapes/area.py',
    'tests/test_area.py': 'src/area.py',
    'line_test.py': 'src/line.py',
  }
  documents = cat_lm.pack({path: f'<{path}>' for path in paths})
  assert len(documents) == 4 and documents[-1] == '<src/shapes/test_box.py>'
  assert documents[0] == '<src/line.py><|codetestpair|><line_test.py>'
  assert cat_lm.windows([[1, 2, 3], [4]], 2) == [[1, 2], [3], [4]]
  assert cat_lm.prompt('code', 'tests') == 'code<|codetestpair|>tests'
  with pytest.raises(ValueError, match='context=0'):
    cat_lm.windows([[1]], 0)


def test_pass_at_k_is_exact():
  assert generated_tests.pass_at_k(10, 3, 5) == pytest.approx(
    0.916667, abs=1e-6
  )
  assert generated_tests.pass_at_k(4, 0, 2) == 0
  assert generated_tests.pass_at_k(4, 3, 2) == 1
  for n, c, k in ((2, 1, 3), (2, 3, 1), (2, 1, 0)):
    with pytest.raises(ValueError, match='1 <= k <= num_samples'):
      generated_tests.pass_at_k(n, c, k)
