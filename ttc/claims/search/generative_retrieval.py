"""Reranking what a generative retriever returns (2508.18132)."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from ttc import evaluation, models, search
from ttc.claims.claim import (
  Claim,
  above,
  compares,
  equals,
  interval,
  text,
)
from ttc.testbeds.retriever import (
  CONFIG,
  NOISE,
  NUM_ITEMS,
  NUM_VALUES,
  WORD_LENGTH,
  draw_queries,
  log_odds,
  make_corpus,
  retriever,
)
from ttc.types import Prompt

RERANK_ERROR = 1.0  # of the reranker's log-odds, standard deviation
NUM_RETRIEVED = 10
NUM_QUERIES = 512  # of a seed


def measure(seed, size, cache):
  """Metrics by query, of each order of what is retrieved."""
  corpus_key, query_key = jax.random.split(jax.random.key(1000 + seed))
  corpus = make_corpus(corpus_key)
  params = retriever(seed, size, cache, corpus).params
  trie = search.build_trie(
    np.asarray(corpus[:, :WORD_LENGTH]), CONFIG.vocab_size
  )
  return run(params, query_key, corpus, trie, size.problems(NUM_QUERIES))


@functools.partial(jax.jit, static_argnums=4)
def run(params, key, corpus, trie, num_queries):
  """Retrieves, reranks and rates."""
  draw_key, error_key, blind_key = jax.random.split(key, 3)
  targets, queries = draw_queries(draw_key, corpus, num_queries)
  retrieve = functools.partial(
    search.trie_beam_search,
    models.transformer(CONFIG),
    params,
    trie=trie,
    word_length=WORD_LENGTH,
  )
  prompt_of = lambda queries: Prompt(
    queries, jnp.full(queries.shape[:1], queries.shape[1])
  )
  prompt = prompt_of(queries)
  out = retrieve(prompt, width=NUM_RETRIEVED)
  free = retrieve(prompt, width=NUM_RETRIEVED, constrain=False)
  whole = retrieve(prompt_of(queries[:8]), width=NUM_ITEMS)

  odds = jnp.take_along_axis(log_odds(queries, corpus), out.items, axis=1)
  error = RERANK_ERROR * jax.random.normal(error_key, odds.shape)
  told = jax.nn.sigmoid(odds + error)
  guessed = jax.random.uniform(blind_key, odds.shape)
  ranked = lambda relevance, alpha: (
    search.rerank(out.items, out.log_probs, relevance, alpha).items
  )
  orders = {
    'retriever': out.items,
    'reranked': ranked(told, 0.0),
    'mixed': ranked(told, 0.5),
    'blind': ranked(guessed, 0.0),
    'blind mixed': ranked(guessed, 0.5),
  }
  is_target = jax.tree.map(lambda x: 1.0 * (x == targets[:, None]), orders)
  every = jax.nn.one_hot(targets, NUM_ITEMS)
  rate = lambda metric: jax.tree.map(metric, is_target)
  return {
    'ndcg@1': rate(lambda x: evaluation.ndcg(x, every, 1)),
    'mrr': rate(evaluation.reciprocal_rank),
    'recall': rate(lambda x: evaluation.recall(x, every, NUM_RETRIEVED)),
    'all legal': jnp.all(out.items >= 0, axis=1),
    'illegal': jnp.mean(free.items < 0, axis=1),
    'illegal first': 1.0 * (free.items[:, 0] < 0),
    'total': jnp.sum(jnp.exp(whole.log_probs), axis=1),
  }


def figure(data):
  """Of the retriever, and reranked with and without its own scores."""
  return '; '.join(
    f'{name} nDCG@1 {interval(data["ndcg@1"][name])}, MRR '
    f'{interval(data["mrr"][name])}'
    for name in ('retriever', 'reranked', 'mixed')
  )


def recall(data):
  """Is that of the retriever, whatever the order; the trie is never left."""
  errors = np.abs(data['total'] - 1).max()
  return (
    f'recall@{NUM_RETRIEVED} {interval(data["recall"]["retriever"])} for all; '
    'a beam as wide as the corpus: every item, probabilities sum to 1 within '
    f'{errors:.0e}'
  )


def is_kept(data):
  """Recall, legality and the law of the beam."""
  found = data['recall']
  return (
    all(np.array_equal(x, found['retriever']) for x in found.values())
    and data['all legal'].all()
    and np.abs(data['total'] - 1).max() < 1e-3
  )


def without_trie(data):
  """How many words are no item's."""
  return (
    f'without the trie {interval(data["illegal"])} of the {NUM_RETRIEVED} '
    f"words are no item's, and of the first words "
    f'{interval(data["illegal first"])}; a reranker that knows nothing: nDCG@1 '
    f'{interval(data["ndcg@1"]["blind"])}'
  )


CLAIM = Claim(
  f'generative_retrieval ({NUM_ITEMS} items, words of {WORD_LENGTH} codes of '
  f'{NUM_VALUES}; 2 layers of 64, queries with {NOISE} noise)',
  '2508.18132',
  f'reranking the first {NUM_RETRIEVED} lifts nDCG@1 by 10 points or more, and '
  'never recall; the trie is never left',
  measure,
  checks=[
    text(figure),
    above('reranked to retriever ', 'ndcg@1/reranked', 'ndcg@1/retriever', 0.1),
    compares('mixed ', 'ndcg@1/mixed', 'ndcg@1/retriever'),
    text(recall, is_kept),
  ],
  controls=[
    text(without_trie, lambda d: d['illegal'].mean() > 0),
    equals(
      'to any order ',
      'ndcg@1/blind',
      lambda d: d['recall']['retriever'] / NUM_RETRIEVED,
    ),
    compares(
      'mixed to the retriever ',
      'ndcg@1/blind mixed',
      'ndcg@1/retriever',
      lambda gap: gap.mean < 2 * gap.standard_error,
    ),
  ],
)
