"""chrF and BLEU against their definitions."""

import importlib.util
import sys

import numpy as np
import pytest

from ttc import evaluation

if importlib.util.find_spec('sacrebleu') is None:
  pytest.skip('sacrebleu is not installed', allow_module_level=True)


def ngram_f_score(text, reference, order, beta=2.0):
  """By the definition: mean precision and recall over the orders."""
  text, reference = text.replace(' ', ''), reference.replace(' ', '')
  precisions, recalls = [], []
  for n in range(1, order + 1):
    of = lambda x, n=n: [x[i : i + n] for i in range(len(x) - n + 1)]
    have, want = of(text), of(reference)
    if not have or not want:
      continue
    common = sum(min(have.count(g), want.count(g)) for g in set(have))
    precisions.append(common / len(have))
    recalls.append(common / len(want))
  p, r = np.mean(precisions), np.mean(recalls)
  return (1 + beta**2) * p * r / (beta**2 * p + r)


def test_chrf_is_the_f_score_of_character_ngrams():
  texts = ['the cat sat on a mat', 'a dog barked']
  wanted = ['the cat is on the mat', 'the dog barked loudly']
  by_definition = [
    ngram_f_score(t, w, 6) for t, w in zip(texts, wanted, strict=True)
  ]
  np.testing.assert_allclose(evaluation.chrf(texts, wanted), by_definition)
  # Recall counts for more than precision: the order matters.
  swapped = evaluation.chrf(wanted, texts)
  assert np.all(swapped > evaluation.chrf(texts, wanted) - 0.2)
  assert swapped[1] != by_definition[1]


def test_equal_texts_have_one_and_different_ones_none():
  same = ['the cat sat on the mat', 'two words here now']
  np.testing.assert_allclose(evaluation.chrf(same, same), 1)
  np.testing.assert_allclose(evaluation.bleu(same, same), 1)
  np.testing.assert_allclose(evaluation.chrf(['aaaa'], ['bbbb']), 0)


def test_bleu_punishes_brevity():
  """Half of a text is precise: its BLEU is the penalty exp(1 - r / c)."""
  whole = 'a b c d e f g h i j k l'
  half = 'a b c d e f'
  np.testing.assert_allclose(
    evaluation.bleu([half], [whole]), np.exp(1 - 12 / 6), rtol=1e-6
  )


@pytest.mark.parametrize('texts', [[], ['a', 'b']])
def test_each_text_needs_a_reference(texts):
  with pytest.raises(ValueError, match='1 references'):
    evaluation.chrf(texts, ['a'])


def test_without_the_library_the_extra_is_named(monkeypatch):
  monkeypatch.setitem(sys.modules, 'sacrebleu.metrics', None)
  with pytest.raises(ImportError, match=r'ttc-jax\[translation\]'):
    evaluation.bleu(['a'], ['a'])
