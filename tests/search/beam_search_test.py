"""Searches over steps, on tables whose responses can be enumerated."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ttc import models, sampling, scaling, search
from ttc.sampling import SamplingParams
from ttc.search.step_search import expand
from ttc.types import FinishReason, Generation, Prompt

V, EOS, STEP = 5, 4, 3  # words 0 to 2, a delimiter of steps, the end


def prompt_of(token, count):
  return Prompt(
    jnp.full((count, 1), token, jnp.int32), jnp.ones((count,), jnp.int32)
  )


def random_table(seed=0, size=V):
  return models.table_model(size).init(jax.random.key(seed))


def written_steps(capacity=9, **changes):
  """Steps that end at the delimiter."""
  sampler = search.StepSampler(
    model=models.table_model(V),
    stop=sampling.stop_rules(V, [EOS, STEP]),
    eos_ids=(EOS,),
    capacity=capacity,
    max_steps=capacity,
  )
  return sampler._replace(**changes)


def token_steps(length, size=V):
  """Each of exactly `length` tokens is a step."""
  return search.StepSampler(
    model=models.table_model(size),
    stop=sampling.stop_rules(size),
    eos_ids=(),
    capacity=length,
    max_steps=length,
    max_step_tokens=1,
  )


def count_ones(prompt, responses):
  del prompt
  return jnp.sum(responses.tokens == 1, axis=-1) - 0.1 * responses.lengths


@functools.partial(jax.jit, static_argnums=1)
def plain_samples(keys, n, temperature=1.0):
  return sampling.generate(
    random_table(),
    keys,
    prompt_of(0, len(keys)),
    n,
    model=models.table_model(V),
    capacity=9,
    stop=sampling.stop_rules(V, [EOS]),
    sampling=SamplingParams(temperature=temperature),
  )


def run(method, keys, *args, steps=None, score_fn=count_ones, table=None):
  table = random_table() if table is None else table
  steps = written_steps() if steps is None else steps
  prompt = prompt_of(0, len(keys))
  call = lambda keys: method(table, keys, prompt, steps, score_fn, *args)
  return jax.jit(call)(keys)


def assert_same(got, expected):
  jax.tree.map(np.testing.assert_array_equal, got, expected)


def keys_of(seed, count):
  return jax.random.split(jax.random.key(seed), count)


@pytest.mark.slow
@pytest.mark.parametrize('method', [search.beam_search, search.dvts])
def test_width_one_draws_independent_samples(method):
  """The very samples of best-of-N, and its choice."""
  keys = keys_of(1, 64)
  got = run(method, keys, 6, 1)
  expected = plain_samples(keys, 6)
  for name in ('tokens', 'lengths', 'finish_reasons'):
    assert_same(getattr(got.leaves, name), getattr(expected, name))
  np.testing.assert_allclose(got.leaves.log_probs, expected.log_probs, 1e-6)
  np.testing.assert_array_equal(got.tokens, expected.lengths.sum(axis=1))

  @jax.jit
  def select(got, expected):
    prompt = prompt_of(0, 64)
    answer_fn = lambda prompt, samples: samples.tokens[..., 0]
    samples = search.observe(prompt, expected, answer_fn, count_ones)
    answers = jnp.where(samples.finished, samples.answers, -1)
    samples = samples._replace(answers=answers)
    return (
      search.select_leaf(got, prompt, answer_fn, search.select_best),
      search.select_each(search.select_best, samples),
    )

  chosen, best = select(got, expected)
  np.testing.assert_array_equal(chosen.answer, best.answer)
  np.testing.assert_array_equal(chosen.tokens, best.tokens)
  assert len(set(np.asarray(best.answer).tolist())) > 2


def value_table(table, reward, length, backup):
  """`[length + 1, V ** length]` values of prefixes, by their code in base V."""
  size = table.shape[0]
  values = np.zeros((length + 1, size**length))
  law = np.asarray(jax.nn.softmax(table), np.float64)
  values[length] = reward
  for t in range(length - 1, -1, -1):
    for code in range(size**t):
      last = code // size ** (t - 1) if t else 0
      children = code + np.arange(size) * size**t
      values[t, code] = backup(law[last], values[t + 1, children])
  return values


def score_by(values, size):
  """The score function that knows the values of prefixes."""
  values = jnp.asarray(values, jnp.float32)

  def score_fn(prompt, responses):
    del prompt
    digits = size ** jnp.arange(responses.tokens.shape[-1])
    return values[responses.lengths, responses.tokens @ digits]

  return score_fn


def best_leaf(output):
  best = jnp.argmax(output.step_scores[..., -1], axis=1)
  return np.asarray(output.leaves.tokens[jnp.arange(len(best)), best])


@pytest.mark.slow
def test_step_level_best_of_n_has_the_exact_law():
  """With exact values each step follows the law of best-of-N on its own."""
  n, size, length, trials = 3, 3, 3, 8000
  table = random_table(2, size)
  reward = np.random.default_rng(0).normal(size=size**length)
  values = value_table(table, reward, length, lambda p, v: p @ v)
  law = np.zeros(size**length)
  for code in range(size**length):
    probability, last = 1.0, 0
    for t in range(length):
      prefix, token = code % size**t, code // size**t % size
      children = values[t + 1, prefix + np.arange(size) * size**t]
      step = scaling.best_of_n_law(
        jax.nn.softmax(table[last]), jnp.asarray(children, jnp.float32), n
      )
      probability *= float(step[token])
      last = token
    law[code] = probability
  assert law.sum() == pytest.approx(1, abs=1e-5)

  output = run(
    search.beam_search,
    keys_of(3, trials),
    n,
    n,
    steps=token_steps(length, size),
    score_fn=score_by(values, size),
    table=table,
  )
  code = best_leaf(output) @ size ** np.arange(length)
  share = np.bincount(code, minlength=law.size) / trials
  # Four standard errors: 27 outcomes are compared.
  error = np.sqrt(np.maximum(law * (1 - law), 1 / trials) / trials)
  np.testing.assert_array_less(np.abs(share - law), 4 * error)
  np.testing.assert_array_equal(output.tokens, n * length)
  np.testing.assert_array_equal(output.depth, length)


@pytest.mark.slow
def test_optimal_values_lead_to_the_optimum():
  """64 draws miss a token of these tables with probability below 1e-6."""
  size, length = 3, 4
  table = 0.3 * random_table(4, size)
  reward = np.random.default_rng(1).normal(size=size**length)
  values = value_table(table, reward, length, lambda p, v: v.max())
  output = run(
    search.beam_search,
    keys_of(5, 16),
    64,
    4,
    steps=token_steps(length, size),
    score_fn=score_by(values, size),
    table=table,
  )
  code = best_leaf(output) @ size ** np.arange(length)
  np.testing.assert_array_equal(code, np.argmax(reward))


@pytest.mark.slow
def test_one_subtree_is_beam_search_and_no_lookahead_too():
  keys = keys_of(6, 16)
  beam = run(search.beam_search, keys, 4, 4)
  assert_same(run(search.dvts, keys, 4, 4), beam)
  assert_same(run(search.lookahead_search, keys, 4, 4, 0), beam)


@pytest.mark.slow
def test_subtrees_never_meet():
  """What the verifier says of one subtree changes nothing in another."""
  keys = keys_of(7, 16)

  @functools.partial(jax.jit, static_argnums=0)
  def leaves(method, bonus):
    favour = lambda *args: count_ones(*args) + bonus * (jnp.arange(6) < 2)
    return run(method, keys, 6, 2, score_fn=favour).leaves

  assert_same(leaves(search.dvts, 100.0), leaves(search.dvts, 0.0))
  met = leaves(search.beam_search, 100.0).tokens
  assert not np.array_equal(met, leaves(search.beam_search, 0.0).tokens)


def test_lookahead_scores_what_follows_and_goes_back():
  """Token 1 looks better than 2, and greedily leads to worse."""
  following = {0: (1, 2), 1: (3,), 2: (4,), 3: (3,), 4: (4,)}
  table = np.full((5, 5), -60.0, np.float32)
  for token, successors in following.items():
    table[token, list(successors)] = 0.0
  looks = jnp.array([0.0, 1.0, 0.0, 0.0, 1.0])

  def last_token(prompt, responses):
    del prompt
    index = (responses.lengths - 1)[..., None]
    return looks[jnp.take_along_axis(responses.tokens, index, -1)[..., 0]]

  @jax.jit
  def look(k):
    return run(
      search.lookahead_search,
      keys_of(8, 8),
      16,
      16,
      k,
      steps=token_steps(2),
      score_fn=last_token,
      table=jnp.asarray(table),
    )

  for k, leaf, tokens, depth in ((0, [1, 3], 32, 2), (1, [2, 4], 48, 3)):
    output = look(k)
    expected = np.broadcast_to(leaf, (8, 16, 2))
    np.testing.assert_array_equal(output.leaves.tokens, expected)
    np.testing.assert_array_equal(output.tokens, tokens)
    np.testing.assert_array_equal(output.depth, depth)


@pytest.mark.slow
def test_temperature_zero_is_the_greedy_response():
  keys = keys_of(9, 2)
  greedy = SamplingParams(temperature=0.0)
  steps = written_steps(sampling=greedy)
  got = run(search.beam_search, keys, 4, 2, steps=steps).leaves.tokens
  expected = plain_samples(keys, 4, 0.0).tokens
  np.testing.assert_array_equal(got, expected)


@pytest.mark.slow
def test_a_blind_verifier_leaves_the_law_of_the_policy():
  """Each leaf is a fair sample: no random number is used twice."""
  trials, capacity = 8000, 3
  world = models.enumerate_sequences(random_table(), 0, EOS, capacity)
  law = np.exp(np.asarray(world.log_probs))

  def blind(prompt, responses):
    del prompt
    key = jax.random.fold_in(jax.random.key(11), jnp.max(responses.lengths))
    return jax.random.normal(key, responses.lengths.shape)

  output = run(
    search.beam_search,
    keys_of(10, trials),
    4,
    2,
    steps=written_steps(capacity, max_step_tokens=1),
    score_fn=blind,
  )
  digits = V ** np.arange(capacity)
  codes, rows = world.tokens @ digits + 1000 * world.lengths, output.leaves
  for i in range(4):
    code = np.asarray(rows.tokens[:, i] @ digits + 1000 * rows.lengths[:, i])
    share = np.array([np.mean(code == c) for c in codes])
    error = np.sqrt(np.maximum(law * (1 - law), 2 / trials) / trials)
    # Some 400 comparisons in all: 4.5 standard errors.
    np.testing.assert_array_less(np.abs(share - law), 4.5 * error)
  order = np.argsort(codes)
  places = order[np.searchsorted(codes[order], code)]
  np.testing.assert_allclose(
    rows.log_probs[:, 3].sum(axis=-1), world.log_probs[places], atol=1e-5
  )


def test_tokens_are_counted_with_those_discarded():
  """Two steps of two tokens, `1 STEP` and `2 EOS`, in every beam."""
  following = {0: 1, 1: STEP, STEP: 2, 2: EOS}
  table = np.full((V, V), -60.0, np.float32)
  for token, successor in following.items():
    table[token, successor] = 0.0
  output = run(
    search.beam_search, keys_of(12, 2), 4, 2, table=jnp.asarray(table)
  )
  np.testing.assert_array_equal(output.tokens, 4 * (2 + 2))
  np.testing.assert_array_equal(output.depth, 4)
  np.testing.assert_array_equal(output.is_step.sum(axis=-1), 2)
  assert jnp.all(output.leaves.finish_reasons == FinishReason.STOP)


def test_an_ended_beam_keeps_its_place_and_is_not_copied():
  rng = np.random.default_rng(2)
  for width in (1, 2, 4):
    for _ in range(50):
      values = jnp.asarray(rng.normal(size=8), jnp.float32)
      running = rng.random(8) < 0.7
      parents, is_first = map(
        np.asarray, expand(values, jnp.asarray(running), width)
      )
      places = np.arange(8)
      np.testing.assert_array_equal(parents[~running], places[~running])
      num_kept = -(-running.sum() // width)
      best = sorted(places[running], key=lambda i: -values[i])[:num_kept]
      assert set(parents[running]) == set(best)
      assert is_first[running].sum() == num_kept
      if num_kept:
        children = np.bincount(parents[running], minlength=8)[best]
        assert children.max() - children.min() <= 1
      if width == 1:
        np.testing.assert_array_equal(parents, places)


def test_unfinished_leaves_have_no_vote():
  zeros = jnp.zeros((1, 3, 2))
  reasons = jnp.array([[FinishReason.STOP, FinishReason.LENGTH, 1]])
  leaves = Generation(
    zeros.astype(int), jnp.array([[2, 2, 2]]), zeros, zeros, reasons
  )
  output = search.StepSearchOutput(
    leaves,
    jnp.array([[[0.5, 0.2], [0.9, 0.9], [0.1, 0.4]]]),
    jnp.ones((1, 3, 2), bool),
    jnp.array([17]),
    jnp.array([5]),
    verifier_calls=jnp.array([6]),
    nan_scores=jnp.array([0]),
  )
  answer_fn = lambda prompt, samples: jnp.array([[7, 8, 9]])
  prompt = prompt_of(0, 1)
  for aggregate, answer in (('last', 9), ('min', 7), ('mean', 7), ('prod', 7)):
    chosen = search.select_leaf(
      output, prompt, answer_fn, search.select_best, aggregate
    )
    assert (int(chosen.answer[0]), int(chosen.tokens[0])) == (answer, 17)


@pytest.mark.slow
def test_the_kept_steps_of_a_transformer_are_remembered():
  """Log-probabilities of the leaves are those of the plain forward pass."""
  model = models.transformer(
    models.TransformerConfig(
      vocab_size=V,
      num_layers=1,
      embed_dim=16,
      mlp_dim=16,
      num_heads=2,
      num_kv_heads=1,
      head_dim=8,
    )
  )
  params = model.init(jax.random.key(0))
  prompt = Prompt(jnp.array([[1, 2, 0], [2, 1, 1]]), jnp.array([2, 3]))
  steps = written_steps(6, model=model)
  output = jax.jit(
    lambda keys: search.beam_search(
      params, keys, prompt, steps, count_ones, 4, 2
    )
  )(keys_of(13, 2))
  leaves = output.leaves
  logits = jax.jit(functools.partial(models.forward, model))
  for b in range(2):
    given = prompt.tokens[b, : prompt.lengths[b]]
    given = jnp.broadcast_to(given, (4, given.size))
    joined = jnp.concatenate([given, leaves.tokens[b]], axis=1)
    law = jax.nn.log_softmax(logits(params, joined))[:, given.shape[1] - 1 : -1]
    scores = jnp.take_along_axis(law, leaves.tokens[b][..., None], -1)[..., 0]
    inside = jnp.arange(6) < leaves.lengths[b][:, None]
    scores = jnp.where(inside, scores, 0.0)
    np.testing.assert_allclose(leaves.log_probs[b], scores, atol=1e-5)
  assert len(np.unique(leaves.tokens.reshape(8, -1), axis=0)) > 3


@pytest.mark.parametrize('num_beams', [6, 2])
def test_beams_must_divide(num_beams):
  for method in (search.beam_search, search.dvts):
    with pytest.raises(ValueError, match='is not a multiple of width=4'):
      run(method, keys_of(0, 1), num_beams, 4)
