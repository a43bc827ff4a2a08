r"""YourBench: an evaluation set from documents of one's own (2504.01833).

Shashidhar et al., "YourBench: Easy Custom Evaluation Sets for Everyone".
Documents are cut into chunks; a model writes questions with answers and literal
citations; what its citations do not ground is dropped:

.. math:: \text{score} = \frac{1}{|c|} \sum_c \max_s
  \text{PartialRatio}(c, s) / 100

kept from .85 on. Of questions that say the same, found by density in the space
of embeddings (DBSCAN, cosine), the one nearest to the middle is kept and weighs
the root of their number. Whether the set ranks models as another does is
Spearman's correlation (1 on seven parts of MMLU, in the paper).

Cost: a call of the generator for each chunk; `|s| |c|` bit operations on words
of `|c|` bits for a citation in a chunk; `n^2` similarities for n questions.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int, PRNGKeyArray

from ttc.benchmarks.benchmark import Benchmark, Verdict
from ttc.benchmarks.judges import JudgeFn, ask, says
from ttc.benchmarks.schema import Field, Record, from_records
from ttc.benchmarks.text_likeness import partial_ratio
from ttc.benchmarks.text_overlap import exact_match, token_f1
from ttc.tasks import Item
from ttc.tasks.graders import reply

SCHEMA = (
  Field('question_id'),
  Field('question'),
  Field('self_answer'),
  Field('citations', list, of=str, optional=True),
  Field('chunks', list, of=str, optional=True),
  Field('self_assessed_question_type', optional=True),
  Field('weight', object, optional=True),  # a positive number
)
LEAST_SCORE = 0.85  # of the citations of a question that is kept
NOISE = -1  # the cluster of what is in none


class Question(NamedTuple):
  """A generated question."""

  text: str
  answer: str
  citations: tuple[str, ...]
  chunks: tuple[str, ...]  # of its documents
  kind: str = ''
  weight: float = 1.0


class Validity(NamedTuple):
  """How two evaluations agree about the order of models."""

  spearman: float
  low: float  # of a 95% interval over questions
  high: float
  kendall: float  # tau-b


EmbedFn: TypeAlias = Callable[[Sequence[str]], Float[np.ndarray, 'N D']]
# Questions of a group of chunks; two or more chunks ask for several hops.
GenerateFn: TypeAlias = Callable[[Sequence[str]], Sequence[Question]]


def yourbench() -> Benchmark:
  """Makes the benchmark of a generated set; scores weigh as their questions.

  An answer is right if it is the same as the generated one when normalised, or
  else if the judge says so; without a judge to be asked, `token F1` is a lower
  bound beside it.
  """
  return Benchmark(
    name='yourbench',
    title='YourBench: Easy Custom Evaluation Sets for Everyone',
    paper='2504.01833',
    metric='weighted accuracy',
    schema=SCHEMA,
    load=from_records(SCHEMA, _to_item),
    prompt=lambda item: f'{item.question}\nAnswer in a few words.',
    grade=_grade,
    aggregate=_aggregate,
    categories=lambda item: {'kind': item.meta['kind']},
    max_new_tokens=128,
  )


def citation_score(citations: Sequence[str], chunks: Sequence[str]) -> float:
  """How well chunks ground citations, in 0..1; 0 without any."""
  if not citations or not chunks:
    return 0.0
  best = [max(partial_ratio(c, s) for s in chunks) / 100 for c in citations]
  return float(np.mean(best))


def grounding(question: Question) -> float:
  """Of later versions: 0.7 of the chunks' score and 0.3 of the answer's."""
  chunks = citation_score(question.citations, question.chunks)
  return 0.7 * chunks + 0.3 * citation_score(
    question.citations, [question.answer]
  )


def chunk_tokens(text: str, size: int, overlap: int = 0) -> list[str]:
  """Windows of so many words, each of which begins with the last's end."""
  if not 0 <= overlap < size:
    raise ValueError(f'overlap={overlap} of size={size}; expected less')
  words = text.split()
  starts = range(0, max(len(words) - overlap, 1), size - overlap)
  return [' '.join(words[i : i + size]) for i in starts]


