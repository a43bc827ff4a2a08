"""How close texts are to references: chrF and BLEU, through `sacrebleu`.

Post-editing (2510.06471) is judged on translations, where an answer is not
right or wrong. chrF (Popovic, 2015) is the F-score of character n-grams up to
6, with recall counted twice as much as precision; BLEU (Papineni et al., 2002)
the geometric mean of the precisions of word n-grams up to 4, times a penalty
for brevity. chrF is given for each text, and can be averaged and bootstrapped
over them like correctness; BLEU only means something for a whole corpus.
"""

import types
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float


def chrf(
  texts: Sequence[str], references: Sequence[str], *, num_words: int = 0
) -> Float[np.ndarray, ' B']:
  """How close each text is by chrF, in [0, 1].

  Args:
    texts: what was written.
    references: what it should be, one for each text.
    num_words: longest word n-gram that counts too; 2 is called chrF++.

  Returns:
    Scores; 1 for equal texts.

  Raises:
    ValueError: unless there is one reference for each text.
    ImportError: without `sacrebleu`.
  """
  metric = _metrics().CHRF(word_order=num_words)
  scores = [
    metric.sentence_score(text, [reference]).score / 100
    for text, reference in _pairs(texts, references)
  ]
  return np.array(scores, np.float64)


def bleu(texts: Sequence[str], references: Sequence[str]) -> float:
  """BLEU of a corpus, in [0, 1]; arguments and errors as for `chrf`."""
  pairs = _pairs(texts, references)
  hypotheses, wanted = map(list, zip(*pairs, strict=True))
  return _metrics().BLEU().corpus_score(hypotheses, [wanted]).score / 100


def _pairs(texts, references):
  """Texts with their references."""
  if len(texts) != len(references) or not texts:
    raise ValueError(
      f'{len(texts)} texts and {len(references)} references; each text needs '
      'one, and there must be a text'
    )
  return list(zip(texts, references, strict=True))


def _metrics() -> types.ModuleType:
  """The metrics of `sacrebleu`."""
  try:
    import sacrebleu.metrics
  except ImportError as error:
    raise ImportError(
      "chrF and BLEU need sacrebleu: pip install 'ttc-jax[translation]'"
    ) from error
  return sacrebleu.metrics
