"""Advantages and losses beside TRL and Tunix, on the same arrays."""

import collections
import inspect
import textwrap
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ttc.finetuning import policy_gradients as pg

pytestmark = pytest.mark.oracle
P, G, T = 3, 4, 6


def arrays():
  """Rewards `[2, P, G]`, three kinds of log-probabilities, and lengths."""
  source = np.random.default_rng(0)
  rewards = source.integers(0, 3, (2, P, G)).astype(np.float32)
  rewards[:, 1] = 1.0  # a group without variance
  log_probs = -source.exponential(size=(3, P * G, T)).astype(np.float32)
  mask = np.arange(T) < source.integers(1, T + 1, P * G)[:, None]
  return rewards, log_probs, mask


def advantages_of_trl(rewards, aggregation, scale):
  """Runs the lines of the trainer that compute them."""
  torch = pytest.importorskip('torch')
  grpo = pytest.importorskip('trl.trainer.grpo_trainer')
  source = inspect.getsource(grpo.GRPOTrainer._generate_and_score_completions)
  first = source.index('        if self.multi_objective_aggregation == "sum')
  last = source.index('        else:\n            raise ValueError(\n'
                      '                f"Invalid multi_objective')  # fmt: skip
  by_row = torch.tensor(rewards.reshape(len(rewards), -1).T)
  scope = {
    'torch': torch,
    'nanstd': grpo.nanstd,
    'device': 'cpu',
    'num_generations': G,
    'rewards_per_func': by_row,
    'unscorable_mask': torch.isnan(by_row).all(dim=1),
    'self': types.SimpleNamespace(
      multi_objective_aggregation=aggregation,
      scale_rewards=scale,
      reward_weights=torch.ones(len(rewards)),
      reward_funcs=[None] * len(rewards),
    ),
  }
  exec(textwrap.dedent(source[first:last]), scope)
  return scope['advantages'].numpy().reshape(P, G)


@pytest.mark.parametrize('scale', ['group', 'batch', 'none'])
def test_advantages_are_those_of_trl(scale):
  rewards = arrays()[0]
  options = pg.PolicyGradient(scale=scale, epsilon=1e-4)
  np.testing.assert_allclose(
    pg.advantages(jnp.asarray(rewards.sum(0)), options),
    advantages_of_trl(rewards, 'sum_then_normalize', scale),
    atol=1e-6,
  )


def test_decoupled_advantages_are_those_of_trl():
  rewards = arrays()[0]
  np.testing.assert_allclose(
    pg.decoupled_advantages(jnp.asarray(rewards)),
    advantages_of_trl(rewards, 'normalize_then_sum', 'group'),
    atol=1e-6,
  )


@pytest.mark.parametrize(
  ('loss_type', 'options'),
  [
    ('grpo', pg.PolicyGradient(kl_weight=0.1)),
    ('bnpo', pg.PolicyGradient(aggregation='token_mean')),
    ('dapo', pg.PolicyGradient(aggregation='token_mean', clip_high=0.28)),
    (
      'dr_grpo',
      pg.PolicyGradient(aggregation='sequence_mean_token_scale', max_length=9),
    ),
    ('grpo', pg.PolicyGradient(max_ratio=1.5)),
    ('grpo', pg.PolicyGradient(ratio='sequence', clip_low=0.1)),
  ],
)
def test_loss_and_gradient_are_those_of_trl(loss_type, options):
  torch = pytest.importorskip('torch')
  grpo = pytest.importorskip('trl.trainer.grpo_trainer')
  _, log_probs, mask = arrays()
  gain = np.linspace(-1, 1, P * G).astype(np.float32)
  policy, old, ref = torch.tensor(log_probs)
  policy.requires_grad_(True)
  ignored = collections.defaultdict(lambda: collections.defaultdict(list))
  accelerator = types.SimpleNamespace(
    num_processes=1, gather=lambda x: x, reduce=lambda x, reduction: x
  )
  trainer = types.SimpleNamespace(
    _get_per_token_logps_and_entropies=lambda *_, **__: (
      policy, torch.zeros(P * G, T), None
    ),
    aux_loss_enabled=False,
    top_entropy_quantile=1.0,
    off_policy_mask_threshold=None,
    importance_sampling_level=options.ratio,
    beta=options.kl_weight,
    loss_type=loss_type,
    epsilon_low=options.clip_low,
    epsilon_high=options.clip_high,
    use_vllm=False,
    max_completion_length=options.max_length,
    model=types.SimpleNamespace(training=True),
    current_gradient_accumulation_steps=1,
    accelerator=accelerator,
    args=types.SimpleNamespace(
      delta=options.max_ratio,
      use_bias_correction_kl=False,
      steps_per_generation=1,
    ),
    _entropy_bonus_enabled=False,
    use_adaptive_entropy=False,
    _metrics=ignored,
    metrics=ignored,
  )  # fmt: skip
  width = torch.ones(P * G, 1, dtype=torch.long)
  inputs = {
    'prompt_ids': width,
    'prompt_mask': width,
    'completion_ids': torch.ones(P * G, T, dtype=torch.long),
    'completion_mask': torch.tensor(mask.astype(np.int64)),
    'advantages': torch.tensor(gain),
    'old_per_token_logps': old,
    'ref_per_token_logps': ref,
    'num_items_in_batch': torch.tensor(mask.sum()),
  }
  loss = grpo.GRPOTrainer._compute_loss(trainer, None, inputs)
  loss.backward()

  weights = pg.token_weights(
    jnp.asarray(mask), options.aggregation, options.max_length
  )
  ours, grad = jax.value_and_grad(
    lambda x: pg.policy_gradient_loss(
      x,
      jnp.asarray(log_probs[1]),
      jnp.asarray(gain),
      weights,
      options,
      jnp.asarray(log_probs[2]) if options.kl_weight else None,
    )[0]
  )(jnp.asarray(log_probs[0]))
  assert float(ours) == pytest.approx(float(loss.detach()), rel=1e-5)
  np.testing.assert_allclose(grad, policy.grad.numpy(), atol=1e-6)


def test_advantages_and_aggregation_are_those_of_tunix():
  algo_core = pytest.importorskip('tunix.rl.algo_core')
  common = pytest.importorskip('tunix.rl.common')
  rewards, log_probs, mask = arrays()
  theirs = algo_core.compute_advantages(rewards[0].reshape(-1), G)
  np.testing.assert_allclose(
    pg.advantages(jnp.asarray(rewards[0])).reshape(-1), theirs, atol=1e-5
  )
  mask[2] = False  # a row without a token
  for name in ('sequence_mean_token_mean', 'token_mean',
               'sequence_mean_token_scale'):  # fmt: skip
    weights = pg.token_weights(jnp.asarray(mask), name)
    np.testing.assert_allclose(
      jnp.sum(weights * log_probs[0]),
      common.aggregate_loss(
        jnp.asarray(log_probs[0]), jnp.asarray(mask), name.replace('_', '-')
      ),
      rtol=1e-5,
    )
