"""Policy gradients against enumeration and figures made by hand."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiled import compiled_module

from ttc.finetuning import (
  GroupBuffer,
  fill_buffer,
  overlong_penalty,
  policy_gradients,
)

pg = compiled_module(policy_gradients)
REWARDS = np.array([[1, 0, 0, 1], [1, 0, 0, 0]], np.float32)
AS_IS = pg.PolicyGradient(scale='none')


def expected_gradient(rewards, probs, size, options):
  """Mean over all `K^G` groups of the gradient that a group gives."""
  K = len(probs)
  groups = np.array(list(itertools.product(range(K), repeat=size)))
  chance = np.prod(np.asarray(probs)[groups], axis=1)
  advantages = np.asarray(
    pg.advantages(jnp.asarray(rewards, jnp.float32)[groups], options)
  )
  # d log pi(a) / d theta_b is 1[a = b] - pi_b.
  scores = np.eye(K)[groups] - np.asarray(probs)
  return np.einsum('m,mg,mgk->k', chance, advantages, scores) / size


def exact_gradient(rewards, probs):
  return np.asarray(probs) * (np.asarray(rewards) - np.dot(probs, rewards))


def test_expected_gradients_over_all_27_groups():
  rewards, probs = [0.3, 1.0, -0.5], [0.5, 0.2, 0.3]
  exact = exact_gradient(rewards, probs)
  loo = expected_gradient(rewards, probs, 3, pg.RLOO)
  np.testing.assert_allclose(loo, exact, atol=1e-6)
  dr = expected_gradient(rewards, probs, 3, pg.DR_GRPO)
  np.testing.assert_allclose(dr, 2 / 3 * exact, atol=1e-6)
  # Divided by each group's own deviation it is not even proportional.
  grpo = expected_gradient(rewards, probs, 3, pg.GRPO)
  assert np.ptp(grpo / exact) > 0.05


@pytest.mark.parametrize(
  ('size', 'factors'),
  [
    (2, (0.70711, 0.70711, 0.70711)),
    (3, (1.15470, 1.15470, 1.15470)),
    (4, (1.46383, 1.41560, 1.39952)),
    (8, (2.17735, 1.83596, 1.73581)),
  ],
)
def test_factor_of_grpo_by_difficulty(size, factors):
  options = pg.GRPO._replace(epsilon=0.0)
  for p, factor in zip((0.1, 0.3, 0.5), factors, strict=True):
    got = expected_gradient([1.0, 0.0], [p, 1 - p], size, options)
    want = factor * exact_gradient([1.0, 0.0], [p, 1 - p])
    np.testing.assert_allclose(got, want, rtol=2e-5)


def test_advantages_by_hand():
  grpo = pg.advantages(jnp.asarray(REWARDS))
  half = 0.86602
  want = [[half, -half, -half, half], [1.5, -0.5, -0.5, -0.5]]
  np.testing.assert_allclose(grpo, want, atol=1e-5)
  dr = pg.advantages(jnp.asarray(REWARDS), pg.DR_GRPO)
  want = [[0.5, -0.5, -0.5, 0.5], [0.75, -0.25, -0.25, -0.25]]
  np.testing.assert_allclose(dr, want, atol=1e-6)
  loo = pg.advantages(jnp.asarray(REWARDS), pg.RLOO)
  np.testing.assert_allclose(loo, 4 / 3 * np.array(want), atol=1e-6)
  # numpy's ddof changes everything by sqrt(G / (G - 1)).
  biased = pg.advantages(jnp.asarray(REWARDS), pg.GRPO._replace(ddof=0))
  np.testing.assert_allclose(biased, grpo * (4 / 3) ** 0.5, rtol=1e-5)
  batch = pg.advantages(jnp.asarray(REWARDS), pg.GRPO._replace(scale='batch'))
  np.testing.assert_allclose(batch, dr / REWARDS.std(ddof=1), rtol=1e-5)


@pytest.mark.parametrize(
  'options', [pg.GRPO, pg.DR_GRPO, pg.RLOO, pg.GRPO._replace(scale='batch')]
)
def test_groups_without_variance_and_of_one_give_exactly_zero(options):
  options = options._replace(epsilon=0.0)
  dead = jnp.full((2, 3), 0.1)
  np.testing.assert_array_equal(pg.advantages(dead, options), 0.0)
  np.testing.assert_array_equal(pg.advantages(dead[:, :1], options), 0.0)
  mixed = pg.advantages(jnp.array([[0.1] * 3, [0, 0, 1]]), options)
  np.testing.assert_array_equal(mixed[0], 0.0)
  assert np.isfinite(mixed).all()
  lost = pg.advantages(jnp.array([[1.0, jnp.nan, 1.0]]), options)
  assert np.isnan(lost).any()  # and is not taken for a dead group


def test_rewards_normalised_one_by_one():
  rewards = jnp.asarray([[[1, 0, 0, 1]], [[1, 0, 0, 0]]], jnp.float32)
  want = [[1.33203, -0.76905, -0.76905, 0.20608]]
  np.testing.assert_allclose(pg.decoupled_advantages(rewards), want, atol=2e-5)
  together = pg.advantages(rewards.sum(0), pg.GRPO._replace(epsilon=1e-4))
  want = [[1.30545, -0.78327, -0.78327, 0.26109]]
  np.testing.assert_allclose(together, want, atol=1e-4)
  # A reward that is constant in its group adds nothing, whatever its weight.
  constant = rewards.at[1].set(0.1)
  np.testing.assert_allclose(
    pg.decoupled_advantages(constant, jnp.array([1.0, 9.0])),
    pg.decoupled_advantages(rewards[:1]),
    atol=1e-6,
  )
  dead = jnp.concatenate([rewards, jnp.full((2, 1, 4), 0.3)], axis=1)
  got = pg.decoupled_advantages(dead)
  np.testing.assert_array_equal(got[1], 0.0)


def test_empty_groups_are_no_part_of_the_batch():
  rewards = jnp.asarray([[1, 0, 0, 1], [1, 0, 0, 0]], jnp.float32)
  room = jnp.concatenate([rewards, jnp.zeros((2, 4))])
  filled = jnp.array([True, True, False, False])
  batch = pg.GRPO._replace(scale='batch')
  np.testing.assert_allclose(
    pg.advantages(room, batch, filled)[:2],
    pg.advantages(rewards, batch),
    rtol=1e-6,
  )
  kinds = jnp.stack([rewards, rewards[::-1] * jnp.arange(4)])
  more = jnp.concatenate([kinds, jnp.full((2, 2, 4), 0.5)], axis=1)
  np.testing.assert_allclose(
    pg.decoupled_advantages(more, is_filled=filled)[:2],
    pg.decoupled_advantages(kinds),
    rtol=1e-5,
  )


def test_aggregation_by_hand_and_under_padding():
  losses = np.array([[1, 2, 3, 4], [5, 6, 0, 0]], np.float32)
  mask = np.array([[1, 1, 1, 1], [1, 1, 0, 0]], bool)
  wants = {
    'token_mean': 3.5,
    'sequence_mean_token_mean': 4.0,
    'sequence_mean_token_scale': 2.625,
  }
  for name, want in wants.items():
    weights = pg.token_weights(jnp.asarray(mask), name, 4)
    assert float((weights * losses).sum()) == pytest.approx(want)
    # Two more columns and a row without a token change nothing.
    wide = np.pad(mask, ((0, 1), (0, 2)))
    padded = pg.token_weights(jnp.asarray(wide), name, 4)
    np.testing.assert_allclose(padded[:2, :4], weights, rtol=1e-6)
    assert float(jnp.abs(padded).sum()) == pytest.approx(float(weights.sum()))
  # Rows on two axes are rows.
  stacked = pg.token_weights(jnp.asarray(mask[:, None]), 'token_mean')
  np.testing.assert_allclose(
    stacked[:, 0], pg.token_weights(jnp.asarray(mask), 'token_mean')
  )


def rows(seed=0):
  """Random log-probabilities of 4 rows of 5 tokens, 3 of them shorter."""
  keys = jax.random.split(jax.random.key(seed), 4)
  draw = lambda key: -jnp.abs(jax.random.normal(key, (4, 5)))
  mask = jnp.arange(5) < jnp.array([5, 2, 3, 1])[:, None]
  gain = jax.random.normal(keys[3], (4,))
  return (*map(draw, keys[:3]), gain, mask)


def reference_loss(logp, old, ref, gain, mask, weights, options):
  """The loss in plain numpy, token by token."""
  total = 0.0
  for i, t in np.argwhere(np.asarray(mask)):
    n = int(mask[i].sum())
    rho = np.exp(logp[i, t] - old[i, t])
    if options.ratio == 'sequence':
      rho = np.exp((logp[i, :n] - old[i, :n]).sum() / n)
    top = min(rho, options.max_ratio or np.inf)
    cut = min(max(rho, 1 - options.clip_low), 1 + options.clip_high)
    loss = max(-top * gain[i], -cut * gain[i])
    if options.dual_clip and gain[i] < 0:
      loss = min(loss, -options.dual_clip * gain[i])
    d = ref[i, t] - logp[i, t]
    kl = {'k1': -d, 'k2': d * d / 2, 'k3': np.exp(d) - d - 1}
    total += weights[i, t] * (loss + options.kl_weight * kl[options.kl_form])
  return total


@pytest.mark.parametrize(
  'options',
  [
    pg.PolicyGradient(),
    pg.PolicyGradient(clip_low=0.1, clip_high=0.4, kl_weight=0.3),
    pg.PolicyGradient(dual_clip=1.2, kl_weight=0.1, kl_form='k2'),
    pg.PolicyGradient(max_ratio=1.1, kl_weight=0.2, kl_form='k1'),
    pg.PolicyGradient(ratio='sequence', aggregation='sequence_mean_token_mean'),
    pg.PolicyGradient(aggregation='token_mean'),
  ],
)
def test_loss_of_numpy(options):
  logp, old, ref, gain, mask = rows()
  weights = pg.token_weights(mask, options.aggregation)
  got, sums = pg.policy_gradient_loss(logp, old, gain, weights, options, ref)
  as_numpy = [np.asarray(x, np.float64) for x in (logp, old, ref, gain)]
  want = reference_loss(*as_numpy, mask, np.asarray(weights), options)
  assert float(got) == pytest.approx(want, rel=1e-5)
  assert float(sums.tokens) == 11
  # What does not count does not matter, NaN included.
  dirty = jnp.where(mask, logp, jnp.nan)
  again, _ = pg.policy_gradient_loss(dirty, old, gain, weights, options, ref)
  np.testing.assert_array_equal(again, got)
  grad = jax.jit(
    jax.grad(
      lambda x: pg.policy_gradient_loss(x, old, gain, weights, options, ref)[0]
    )
  )(dirty)
  assert np.isfinite(grad).all() and np.all(np.asarray(grad)[~mask] == 0)


def test_on_policy_gradient_is_reinforce_and_no_other_argument_has_one():
  logp, _, ref, gain, mask = rows()
  weights = pg.token_weights(mask, 'token_mean')
  loss = lambda *x: pg.policy_gradient_loss(
    x[0], x[1], x[2], weights, AS_IS._replace(kl_weight=0.1), x[3]
  )[0]
  grads = jax.jit(jax.grad(loss, argnums=(0, 1, 2, 3)))(logp, logp, gain, ref)
  pull = -gain[:, None] * weights
  kl = weights * 0.1 * (1 - jnp.exp(ref - logp))
  np.testing.assert_allclose(grads[0], pull + kl, rtol=1e-4, atol=1e-7)
  assert all(float(jnp.abs(g).max()) == 0 for g in grads[1:])


def test_clip_holds_back_only_what_goes_further():
  log_ratio = jnp.log(jnp.array([[0.5], [0.5], [1.5], [1.5], [1.25]]))
  gain = jnp.array([1.0, -1.0, 1.0, -1.0, 1.0])
  options = pg.PolicyGradient(clip_high=0.28)
  loss = lambda x: pg.policy_gradient_loss(
    x, jnp.zeros_like(x), gain, jnp.ones_like(x), options
  )
  grad, sums = jax.jit(jax.grad(loss, has_aux=True))(log_ratio)
  np.testing.assert_allclose(
    grad[:, 0], [-0.5, 0.0, 0.0, 1.5, -1.25], rtol=1e-6
  )
  assert float(sums.clipped) == 2
  bounded = options._replace(dual_clip=1.4)
  value = pg.policy_gradient_loss(
    log_ratio[3:4], jnp.zeros((1, 1)), gain[3:4], jnp.ones((1, 1)), bounded
  )[0]
  assert float(value) == pytest.approx(1.4)
  huge = pg.policy_gradient_loss(
    jnp.full((1, 1), 200.0), jnp.zeros((1, 1)), -jnp.ones(1), jnp.ones((1, 1))
  )[0]
  assert float(huge) == pytest.approx(np.exp(20), rel=1e-5)


def test_sequence_ratios():
  log_ratio = jnp.array([[0.1, 0.3, -0.1], [0.2, 9.0, 9.0]])
  mask = jnp.array([[1, 1, 1], [1, 0, 0]], bool)
  gain = jnp.array([1.0, -2.0])
  weights = pg.token_weights(mask)
  open_ = pg.PolicyGradient(clip_low=1.0, clip_high=1.0, ratio='sequence')

  def per_row(x, options):
    one = lambda i: pg.policy_gradient_loss(
      x, jnp.zeros_like(x), jnp.eye(2)[i], weights, options
    )[0]
    return -2 * jnp.stack([one(0), one(1)])

  np.testing.assert_allclose(
    per_row(log_ratio, open_), [1.10517, 1.22140], atol=1e-5
  )
  loss = lambda x, options: pg.policy_gradient_loss(
    x, jnp.zeros_like(x), gain, weights, options
  )[0]
  token = open_._replace(ratio='sequence_token')
  np.testing.assert_allclose(loss(log_ratio, open_), loss(log_ratio, token))
  np.testing.assert_allclose(
    *(jax.grad(loss)(log_ratio, x) for x in (open_, token)), rtol=1e-5
  )  # fmt: skip


def test_kl_forms_by_enumeration():
  theta = jnp.array([0.3, -0.4, 0.9, 0.0])
  ref = jax.nn.log_softmax(jnp.array([0.1, 0.5, -0.7, 0.2]))
  policy = jax.nn.log_softmax(theta)
  exact = lambda a, b: jnp.sum(jnp.exp(a) * (a - b))

  def expected(theta, form, sampler):
    """Mean over actions of the sampler; no gradient through the sampler."""
    logp = jax.nn.log_softmax(theta)
    options = pg.PolicyGradient(kl_weight=1.0, kl_form=form)
    losses = [
      pg.policy_gradient_loss(
        logp[a].reshape(1, 1), logp[a].reshape(1, 1), jnp.zeros(1),
        jnp.ones((1, 1)), options, ref[a].reshape(1, 1),
      )[0]
      for a in range(4)
    ]  # fmt: skip
    return jnp.sum(sampler * jnp.stack(losses))

  sampler = jnp.exp(policy)
  value_and_grad = jax.value_and_grad(expected)
  reverse = exact(policy, ref)
  towards = jax.jit(jax.grad(lambda t: exact(jax.nn.log_softmax(t), ref)))(
    theta
  )
  away = jax.jit(jax.grad(lambda t: exact(ref, jax.nn.log_softmax(t))))(theta)
  for form, gradient in (('k1', 0 * towards), ('k2', towards), ('k3', away)):
    value, grad = value_and_grad(theta, form, sampler)
    np.testing.assert_allclose(grad, gradient, atol=2e-6)
    if form != 'k2':
      assert float(value) == pytest.approx(float(reverse), rel=1e-5)


@pytest.mark.parametrize(
  'aggregation',
  ['token_mean', 'sequence_mean_token_mean', 'sequence_mean_token_scale'],
)
def test_micro_batches_of_a_window_add_up(aggregation):
  logp, old, ref, gain, mask = rows(3)
  options = pg.PolicyGradient(kl_weight=0.1, aggregation=aggregation)
  weights = pg.token_weights(mask, aggregation)

  def grad(rows):
    part = [x[rows] for x in (logp, old, gain, weights, ref)]
    return jax.grad(
      lambda x: pg.policy_gradient_loss(*[x, *part[1:4]], options, part[4])[0]
    )(part[0])

  whole = grad(slice(None))
  for cut in ([0, 1, 2, 3, 4], [0, 1, 4], [0, 2, 4]):
    parts = [grad(slice(a, b)) for a, b in itertools.pairwise(cut)]
    np.testing.assert_allclose(jnp.concatenate(parts), whole, rtol=1e-6)


def test_overlong_penalty_in_tokens():
  lengths = jnp.array([1, 16384, 16385, 18432, 20480, 30000])
  want = [0, 0, -1 / 4096, -0.5, -1, -1]
  np.testing.assert_allclose(overlong_penalty(lengths), want, atol=1e-7)


def test_buffer_takes_what_is_wanted_in_order():
  groups = {'x': jnp.arange(4)}
  buffer = GroupBuffer({'x': jnp.full(3, -1)}, jnp.zeros(3, bool))
  wanted = jnp.array([False, True, False, True])
  buffer = fill_buffer(buffer, groups, wanted)
  np.testing.assert_array_equal(buffer.is_filled, [True, True, False])
  np.testing.assert_array_equal(buffer.groups['x'][:2], [1, 3])
  more = {'x': jnp.arange(10, 14)}
  buffer = fill_buffer(buffer, more, ~wanted)
  np.testing.assert_array_equal(buffer.groups['x'], [1, 3, 10])
  assert bool(buffer.is_filled.all())
  np.testing.assert_array_equal(
    pg.is_alive(jnp.array([[0.0, 0, 0], [1, 1, 1], [0, 1, 0]])),
    [False, False, True],
  )


@pytest.mark.parametrize(
  ('change', 'says'),
  [
    ({'scale': 'token'}, "scale='token' is not one of"),
    ({'clip_low': -0.1}, r'clip_low=-0.1 must be at least 0'),
    ({'dual_clip': 0.5}, r'dual_clip=0.5 must be above 1'),
    ({'ddof': 2}, 'ddof=2 must be 0 or 1'),
    ({'ratio': 'sequence', 'aggregation': 'token_mean'}, 'by its length'),
  ],
)
def test_refuses_options_that_mean_nothing(change, says):
  with pytest.raises(ValueError, match=says):
    pg.check_policy_gradient(pg.GRPO._replace(**change))


def test_options_may_be_swept_by_vmap():
  logp, old, ref, gain, mask = rows()
  weights = pg.token_weights(mask)

  def loss(kl_weight):
    options = pg.PolicyGradient(kl_weight=kl_weight)
    pg.check_policy_gradient(options)
    return pg.policy_gradient_loss(logp, old, gain, weights, options, ref)[0]

  swept = jax.jit(jax.vmap(loss))(jnp.array([0.0, 0.5]))
  np.testing.assert_allclose(swept, [loss(0.0), loss(0.5)], rtol=1e-6)