def chunk_semantic(text: str, embed: EmbedFn, least: float) -> list[str]:
  """Sentences together, cut where neighbours are less alike than `least`."""
  sentences = [x for x in re.split(r'(?<=[.!?])\s+', text.strip()) if x]
  if not sentences:
    return []
  vectors = _unit(embed(sentences))
  likeness = (vectors[1:] * vectors[:-1]).sum(axis=1)
  chunks = [[sentences[0]]]
  for sentence, like in zip(sentences[1:], likeness, strict=True):
    if like < least:
      chunks.append([])
    chunks[-1].append(sentence)
  return [' '.join(chunk) for chunk in chunks]


def chunk_groups(
  key: PRNGKeyArray, num_chunks: int, hops: int, num_groups: int
) -> Int[np.ndarray, 'G H']:
  """Groups of different chunks for questions of several hops."""
  if not 2 <= hops <= num_chunks:
    raise ValueError(f'hops={hops} is not in [2, {num_chunks}]')
  keys = jax.random.split(key, num_groups)
  order = jax.vmap(lambda k: jax.random.permutation(k, num_chunks)[:hops])(keys)
  return np.sort(np.asarray(order, np.int32), axis=1)


def dbscan(
  distances: Float[np.ndarray, 'N N'], epsilon: float, min_samples: int
) -> Int[np.ndarray, ' N']:
  """Clusters by density (Ester et al., 1996), exactly.

  Args:
    distances: between points.
    epsilon: points as near are neighbours; a point is its own.
    min_samples: neighbours that make a point a core.

  Returns:
    A cluster for each point, counted in the order of the points, or `NOISE`. A
    point that is near cores of two clusters goes to the first.
  """
  near = np.asarray(distances) <= epsilon
  is_core = near.sum(axis=1) >= min_samples
  labels = np.full(len(near), NOISE, np.int32)
  cluster = 0
  for start in range(len(near)):
    if not is_core[start] or labels[start] != NOISE:
      continue
    open_ = [start]
    labels[start] = cluster
    while open_:
      point = open_.pop()
      if is_core[point]:
        new = np.flatnonzero(near[point] & (labels == NOISE))
        labels[new] = cluster
        open_ += new.tolist()
    cluster += 1
  return labels


def deduplicate(
  questions: Sequence[Question],
  embed: EmbedFn,
  epsilon: float = 0.1,
  min_samples: int = 2,
) -> list[Question]:
  """One question of each cluster, of each kind apart, with its weight.

  Args:
    questions: generated.
    embed: texts to vectors; of question and answer together.
    epsilon: cosine distance of neighbours.
    min_samples: see `dbscan`.

  Returns:
    Of each cluster the question nearest to its middle, with the root of the
    cluster's size as weight; and those in no cluster, with weight 1.
  """
  kept = []
  for kind in dict.fromkeys(q.kind for q in questions):
    group = [q for q in questions if q.kind == kind]
    vectors = _unit(embed([f'{q.text} {q.answer}' for q in group]))
    labels = dbscan(
      np.maximum(1 - vectors @ vectors.T, 0), epsilon, min_samples
    )
    for label in sorted({x for x in labels.tolist() if x != NOISE}):
      members = np.flatnonzero(labels == label)
      middle = _unit(vectors[members].mean(axis=0, keepdims=True))[0]
      best = members[(vectors[members] @ middle).argmax()]
      kept.append(group[best]._replace(weight=float(len(members) ** 0.5)))
    kept += [
      group[i]._replace(weight=1.0) for i in np.flatnonzero(labels == NOISE)
    ]
  return kept


def build(
  chunks: Sequence[Sequence[str]],
  generate: GenerateFn,
  embed: EmbedFn,
  least: float = LEAST_SCORE,
  epsilon: float = 0.1,
) -> list[Question]:
  """The pipeline from chunks on: generate, ground, take one of each kind.

  Args:
    chunks: groups of chunks, one chunk or several hops.
    generate: the model.
    embed: see `deduplicate`.
    least: citation score of what is kept.
    epsilon: see `deduplicate`.
  """
  questions = [q for group in chunks for q in generate(group)]
  grounded = [
    q for q in questions if citation_score(q.citations, q.chunks) >= least
  ]
  return deduplicate(grounded, embed, epsilon)


def bag_of_words(
  texts: Sequence[str], size: int = 512
) -> Float[np.ndarray, 'N D']:
  """An embedding that needs no model: hashed counts of words."""
  import zlib

  vectors = np.zeros((len(texts), size), np.float32)
  for i, text in enumerate(texts):
    for word in re.findall(r'\w+', text.lower()):
      vectors[i, zlib.crc32(word.encode()) % size] += 1
  return vectors


