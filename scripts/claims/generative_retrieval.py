"""Reranking what a generative retriever returns (2508.18132)."""

import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl import flags

from claims.row import Row, difference, interval, signed
from ttc import evaluation, finetuning, models, search
from ttc.types import Prompt

NUM_ITEMS, NUM_WORDS, NUM_VALUES = 256, 6, 16
WORD_LENGTH = 3  # codes: the item's first words; its others, one must remember
NOISE = 0.4  # chance that a word of a query is another one
RERANK_ERROR = 1.0  # of the reranker's log-odds, standard deviation
NUM_RETRIEVED = 10
NUM_QUERIES, NUM_STEPS = 512, 600  # of a seed; training steps of 128 queries
START = NUM_VALUES  # the token that ends a query

CONFIG = models.TransformerConfig(
  vocab_size=NUM_VALUES + 1,
  num_layers=2,
  embed_dim=64,
  mlp_dim=128,
  num_heads=4,
  num_kv_heads=4,
  head_dim=16,
  max_length=16,
)


def reproduce(num_seeds: int) -> Row:
  """Reranked, ten items are in a better order, and the same ten."""
  runs = jax.tree.map(
    lambda *x: np.stack(x), *[run_seed(seed) for seed in range(num_seeds)]
  )
  top = {name: x.ravel() for name, x in runs['ndcg@1'].items()}
  mrr = {name: x.ravel() for name, x in runs['mrr'].items()}
  found = {name: x.ravel() for name, x in runs['recall'].items()}
  gap = {
    name: difference(top[name], top['retriever'])
    for name in top
    if name != 'retriever'
  }
  lost = runs['illegal'].ravel()
  errors = np.abs(runs['total'] - 1).max()
  cells = [
    f'{name} nDCG@1 {interval(top[name])}, MRR {interval(mrr[name])}'
    for name in ('retriever', 'reranked', 'mixed')
  ]
  chance = found['retriever'] / NUM_RETRIEVED
  blind = difference(top['blind'], chance)
  return Row(
    f'generative_retrieval ({NUM_ITEMS} items, words of {WORD_LENGTH} codes of '
    f'{NUM_VALUES}; 2 layers of 64, queries with {NOISE} noise)',
    f'reranking the first {NUM_RETRIEVED} lifts nDCG@1 by 10 points or more, '
    'and never recall; the trie is never left',
    f'{"; ".join(cells)}; reranked to retriever {signed(gap["reranked"])}, '
    f'mixed {signed(gap["mixed"])}; recall@{NUM_RETRIEVED} '
    f'{interval(found["retriever"])} for all; a beam as wide as the corpus: '
    f'every item, probabilities sum to 1 within {errors:.0e}',
    f'without the trie {interval(lost)} of the {NUM_RETRIEVED} words are no '
    f"item's, and of the first words {interval(runs['illegal first'].ravel())};"
    f' a reranker that knows nothing: nDCG@1 {interval(top["blind"])}, '
    f'{signed(blind)} to any order, mixed {signed(gap["blind mixed"])} to the '
    'retriever',
    bool(
      evaluation.confidence_interval(gap['reranked'])[0] >= 0.1
      and all(np.array_equal(x, found['retriever']) for x in found.values())
      and runs['all legal'].all()
      and errors < 1e-3
      and lost.mean() > 0
      and abs(blind.mean) < 3 * blind.standard_error
      and gap['blind mixed'].mean < 2 * gap['blind mixed'].standard_error
    ),
  )


def make_corpus(key):
  """The words of the items; their first ones tell them apart."""
  code_key, word_key = jax.random.split(key)
  codes = jax.random.choice(
    code_key, NUM_VALUES**WORD_LENGTH, (NUM_ITEMS,), replace=False
  )
  place = NUM_VALUES ** jnp.arange(WORD_LENGTH)
  others = jax.random.randint(
    word_key, (NUM_ITEMS, NUM_WORDS - WORD_LENGTH), 0, NUM_VALUES
  )
  return jnp.concatenate([codes[:, None] // place % NUM_VALUES, others], axis=1)


def draw_queries(key, corpus, num):
  """Items, and what is said of them: some words are others."""
  item_key, noise_key, other_key = jax.random.split(key, 3)
  items = jax.random.randint(item_key, (num,), 0, NUM_ITEMS)
  shape = (num, NUM_WORDS)
  is_other = jax.random.bernoulli(noise_key, NOISE, shape)
  shift = jax.random.randint(other_key, shape, 1, NUM_VALUES)
  words = (corpus[items] + is_other * shift) % NUM_VALUES
  return items, jnp.pad(words, ((0, 0), (0, 1)), constant_values=START)


def trained(seed, corpus):
  """Parameters of a retriever; trains it unless that was done before."""
  directory = pathlib.Path(flags.FLAGS.workdir) / f'retriever_{seed}'
  if not (directory / 'transformer.json').exists():
    params = train(jax.random.key(seed), corpus)
    models.save_checkpoint(directory, CONFIG, params)
  return models.load(str(directory)).params


@jax.jit
def train(key, corpus):
  """Learns to write the codes of the item behind a query."""
  model = models.transformer(CONFIG)
  optimizer = optax.adam(
    optax.warmup_cosine_decay_schedule(0.0, 3e-3, 50, NUM_STEPS)
  )
  step = finetuning.make_train_step(
    lambda params, batch: finetuning.next_token_loss(model, params, *batch),
    optimizer,
  )

  def batch_fn(key):
    items, queries = draw_queries(key, corpus, 128)
    tokens = jnp.concatenate([queries, corpus[items, :WORD_LENGTH]], axis=1)
    is_code = jnp.arange(tokens.shape[1]) > NUM_WORDS
    return tokens, jnp.broadcast_to(is_code, tokens.shape)

  state = finetuning.init_state(model.init, optimizer, key)
  state, _ = finetuning.run_steps(step, batch_fn, state, NUM_STEPS)
  return state.params


def run_seed(seed):
  """Metrics by query, of each method."""
  corpus_key, query_key = jax.random.split(jax.random.key(1000 + seed))
  corpus = make_corpus(corpus_key)
  params = trained(seed, corpus)
  trie = search.build_trie(
    np.asarray(corpus[:, :WORD_LENGTH]), CONFIG.vocab_size
  )
  return jax.device_get(measure(params, query_key, corpus, trie))


@jax.jit
def measure(params, key, corpus, trie):
  """Retrieves, reranks and rates."""
  draw_key, error_key, blind_key = jax.random.split(key, 3)
  targets, queries = draw_queries(draw_key, corpus, NUM_QUERIES)
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
    'all legal': jnp.all(out.items >= 0),
    'illegal': jnp.mean(free.items < 0, axis=1),
    'illegal first': 1.0 * (free.items[:, 0] < 0),
    'total': jnp.sum(jnp.exp(whole.log_probs), axis=1),
  }


def log_odds(queries, corpus):
  """Exact log-odds that a query is about each item."""
  same = jnp.sum(queries[:, None, :NUM_WORDS] == corpus, axis=-1)
  per_word = jnp.log((1 - NOISE) / (NOISE / (NUM_VALUES - 1)))
  log_probs = jax.nn.log_softmax(same * per_word, axis=1)
  return log_probs - jnp.log(-jnp.expm1(jnp.minimum(log_probs, -1e-6)))
