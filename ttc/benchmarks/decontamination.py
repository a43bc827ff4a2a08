r"""LLM decontaminator: test items trained on in other words (2311.04850).

Yang et al., "Rethinking Benchmark and Contamination for Language Models with
Rephrased Samples". The `top_k` training texts nearest to each test item are
shown to a judge beside it; an item is contaminated if any is the same problem.
Embeddings cost `train + test` calls of `embed_fn` and `train x test` products,
the judge `test x top_k` calls. Items that share a long passage need `top_k` of
5 and more: the nearest of one text is the wrong partner.

`DETECTORS` are what is used instead, pair by pair: n-grams, long substrings,
fuzzy ratios. Published rates: 18.9% of HumanEval in 4 G of The Stack, 12.8% in
CodeAlpaca, 15.4% of MATH in MATHInstruct.
"""

import collections
import math
import re
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from ttc.benchmarks import judges
from ttc.benchmarks.judges import JudgeFn
from ttc.benchmarks.text_likeness import ratio
from ttc.benchmarks.text_overlap import (
  longest_substring,
)

EmbedFn: TypeAlias = Callable[[Sequence[str]], Float[np.ndarray, 'n D']]
# `pairs of (test, train) -> whether each is the same problem`.
SameFn: TypeAlias = Callable[[Sequence[tuple[str, str]]], list[bool]]

# What makes two items one, by type of data.
INSTRUCTIONS = {
  'math': (
    'Do these two problems ask for the same with the same numbers, in whatever '
    'words?'
  ),
  'math_strict': (
    'Are these two problems the same, also if only numbers or names differ?'
  ),
  'code': 'Do these two texts describe or solve the same programming task?',
  'knowledge': 'Do these two questions ask for the same piece of knowledge?',
}


class Decontamination(NamedTuple):
  """Which test items are in the training texts."""

  contaminated: list[bool]  # of each test item
  neighbours: Int[np.ndarray, 'test K']  # indices of training texts
  similarities: Float[np.ndarray, 'test K']  # cosines, falling

  @property
  def rate(self) -> float:
    """Share of the test items that are contaminated."""
    return sum(self.contaminated) / len(self.contaminated)


def decontaminate(
  train: Sequence[str],
  test: Sequence[str],
  embed_fn: EmbedFn,
  same_fn: SameFn,
  *,
  top_k: int = 1,
) -> Decontamination:
  """Finds test items that are in the training texts in other words.

  Args:
    train: texts that were trained on.
    test: items.
    embed_fn: of texts; for instance `hashed_embedding(train)`.
    same_fn: the judge; for instance `judged_same`.
    top_k: neighbours that are judged, at most all (source: 1).

  Returns:
    What was found.

  Raises:
    ValueError: if there are no texts, or fewer than `top_k`.
  """
  if not test or not 1 <= top_k <= len(train):
    raise ValueError(
      f'{top_k=} of {len(train)} training texts for {len(test)} items; '
      'expected an item, and 1 to as many as there are texts'
    )
  near = nearest(
    jnp.asarray(embed_fn(train)), jnp.asarray(embed_fn(test)), top_k
  )
  indices = np.asarray(near[1])
  pairs = [
    (test[i], train[int(j)]) for i, row in enumerate(indices) for j in row
  ]
  same = np.reshape(np.array(same_fn(pairs), bool), indices.shape)
  return Decontamination(
    [bool(row.any()) for row in same], indices, np.asarray(near[0])
  )