def weighted_accuracy(
  weights: Sequence[float], scores: Sequence[float]
) -> float:
  """The mean of scores, as their questions weigh."""
  return float(np.average(scores, weights=weights))


def rank_validity(
  key: PRNGKeyArray,
  scores: Float[np.ndarray, 'M Q'],
  reference: Float[np.ndarray, ' M'],
  num_resamples: int = 2000,
) -> Validity:
  """Whether a set ranks models as a reference does.

  Args:
    key: of the bootstrap over questions; consumed.
    scores: of each model on each question.
    reference: of each model, elsewhere.
    num_resamples: of the bootstrap.

  Raises:
    ValueError: of fewer than two models.
  """
  from scipy import stats

  if len(scores) != len(reference) or len(reference) < 2:
    raise ValueError(
      f'scores of {len(scores)} models and a reference of {len(reference)}; '
      'expected as many, and at least two'
    )
  means = np.asarray(scores).mean(axis=1)
  num_questions = scores.shape[1]
  picks = jax.random.randint(
    key, (num_resamples, num_questions), 0, num_questions
  )
  drawn = jax.lax.map(
    lambda pick: jnp.asarray(scores, jnp.float32)[:, pick].mean(axis=1), picks
  )
  spread = [_spearman(row, reference) for row in np.asarray(drawn)]
  spread = [x for x in spread if np.isfinite(x)]  # all equal: no order
  low, high = np.quantile(spread, [0.025, 0.975]) if spread else [np.nan] * 2
  tau: Any = stats.kendalltau(means, reference, variant='b')
  rho = _spearman(means, reference)
  return Validity(rho, float(low), float(high), float(tau.statistic))


def _spearman(x, y) -> float:
  """Pearson's correlation of ranks, the mean rank for ties."""
  from scipy import stats

  ranks = np.stack([stats.rankdata(x), stats.rankdata(y)])
  ranks -= ranks.mean(axis=1, keepdims=True)
  spread = np.sqrt((ranks**2).sum(axis=1).prod())
  return float(ranks.prod(axis=0).sum() / spread) if spread else float('nan')


def _unit(vectors: Float[np.ndarray, 'N D']) -> Float[np.ndarray, 'N D']:
  norms = np.linalg.norm(vectors, axis=1, keepdims=True)
  return vectors / np.maximum(norms, 1e-12)


def _to_item(record: Record) -> Item:
  weight = record.get('weight', 1.0)
  if not isinstance(weight, int | float) or not weight > 0:
    raise ValueError(
      f"field 'weight' is {weight!r}; expected a positive number"
    )
  meta = {
    'kind': record.get('self_assessed_question_type') or 'any',
    'weight': float(weight),
  }
  citations, chunks = record.get('citations'), record.get('chunks')
  if citations and chunks:
    meta['grounded'] = citation_score(citations, chunks)
  return Item(
    record['question_id'], record['question'], record['self_answer'], meta
  )


def _grade(item: Item, completion: str, judge: JudgeFn) -> Verdict:
  said = reply(completion).strip()
  parts = {'token F1': token_f1(item.answer, said)}
  if exact_match(item.answer, said):
    return Verdict(1.0, said, 'exact', parts)
  if not said:
    return Verdict(0.0, None, 'empty', parts)
  verdict = ask(
    judge,
    f'Question: {item.question}\nGround truth: {item.answer}\n'
    f'Answer: {said}\n\nDoes the answer say what the ground truth says? Begin '
    'with yes or no.',
  )
  return Verdict(float(says(verdict, 'yes')), said, 'judge', parts)


def _aggregate(
  items: Sequence[Item], verdicts: Sequence[Sequence[Verdict]]
) -> Mapping[str, float]:
  weights = [item.meta['weight'] for item in items]
  mean = lambda get: [float(np.mean([get(x) for x in row])) for row in verdicts]
  scores = mean(lambda x: x.score)
  return {
    'weighted accuracy': weighted_accuracy(weights, scores),
    'accuracy': float(np.mean(scores)),
    'token F1': float(np.mean(mean(lambda x: x.parts.get('token F1', 0.0)))),
  }
