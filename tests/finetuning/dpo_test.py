"""DPO by its closed forms, and which pairs it is given."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ttc import finetuning, models
from ttc.types import Generation, Prompt

BETA = 0.3


def random_pairs(seed=0, P=3, T=5):
  keys = jax.random.split(jax.random.key(seed), 3)
  log_probs, ref = -jax.random.exponential(keys[0], (2, P, 2, T))
  mask = jnp.arange(T) < jax.random.randint(keys[1], (P, 2, 1), 1, T + 1)
  return log_probs, ref, mask, jnp.array([0.5, 0.5, 0.0])


def test_loss_and_gradient_are_those_of_the_equation():
  log_probs, ref, mask, weights = random_pairs()
  (loss, sums), grads = jax.jit(
    jax.value_and_grad(finetuning.dpo_loss, has_aux=True)
  )(log_probs, ref, mask, weights, BETA)
  total = lambda x: np.sum(np.asarray(x) * np.asarray(mask), axis=-1)
  moved = total(log_probs) - total(ref)
  margin = BETA * (moved[:, 0] - moved[:, 1])
  each = -np.log(1 / (1 + np.exp(-margin)))
  assert float(loss) == pytest.approx(float(each[:2].mean()), rel=1e-5)
  assert float(sums['margin']) == pytest.approx(
    float(margin[:2].mean()), rel=1e-5
  )
  pull = np.asarray(weights) * BETA / (1 + np.exp(margin))
  want = np.stack([-pull, pull], axis=1)[..., None] * np.asarray(mask)
  np.testing.assert_allclose(grads, want, rtol=1e-5, atol=1e-7)


def test_at_the_reference_the_loss_is_log_2_and_nothing_is_preferred():
  _, ref, mask, weights = random_pairs()
  loss, sums = finetuning.dpo_loss(ref, ref, mask, weights, BETA)
  assert float(loss) == pytest.approx(np.log(2), rel=1e-6)
  assert float(sums['margin']) == 0 == float(sums['correct'])


def test_pairs_the_other_way_round_cost_the_margin():
  log_probs, ref, mask, weights = random_pairs(1)
  turn = lambda x: x[:, ::-1]
  loss, sums = finetuning.dpo_loss(log_probs, ref, mask, weights, BETA)
  turned, _ = finetuning.dpo_loss(
    turn(log_probs), turn(ref), turn(mask), weights, BETA
  )
  # softplus(m) = softplus(-m) + m
  assert float(turned - loss) == pytest.approx(float(sums['margin']), rel=1e-4)


def test_long_responses_and_sure_policies_stay_finite_and_exact():
  T = 4096
  ref = -jax.random.exponential(jax.random.key(0), (1, 2, T)) * 5
  bump = jnp.zeros((1, 2, T)).at[0, 0, 7].set(1e-3)
  mask, one = jnp.ones((1, 2, T), bool), jnp.ones(1)
  loss, sums = finetuning.dpo_loss(ref + bump, ref, mask, one, 1.0)
  # Sums of 20 000 nats would be off by as much as the margin is.
  assert float(sums['margin']) == pytest.approx(1e-3, rel=1e-2)
  assert float(loss) == pytest.approx(np.log(2) - 5e-4, abs=1e-6)
  for sign in (1, -1):
    far = ref.at[0, 0].add(sign * 1.0)
    loss, grads = jax.value_and_grad(
      lambda x: finetuning.dpo_loss(x, ref, mask, one, 1.0)[0]
    )(far)
    want = 0 if sign > 0 else T
    assert float(loss) == pytest.approx(want, rel=1e-4, abs=1e-6)
    np.testing.assert_allclose(grads[0, 0], 0 if sign > 0 else -1, atol=1e-6)


def test_the_minimum_is_the_reference_tilted_by_the_reward():
  """All pairs of four responses, preferred as Bradley and Terry say."""
  reward = jnp.array([1.0, 0.2, -0.4, 0.5])
  ref = jax.nn.log_softmax(jnp.array([0.3, -0.5, 0.8, 0.0]))
  first, second = (x.reshape(-1) for x in jnp.indices((4, 4)))
  law = jax.nn.sigmoid(reward[first] - reward[second]) / 16
  pair = jnp.stack([first, second], axis=1)
  mask = jnp.ones((16, 2, 1), bool)

  def loss(logits):
    log_probs = jax.nn.log_softmax(logits)[pair][..., None]
    return finetuning.dpo_loss(
      log_probs, ref[pair][..., None], mask, law, BETA
    )[0]

  best = ref + reward / BETA
  np.testing.assert_allclose(jax.jit(jax.grad(loss))(best), 0, atol=1e-6)
  assert np.abs(jax.jit(jax.grad(loss))(ref)).max() > 1e-2
  for wrong in (ref - reward / BETA, ref + reward, reward / BETA):
    assert float(loss(wrong)) > float(loss(best))


def test_pairs_are_the_best_of_each_kind():
  right = jnp.array([[1, 1, 0, 0], [0, 0, 0, 1], [1, 1, 0, 0]], bool)
  wrong = jnp.array([[0, 0, 1, 1], [0, 0, 0, 0], [0, 0, 1, 0]], bool)
  good = jnp.array([[1.0, 4, 5, 5], [0, 0, 0, -1], [-1, -1, 5, 5]])
  tricky = jnp.array([[5.0, 5, 2, 3], [0, 0, 0, 0], [9, 9, -1, 9]])
  pairs = finetuning.pick_pairs(right, wrong, good, tricky)
  np.testing.assert_array_equal(pairs.is_pair, [True, False, True])
  np.testing.assert_array_equal(pairs.chosen, [1, 3, 0])
  np.testing.assert_array_equal(pairs.rejected[::2], [3, 2])
  first = finetuning.pick_pairs(right, wrong)
  np.testing.assert_array_equal(first.chosen, [0, 3, 0])
  np.testing.assert_array_equal(first.rejected[::2], [2, 2])


def test_update_follows_the_gradient_and_pieces_add_up():
  model = models.table_model(5)
  table = jax.random.normal(jax.random.key(0), (5, 5))
  prompt = Prompt(jnp.array([[1, 2], [2, 0]]), jnp.array([2, 1]))
  tokens = jnp.array([[[3, 1, 4], [3, 3, 0]], [[1, 3, 0], [4, 0, 0]]])
  responses = Generation(
    tokens=tokens,
    lengths=jnp.array([[3, 2], [2, 1]]),
    finish_reasons=jnp.zeros((2, 2), jnp.int32),
    log_probs=jnp.zeros(tokens.shape),
    sampling_log_probs=jnp.zeros(tokens.shape),
  )
  pairs = finetuning.preferences(
    prompt,
    responses,
    finetuning.Pairs(
      jnp.array([1, 0]), jnp.array([0, 1]), jnp.array([True, True])
    ),
  )
  np.testing.assert_array_equal(pairs.tokens[0], tokens[0, ::-1])
  np.testing.assert_array_equal(pairs.mask.sum(-1), [[2, 3], [2, 1]])
  optimizer = optax.sgd(1.0)
  state = finetuning.init_state(lambda _: table, optimizer, jax.random.key(1))
  one = finetuning.make_dpo_update(model, optimizer, beta=BETA)
  cut = finetuning.make_dpo_update(
    model, optimizer, beta=BETA, num_micro_batches=2
  )
  state_1, seen = jax.jit(one)(state, table, pairs)
  state_2, _ = jax.jit(cut)(state, table, pairs)
  np.testing.assert_allclose(state_1.params, state_2.params, atol=1e-6)
  assert float(seen['loss']) == pytest.approx(np.log(2), rel=1e-6)
  # By hand: the gradient of a pair is -beta / 2 times what its sums move by.
  law = np.asarray(jax.nn.softmax(table))
  want = np.asarray(table).copy()
  for p, before in enumerate((2, 2)):
    for side, sign in ((0, 1), (1, -1)):
      last = before
      for t in range(int(pairs.mask[p, side].sum())):
        token = int(pairs.tokens[p, side, t])
        step = -law[last]
        step[token] += 1
        want[last] += sign * 0.5 * BETA / 2 * step
        last = token
  np.testing.assert_allclose(state_1.params, want, atol=1e-5)
  _, again = jax.jit(one)(state_1, table, pairs)
  assert float(again['loss']) < float(seen['loss'])
  assert float(again['correct']) == 1