def nearest(
  train: Float[Array, 'n D'],
  test: Float[Array, 'm D'],
  top_k: int,
  *,
  block_size: int = 4096,
) -> tuple[Float[Array, 'm K'], Int[Array, 'm K']]:
  """The nearest training texts of each item, by cosine.

  Args:
    train: embeddings of unit length.
    test: likewise.
    top_k: `K`; static.
    block_size: training texts at a time; static.

  Returns:
    Cosines, falling, and indices; of equal ones the first comes first.
  """
  num_blocks = -(-train.shape[0] // block_size)
  padding = num_blocks * block_size - train.shape[0]
  blocks = jnp.pad(train, ((0, padding), (0, 0)))
  blocks = blocks.reshape(num_blocks, block_size, -1)

  def merge(best, inputs):
    number, block = inputs
    ids = number * block_size + jnp.arange(block_size, dtype=jnp.int32)
    cosines = jnp.where(ids < train.shape[0], test @ block.T, -jnp.inf)
    values = jnp.concatenate([best[0], cosines], axis=1)
    ids = jnp.broadcast_to(ids, cosines.shape)
    ids = jnp.concatenate([best[1], ids], axis=1)
    values, places = jax.lax.top_k(values, top_k)
    return (values, jnp.take_along_axis(ids, places, axis=1)), None

  start = (
    jnp.full((test.shape[0], top_k), -jnp.inf, train.dtype),
    jnp.full((test.shape[0], top_k), -1, jnp.int32),
  )
  numbers = jnp.arange(num_blocks, dtype=jnp.int32)
  return jax.lax.scan(merge, start, (numbers, blocks))[0]


def hashed_embedding(
  corpus: Sequence[str],
  *,
  size: int = 2048,
  lengths: Sequence[int] = (3, 4, 5),
  max_share: float = 0.1,
) -> EmbedFn:
  """Character n-grams, weighed by rarity and hashed with signs.

  Needs no model. A gram that `n` of `N` texts have weighs
  `log(1 + count) log((1 + N) / (1 + n))`, and nothing if `n` is too many: what
  the texts of one template share says nothing of their problems. Weinberger et
  al., 2009: with signs hashing leaves products without bias.

  Args:
    corpus: texts in which rarity is counted.
    size: of an embedding.
    lengths: of the n-grams.
    max_share: of the texts, in which a gram may be; always in one.

  Returns:
    Embeddings of unit length; of a text without letters 0.
  """

  def grams(text: str) -> collections.Counter[str]:
    text = f' {" ".join(re.findall(r"[a-z0-9]+", text.lower()))} '
    return collections.Counter(
      text[i : i + n] for n in lengths for i in range(len(text) - n + 1)
    )

  seen = collections.Counter(gram for text in corpus for gram in grams(text))

  def embed(texts: Sequence[str]) -> Float[np.ndarray, 'n D']:
    found = np.zeros((len(texts), size))
    for row, text in zip(found, texts, strict=True):
      for gram, count in grams(text).items():
        if seen[gram] > max(1.0, max_share * len(corpus)):
          continue
        rarity = math.log((1 + len(corpus)) / (1 + seen[gram]))
        digest = zlib.crc32(gram.encode())
        sign = 1 if digest >> 31 else -1
        row[digest % size] += sign * math.log1p(count) * rarity
    norms = np.linalg.norm(found, axis=1, keepdims=True)
    return (found / np.maximum(norms, 1e-12)).astype(np.float32)

  return embed


def judged_same(judge: JudgeFn, kind: str, *, tries: int = 3) -> SameFn:
  """Asks a judge about every pair; no answer in `tries` votes is False.

  Args:
    judge: is asked.
    kind: a key of `INSTRUCTIONS`.
    tries: votes until one says True or False.
  """
  if kind not in INSTRUCTIONS:
    raise ValueError(f'{kind=} is not one of {sorted(INSTRUCTIONS)}')

  def same(pairs: Sequence[tuple[str, str]]) -> list[bool]:
    prompts = [
      f'{INSTRUCTIONS[kind]} Reply True or False.\n\nFirst:\n{test}\n\n'
      f'Second:\n{train}'
      for test, train in pairs
    ]
    found = []
    for votes in judge(prompts, tries):
      said = (
        word for vote in votes for word in ('True', 'False')
        if judges.says(vote, word)
      )  # fmt: skip
      found.append(next(said, 'False') == 'True')
    return found

  return same


def shared_words(first: str, second: str, n: int) -> int:
  """How many n-grams of words two texts share."""

  def grams(text):
    words = re.findall(r'\w+', text.lower())
    return {tuple(words[i : i + n]) for i in range(len(words) - n + 1)}

  return len(grams(first) & grams(second))


def word_overlap(test: str, train: str, n: int = 8) -> float:
  """Share of the test item's words that are in an n-gram of both."""
  words, others = (re.findall(r'\w+', x.lower()) for x in (test, train))
  grams = {tuple(others[i : i + n]) for i in range(len(others) - n + 1)}
  covered = set()
  for i in range(len(words) - n + 1):
    if tuple(words[i : i + n]) in grams:
      covered.update(range(i, i + n))
  return len(covered) / len(words) if words else 0.0


# `(test, train) -> whether it is called contaminated`.
DETECTORS: Mapping[str, Callable[[str, str], bool]] = {
  '13-grams of words': lambda test, train: shared_words(test, train, 13) > 0,
  '8-grams over 70%': lambda test, train: word_overlap(test, train) >= 0.7,
  '50 characters': lambda test, train: longest_substring(test, train) >= 50,
  'fuzzy ratio 95': lambda test, train: ratio(test, train) >= 95,
}


def detection_f1(found: Sequence[bool], true: Sequence[bool]) -> float:
  """F1 of a detector; 0 where nothing was found or is there (source)."""
  hits = sum(f and t for f, t in zip(found, true, strict=True))
  total = sum(found) + sum(true)
  return 2 * hits / total if hits else 0.0


def best_threshold_f1(
  similarities: Float[np.ndarray, ' n'], true: Sequence[bool]
) -> tuple[float, float]:
  """F1 of a similarity alone at its best threshold, and the threshold."""
  best = max(
    (detection_f1((similarities >= x).tolist(), true), float(x))
    for x in np.unique(similarities)
  )
  return best
