r"""BM25: how well texts answer the words of a query.

.. math:: \sum_{w \in q} \log\left(1 + \frac{N - n_w + .5}{n_w + .5}\right)
  \frac{f_{wd} (k_1 + 1)}{f_{wd} + k_1 (1 - b + b |d| / \bar{|d|})}

Robertson & Zaragoza, 2009; with the logarithm of Lucene, which is never
negative. Cost: documents times words of the query.
"""

import re
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float


class BM25(NamedTuple):
  """An index of documents."""

  counts: tuple[Counter[str], ...]
  lengths: Float[np.ndarray, ' D']  # words
  found_in: Counter[str]  # documents that have a word


def bm25_index(documents: Sequence[str]) -> BM25:
  """Counts the words of documents; at least one."""
  if not documents:
    raise ValueError('documents=[] is empty; expected at least one document')
  counts = tuple(Counter(_words(text)) for text in documents)
  lengths = np.array([max(x.total(), 1) for x in counts], np.float64)
  return BM25(counts, lengths, Counter(w for x in counts for w in x))


def bm25_scores(
  index: BM25, query: str, *, k1: float = 1.2, b: float = 0.75
) -> Float[np.ndarray, ' D']:
  """The score of every document; higher is better, 0 without a common word.

  Args:
    index: of the documents.
    query: words that come twice count twice.
    k1: how soon more of a word is no more.
    b: how much longer documents are held to have more words anyway.
  """
  total = len(index.counts)
  scale = k1 * (1 - b + b * index.lengths / index.lengths.mean())
  scores = np.zeros(total)
  for word in _words(query):
    n = index.found_in[word]
    weight = np.log(1 + (total - n + 0.5) / (n + 0.5))
    f = np.array([x[word] for x in index.counts], np.float64)
    scores += weight * f * (k1 + 1) / (f + scale)
  return scores


def _words(text: str) -> list[str]:
  return re.findall(r'\w+', text.lower())
