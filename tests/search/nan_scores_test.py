"""A score of NaN never wins, weighs nothing, and is counted."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ttc import models, search, strategies
from ttc.search.search_tree import puct
from ttc.search.step_search import expand
from ttc.types import Prompt, Samples

NAN = float('nan')
SELECTS = [
  m for m in search.METHODS if m.select is not None and 'verification' in m.how
]


def samples_of(answers, scores, log_probs=None):
  scores = np.asarray(scores, np.float32)
  return Samples(
    answers=np.asarray(answers, np.int32),
    scores=scores,
    log_probs=-np.ones_like(scores) if log_probs is None else log_probs,
    lengths=np.full(scores.shape, 3, np.int32),
    finished=np.ones(scores.shape, bool),
  )


@pytest.mark.parametrize('method', SELECTS, ids=lambda m: m.name)
def test_selections(method):
  select = jax.jit(method.select)
  choose = lambda *args: select(samples_of(*args), jnp.int32(4))
  got = choose([7, 8, 8, 9], [NAN, 0.2, NAN, 0.9])
  assert int(got.answer) == 9
  assert int(got.nan_scores) == 2
  assert int(choose([7, 8, 8, 9], [NAN] * 4).answer) == -1
  assert int(choose([7, 8, 8, 9], [0.1, 0.3, 0.3, 0.2]).nan_scores) == 0


def test_votes_by_log_probability():
  samples = samples_of(
    [7, 7, 8], [0.0] * 3, jnp.array([jnp.nan, jnp.nan, -2.0])
  )
  for method in search.METHODS:
    if method.name in (
      'rpc',
      'perplexity_consistency',
      'lowest_perplexity',
      'confidence_vote',
    ):
      select = jax.jit(method.select)
      assert int(select(samples, jnp.int32(3)).answer) == 8, method.name


def test_beams():
  parents, _ = expand(jnp.array([NAN, 0.1, -5.0, NAN]), jnp.ones(4, bool), 2)
  assert set(np.asarray(parents).tolist()) == {1, 2}


def test_reranking():
  ranking = search.rerank(
    jnp.array([[4, 5, 6]]), jnp.zeros((1, 3)), jnp.array([[NAN, 0.2, 0.7]])
  )
  np.testing.assert_array_equal(ranking.items, [[6, 5, 4]])


def test_puct_grows_with_the_visits_of_the_parent():
  """By hand: 0.5 + 0.25 * sqrt(9) / (1 + 2) * (1 + log((9 + 5 + 1) / 5))."""
  rank = puct(
    jnp.array([1.0, 1.0]),
    jnp.array([2, 2]),
    jnp.array([0.25, 0.0]),
    jnp.int32(9),
    1.0,
    5.0,
  )
  np.testing.assert_allclose(rank[0], 0.5 + 0.25 * (1 + np.log(3)), rtol=1e-6)
  assert rank[1] == -jnp.inf


def test_puct_is_what_a_descent_follows():
  """Of two equal children the one with fewer visits is explored."""
  value, visits = jnp.array([3.0, 0.9]), jnp.array([6, 2])
  rank = jax.jit(puct)(value, visits, jnp.array([0.5, 0.5]), 8, 1.25, 10.0)
  assert int(jnp.argmax(rank)) == 1


def test_hybrid_selection_never_takes_one_that_was_not_read():
  """The second passes most tests, and nobody knows how it reads."""
  verdicts = search.Verdicts(
    jnp.array([1, 5, 2]), jnp.array([1, 5, 2]), jnp.array([0.9, NAN, 0.1])
  )
  kept = search.hybrid_selection(verdicts, jnp.ones(3, bool))
  np.testing.assert_array_equal(kept, [False, False, True])


STEERED = [
  m for m in search.METHODS if m.judges_steps or m.name in ('qalign', 'quest')
]


@functools.partial(jax.jit, static_argnums=0)
def steer(method, unknown):
  """64 problems of words that end; NaN where the first letter is unknown."""
  setting = search.Setting(
    model=models.table_model(4),
    params=jnp.zeros((4, 4)),
    answer_fn=lambda prompt, responses: responses.tokens[..., 0],
    score_fn=lambda prompt, responses: jnp.where(
      unknown[responses.tokens[..., 0]], jnp.nan, 0.5
    ),
    eos_ids=(3,),
    capacity=5,
    max_steps=5,
    max_step_tokens=1,
  )
  prompt = Prompt(jnp.zeros((64, 1), jnp.int32), jnp.ones(64, jnp.int32))
  keys = jax.random.split(jax.random.key(1), 64)
  return search.solve(method, setting, keys, prompt, 4)


# One that keeps beams, one that visits nodes, one that walks; the others, which
# score by the same code, are slow.
STEERED_HERE = [
  pytest.param(
    m,
    id=m.name,
    marks=[]
    if m.name in ('beam_search', 'mcts', 'qalign')
    else pytest.mark.slow,
  )
  for m in STEERED
]


@pytest.mark.parametrize('method', STEERED_HERE)
def test_searches(method):
  known = steer(method, jnp.zeros(4, bool))
  assert np.all(known.nan_scores == 0) and np.any(known.answer == 1)
  some = steer(method, jnp.arange(4) == 1)
  assert np.all(some.answer != 1)
  assert 0 < np.sum(some.nan_scores) < np.sum(some.verifier_calls)
  none = steer(method, jnp.ones(4, bool))
  np.testing.assert_array_equal(none.answer, -1)
  np.testing.assert_array_equal(none.nan_scores, none.verifier_calls)


def test_an_unknown_attempt_does_not_void_its_chain():
  """Two chains of two; of the first only the second attempt is known."""
  vote = jax.jit(search.chain_vote(2))
  chosen = vote(samples_of([5, 6, 7, 7], [NAN, 0.9, 0.2, 0.3]), jnp.int32(4))
  assert (int(chosen.answer), int(chosen.nan_scores)) == (6, 1)
  none = vote(samples_of([5, 6, 7, 7], [NAN] * 4), jnp.int32(4))
  assert (int(none.answer), int(none.nan_scores)) == (-1, 4)


def test_the_conformal_test_rejects_it_and_keeps_it_as_the_worst():
  calibrate = jax.jit(search.calibrate, static_argnames='capacity')
  calibration = calibrate(jnp.array([0.1, NAN, 0.3]), capacity=5)
  scores = np.asarray(calibration.scores)
  np.testing.assert_array_equal(scores[:2], np.float32([0.1, 0.3]))
  ranks = jax.jit(search.conformal_rank)(
    calibration, jnp.array([0.2, 0.5, NAN])
  )
  np.testing.assert_array_equal(ranks, [1, 2, 3])
  assert bool(search.rank_test(calibration, jnp.float32(NAN), 1.0))


@pytest.mark.parametrize('parents', strategies.archive.PARENT_RULES[:2])
def test_a_variant_of_unknown_score_has_no_children(parents):
  """Genomes that begin with a 1 score NaN; the first does not."""
  score = lambda genome: jnp.where(genome[0] == 1, NAN, 0.1 * genome[1])
  run = lambda key: strategies.evolve(
    key,
    jnp.zeros(2, jnp.int32),
    jnp.array([2, 4]),
    score,
    20,
    parents=parents,
  )
  archive = jax.jit(run)(jax.random.key(0))
  unknown = np.isnan(archive.scores)
  assert unknown.any() and np.all(np.asarray(archive.children)[unknown] == 0)


@pytest.mark.parametrize('seed', range(4))  # who comes first
@pytest.mark.parametrize('propose', ['random_order', 'grid', 'greedy'])
def test_a_value_of_nan_is_never_the_incumbent(propose, seed):
  values = {(0,): -3.0, (1,): NAN, (2,): -1.0, (3,): NAN}
  told = []

  def listen(sizes, rng):
    search = getattr(strategies, propose)(sizes, rng)
    point = next(search)
    while True:
      told.append((yield point))
      point = search.send(told[-1])

  history = strategies.run_search(listen, values.__getitem__, (4,), 4, seed)
  assert np.isnan(history.values).sum() == 2
  assert tuple(strategies.incumbents(history, 4)[-1]) == (2,)
  assert all(value in (-3.0, -1.0, -np.inf) for value in told)


def test_a_model_of_the_values_does_without_those_of_nan():
  pytest.importorskip('bayes_opt')
  value = lambda point: NAN if point[0] % 3 == 0 else -((point[0] - 7) ** 2.0)
  history = strategies.run_search(strategies.bayesian(2), value, (12,), 12)
  assert np.isnan(history.values).sum() == 4
  assert tuple(strategies.incumbents(history, 12)[-1]) == (7,)


def test_a_question_without_an_embedding_is_no_exemplar():
  pool = jnp.array([[1.0, 0.0], [NAN, 0.0], [0.6, 0.8]])
  chosen = search.nearest_exemplars(jnp.array([[1.0, 0.0]]), pool, 3)
  np.testing.assert_array_equal(chosen, [[0, 2, -1]])
