"""QAlign and QUEST on a table whose 31 responses can be enumerated."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ttc import models, sampling, scaling, search
from ttc.types import Prompt

# Tokens 0, 1 and the end; the start is a token that is never drawn.
END, START, LENGTH, BETA = 2, 3, 4, 0.5
PROBS = np.array(
  [[0.3, 0.3, 0.4, 0], [0.2, 0.5, 0.3, 0], [1, 0, 0, 0], [0.5, 0.3, 0.2, 0]]
)
TABLE = jnp.log(jnp.asarray(PROBS, jnp.float32))
MODEL = models.table_model(4)
BURN_IN = 20
SLOW = pytest.mark.slow


def reward(tokens, lengths):
  """Ones, less half a point for each token."""
  return jnp.sum(tokens == 1, axis=-1) - 0.5 * lengths


def code(tokens):
  """Of a response, in the place of an answer."""
  return tokens @ (4 ** jnp.arange(LENGTH))


SCORE_FN = lambda prompt, samples: reward(samples.tokens, samples.lengths)
ANSWER_FN = lambda prompt, samples: code(samples.tokens)


class World:
  """All responses, their rewards and exact probabilities, in float64."""

  def __init__(self, probs=PROBS):
    with np.errstate(divide='ignore'):
      everything = models.enumerate_sequences(
        jnp.log(jnp.asarray(probs)), START, END, LENGTH
      )
    possible = np.isfinite(everything.log_probs)
    self.tokens = everything.tokens[possible]
    self.lengths = everything.lengths[possible]
    self.rewards = np.asarray(reward(self.tokens, self.lengths), np.float64)
    self.step_probs = np.ones(self.tokens.shape)  # 1 beyond the end
    for row, (y, length) in enumerate(
      zip(self.tokens, self.lengths, strict=True)
    ):
      before = [START, *y[: length - 1]]
      self.step_probs[row, :length] = probs[before, y[:length]]
    self.p = self.step_probs.prod(axis=1)

  def law(self, target, beta=BETA):
    weights = np.exp(self.rewards / beta)
    weights *= self.p if target == 'posterior' else 1.0
    return weights / weights.sum()

  def proposals(self):
    """`[i, y, y']`: to cut `y` at `i` and to draw `y'` after it."""
    for cut in range(LENGTH):
      same = (self.tokens[:, None, :cut] == self.tokens[None, :, :cut]).all(-1)
      legal = same & (cut < self.lengths[:, None]) & (cut < self.lengths)
      ending = self.step_probs[:, cut:].prod(axis=1)
      yield legal * ending / self.lengths[:, None]

  def kernel(self, target, beta=BETA, lengths_count=True, mean=False):
    """The exact transition matrix `[y, y']`, and two wrong ones."""
    total = np.zeros((len(self.p), len(self.p)))
    for cut, proposal in enumerate(self.proposals()):
      log_ratio = (self.rewards - self.rewards[:, None]) / beta
      if lengths_count:
        log_ratio = log_ratio + np.log(self.lengths[:, None] / self.lengths)
      if target == 'reward':
        log_probs = np.log(self.step_probs[:, cut:]).sum(axis=1)
        if mean:
          log_probs /= np.maximum(self.lengths - cut, 1)
        log_ratio = log_ratio + log_probs[:, None] - log_probs
      total += proposal * np.minimum(1, np.exp(log_ratio))
    return total + np.diag(1 - total.sum(axis=1))


WORLD = World()


def stationary(kernel):
  values, vectors = np.linalg.eig(kernel.T)
  law = np.real(vectors[:, np.argmax(np.real(values))])
  return law / law.sum()


def total_variation(a, b):
  return 0.5 * np.abs(a - b).sum()


def prompts(count):
  return Prompt(
    jnp.full((count, 1), START, jnp.int32), jnp.ones((count,), jnp.int32)
  )


@functools.partial(jax.jit, static_argnums=(1, 2, 3, 4, 5))
def run(keys, num_chains, num_steps, burn_in, thin, target, beta, top_k):
  return search.qalign(
    MODEL,
    TABLE,
    keys,
    prompts(keys.shape[0]),
    SCORE_FN,
    ANSWER_FN,
    num_chains,
    num_steps,
    LENGTH,
    stop=sampling.stop_rules(MODEL.vocab_size, [END]),
    beta=beta,
    burn_in=burn_in,
    thin=thin,
    target=target,
    sampling=sampling.SamplingParams(top_k=top_k),
  )


@functools.cache
def long_run(num_steps, target, beta, top_k):
  """64 chains on one problem."""
  keys = jax.random.split(jax.random.key(0), 1)
  beta = jnp.float32(beta)
  out = run(keys, 64, num_steps, BURN_IN, 1, target, beta, top_k)
  return jax.device_get(out)


def plain_run():
  return long_run(400, 'posterior', BETA, 0)


def frequencies(answers, world):
  codes = np.asarray(code(world.tokens))
  return np.array([np.mean(np.asarray(answers) == c) for c in codes])


class TestExactKernel:
  def test_the_world_is_as_described(self):
    """31 responses, their mean rewards and divergence."""
    law = WORLD.law('posterior')
    assert len(WORLD.p) == 31
    np.testing.assert_allclose(WORLD.p.sum(), 1, atol=1e-14)
    np.testing.assert_allclose(WORLD.p @ WORLD.rewards, -0.3666, atol=1e-12)
    np.testing.assert_allclose(law @ WORLD.rewards, 1.4893696254, atol=5e-11)
    divergence = law @ np.log(law / WORLD.p)
    np.testing.assert_allclose(divergence, 1.8186099842, atol=5e-11)
    ones = np.flatnonzero((WORLD.tokens == 1).all(axis=1))
    np.testing.assert_allclose(law[ones], 0.6418, atol=5e-5)
    for n, expected in ((4, 0.5375648), (32, 1.6989408)):
      best = scaling.best_of_n_law(
        jnp.asarray(WORLD.p, jnp.float32),
        jnp.asarray(WORLD.rewards, jnp.float32),
        n,
      )
      assert float(best @ WORLD.rewards) == pytest.approx(expected, abs=2e-6)

  @pytest.mark.parametrize('target', ['posterior', 'reward'])
  def test_the_law_is_stationary_and_balanced_in_detail(self, target):
    law, kernel = WORLD.law(target), WORLD.kernel(target)
    np.testing.assert_allclose(law @ kernel, law, atol=1e-12)
    flow = law[:, None] * kernel
    np.testing.assert_allclose(flow, flow.T, atol=1e-12)
    np.testing.assert_allclose(stationary(kernel), law, atol=1e-12)

  def test_without_the_lengths_it_is_another_law(self):
    wrong = stationary(WORLD.kernel('posterior', lengths_count=False))
    error = total_variation(wrong, WORLD.law('posterior'))
    assert error == pytest.approx(0.0445, abs=5e-5)

  def test_a_mean_in_place_of_the_sum_breaks_quest(self):
    """As in released code: detailed balance and the law are lost."""
    kernel, law = WORLD.kernel('reward', mean=True), WORLD.law('reward')
    flow = law[:, None] * kernel
    assert np.abs(flow - flow.T).max() > 1e-3
    assert total_variation(stationary(kernel), law) > 0.05


class TestChains:
  @pytest.mark.parametrize(
    'target, beta, top_k',
    [
      ('posterior', BETA, 0),
      pytest.param('posterior', BETA, 2, marks=SLOW),
      pytest.param('posterior', 2.0, 0, marks=SLOW),
      # Then it is the model's own law.
      pytest.param('posterior', 1e9, 0, marks=SLOW),
      pytest.param('reward', BETA, 0, marks=SLOW),
    ],
  )
  # Simulating the exact kernel gives .024 +- .008 and .010 +- .003 for QUEST,
  # which mixes slowest: these are 3.3 standard deviations more.
  @pytest.mark.parametrize(
    'num_steps, tolerance', [(400, 0.05), pytest.param(2000, 0.02, marks=SLOW)]
  )
  def test_states_have_the_law(self, num_steps, tolerance, target, beta, top_k):
    world = WORLD
    if top_k:  # the filtered model is the model
      second = np.sort(PROBS, axis=1)[:, -top_k][:, None]
      kept = np.where(PROBS >= second, PROBS, 0.0)
      world = World(kept / kept.sum(axis=1, keepdims=True))
    out = long_run(num_steps, target, beta, top_k)
    seen = frequencies(out.chains.answers, world)
    law = world.law(target, beta)
    assert seen.sum() == pytest.approx(1)
    assert total_variation(seen, law) < tolerance
    # Each chain is a draw of the same mean: five of their standard errors.
    means = out.chains.scores.mean(axis=(0, 2))
    error = means.std() / means.size**0.5
    assert abs(means.mean() - law @ world.rewards) < 5 * error

  def test_tokens_are_counted_exactly(self):
    """Of a stationary step: what is drawn after a uniform cut."""
    law = WORLD.law('posterior')
    expected = sum(
      law @ (proposal * np.maximum(WORLD.lengths - cut, 0)).sum(axis=1)
      for cut, proposal in enumerate(WORLD.proposals())
    )
    accepted = law @ sum(proposal.sum(axis=1) for proposal in WORLD.proposals())
    assert accepted == pytest.approx(1)  # proposals are a law
    chains = plain_run().chains
    per_step = np.diff(chains.spent, axis=-1)
    assert per_step.min() >= 1
    assert per_step.max() <= LENGTH
    means = per_step.mean(axis=-1).ravel()
    assert abs(means.mean() - expected) < 5 * means.std() / means.size**0.5
    selection = plain_run().selection
    assert selection.tokens[0] == chains.spent[0, :, -1].sum()
    assert selection.depth[0] == chains.spent[0, :, -1].max()
    # A state that differs was accepted; accepted ones may be the same.
    moved = (np.diff(chains.answers, axis=-1) != 0).sum(axis=-1)
    accepted = chains.num_accepted[..., -1] - chains.num_accepted[..., 0]
    assert np.all(moved <= accepted)
    assert 0.1 < accepted.mean() / per_step.shape[-1] < 0.9

  @pytest.mark.slow
  def test_states_vote_with_repeats(self):
    out = plain_run()
    values, counts = np.unique(out.chains.answers, return_counts=True)
    assert out.selection.answer[0] == values[counts.argmax()]
    np.testing.assert_allclose(out.shares[0], counts.max() / counts.sum())
    np.testing.assert_array_equal(out.chains.answers, code(out.chains.tokens))

  @pytest.mark.slow
  def test_a_chain_is_the_same_in_any_company(self):
    """Of other chains, problems and steps; kept states are those said."""
    keys = jax.random.split(jax.random.key(7), 3)
    beta = jnp.float32(BETA)
    whole = run(keys, 4, 12, 0, 1, 'posterior', beta, 0).chains
    part = run(keys[1:2], 2, 11, 3, 2, 'posterior', beta, 0).chains
    cut = jax.tree.map(lambda x: x[1:2, :2, 3:12:2], whole)
    jax.tree.map(np.testing.assert_array_equal, part, cut)
    assert len(np.unique(whole.answers[:, :, -1])) > 1

  @pytest.mark.slow
  def test_no_steps_are_self_consistency(self):
    keys = jax.random.split(jax.random.key(8), 5)
    out = run(keys, 9, 0, 0, 1, 'posterior', jnp.float32(BETA), 0)
    assert out.chains.answers.shape == (5, 9, 1)
    np.testing.assert_array_equal(out.chains.spent, out.chains.lengths)
    for answers, answer, share in zip(
      out.chains.answers[..., 0], out.selection.answer, out.shares, strict=True
    ):
      counts = (answers[:, None] == answers).sum(axis=1)
      assert answer == answers[counts.argmax()]  # the first drawn, on ties
      assert share == pytest.approx(counts.max() / 9)

  @pytest.mark.slow
  @pytest.mark.parametrize(
    'name', ['quest', pytest.param('qalign', marks=SLOW)]
  )
  def test_solved_with_one_response_it_is_plain_sampling(self, name):
    """The same tokens; and with more, about as many as samples would take."""
    num_problems = 400
    (method,) = [m for m in search.METHODS if m.name == name]

    @functools.partial(jax.jit, static_argnums=1)
    def solve(keys, num_samples):
      setting = search.Setting(
        model=MODEL,
        params=TABLE,
        answer_fn=ANSWER_FN,
        score_fn=SCORE_FN,
        eos_ids=(END,),
        capacity=LENGTH,
        max_steps=LENGTH,
      )
      prompt = prompts(num_problems)
      plain = setting.sample_fn(TABLE, keys, prompt, 1)
      return search.solve(method, setting, keys, prompt, num_samples), plain

    keys = jax.random.split(jax.random.key(9), num_problems)
    one, plain = solve(keys, 1)
    ends = jnp.any(plain.tokens[:, 0] == END, axis=1)  # else it has no answer
    answer = jnp.where(ends, code(plain.tokens[:, 0]), -1)
    np.testing.assert_array_equal(one.answer, answer)
    np.testing.assert_array_equal(one.tokens, plain.lengths[:, 0])
    np.testing.assert_array_equal(one.verifier_calls, 1)
    many, _ = solve(keys, 5)
    np.testing.assert_array_equal(many.verifier_calls, 9)
    # The first has 1 to 4 tokens, each of eight steps 1 to 2.5 on average.
    assert 1 + 8 < many.tokens.mean() < 4 + 8 * 2.5
    assert jnp.any(many.answer != one.answer)

  def test_what_means_nothing_is_refused(self):
    keys = jax.random.split(jax.random.key(0), 1)
    with pytest.raises(ValueError, match='keep none'):
      run(keys, 1, 5, 6, 1, 'posterior', BETA, 0)


CONFIG = models.TransformerConfig(
  vocab_size=11,
  num_layers=1,
  embed_dim=16,
  mlp_dim=32,
  num_heads=4,
  num_kv_heads=2,
  head_dim=8,
)


@pytest.mark.slow
@pytest.mark.parametrize('scan_layers', [True, pytest.param(False, marks=SLOW)])
def test_what_is_kept_is_not_read_again(scan_layers):
  """Cuts and rejections leave the cache of the state they go on from.

  The reward is the log-probability that the chain believes its state to have.
  """
  model = models.transformer(
    models.TransformerConfig(**{**vars(CONFIG), 'scan_layers': scan_layers})
  )
  params = model.init(jax.random.key(0))
  prompt = Prompt(
    jax.random.randint(jax.random.key(1), (2, 5), 0, 11), jnp.array([5, 3])
  )
  read = []

  def features(params, tokens, num_tokens, cache):
    if cache.prefix is not None:  # not the prompt
      jax.debug.callback(lambda n: read.append(int(n.sum())), num_tokens)
    return model.features(params, tokens, num_tokens, cache)

  counted = model._replace(features=features)
  num_steps, num_chains = 12, 3
  out = jax.jit(
    lambda keys: search.qalign(
      counted,
      params,
      keys,
      prompt,
      lambda prompt, samples: samples.log_probs.sum(-1),
      lambda prompt, samples: samples.tokens[..., 0],
      num_chains,
      num_steps,
      8,
      stop=sampling.stop_rules(model.vocab_size, [0]),
    )
  )(jax.random.split(jax.random.key(2), 2))
  jax.effects_barrier()
  spent = int(out.selection.tokens.sum())
  # One token is read for each that is drawn, but not for the first of all.
  whole = 2 * num_chains * (num_steps + 1)
  assert spent - whole < sum(read) <= spent - 2 * num_chains
  states = jax.tree.map(lambda x: x.reshape(2, -1, *x.shape[3:]), out.chains)
  fresh = sampling.prefill(model, params, prompt, states.lengths.shape[1], 8)
  log_probs = jax.jit(sampling.score, static_argnums=0)(
    model, params, fresh, states.tokens, states.lengths
  )
  np.testing.assert_allclose(states.scores, log_probs.sum(-1), atol=1e-4)
  accepted = np.asarray(out.chains.num_accepted[..., -1])
  assert np.all((accepted > 0) & (accepted < num_steps))
