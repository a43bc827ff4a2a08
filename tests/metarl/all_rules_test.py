"""What every update rule promises."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from absl.testing import absltest, parameterized

from ttc import agents, envs, metarl
from ttc.agents import PPO, Architecture

EVERY = [(make.__name__, make) for make in metarl.RULES]
# One of each kind for what compiles anew; the others are slow.
KINDS_OF_RULES = ('pg', 'dpo', 'ta_lpg', 'ta_lpo')
SOME = [row for row in EVERY if row[0] in KINDS_OF_RULES]
OTHERS = [row for row in EVERY if row not in SOME]
AGENT = metarl.Agent(
  PPO(num_envs=4, num_steps=3, num_epochs=1, num_minibatches=2),
  Architecture((8,)),
)
GAME = envs.two_step_game()
KINDS = (
  envs.breakout,
  envs.hanabi,
  envs.smax,
  functools.partial(envs.simple_spread, continuous=True),
)
EVERY_RULE_SOMEWHERE = [
  (f'{name}_{kind}', make, KINDS[kind])
  for name, make in EVERY
  for kind in range(len(KINDS))
]
SOME_RULE_EVERYWHERE = [
  (f'ta_lpg_{make.__name__}', metarl.ta_lpg, make) for make in envs.ENVIRONMENTS
]


def small(make):
  """Of a size for tests."""
  if 'lpg' in make.__name__:
    return make(3, 8)
  return make(width=8) if 'lpo' in make.__name__ else make()


@functools.cache
def program(make):
  """One life, compiled once; horizon, meta-parameters and key may change."""
  rule = small(make)

  @jax.jit
  def run(meta, key, horizon):
    agent = metarl.learner(GAME, rule, meta, horizon, AGENT)
    return metarl.live(agent, key, horizon, max_horizon=5)

  return rule, run


class EveryRuleTest(parameterized.TestCase):
  @parameterized.named_parameters(SOME)
  def test_a_life_is_finite_and_compiled_once(self, make):
    self.is_finite_and_compiled_once(make)

  @parameterized.named_parameters(OTHERS)
  @pytest.mark.slow
  def test_lives_of_the_other_rules_are_too(self, make):
    self.is_finite_and_compiled_once(make)

  def is_finite_and_compiled_once(self, make):
    rule, run = program(make)
    for seed, horizon in enumerate((5, 3)):
      key = jax.random.key(seed)
      state, metrics = run(jax.jit(rule.init)(key), key, horizon)
      self.assertEqual(int(state.updates), horizon)
      chex.assert_tree_all_finite(state.params)
      for name in ('policy_loss', 'entropy'):
        lived = np.isfinite(metrics[name])
        np.testing.assert_array_equal(lived, np.arange(5) < horizon)
    self.assertEqual(run._cache_size(), 1)

  def test_after_the_last_update_nothing_changes(self):
    self.does_not_change(metarl.pg)

  @pytest.mark.slow
  def test_nor_does_it_by_a_learned_rule(self):
    self.does_not_change(metarl.ta_lpo)

  def does_not_change(self, make):
    rule, run = program(make)
    key = jax.random.key(2)
    meta = jax.jit(rule.init)(key)
    masked, _ = run(meta, key, 3)
    agent = metarl.learner(GAME, rule, meta, 3, AGENT)
    state = jax.jit(agent.init)(key)
    state, _ = jax.jit(
      lambda state: jax.lax.scan(
        lambda state, _: agent.update(state), state, length=3
      )
    )(state)
    chex.assert_trees_all_close(masked.params, state.params, atol=1e-5)

  def test_lives_side_by_side_are_lives_alone(self):
    self.lives_alone(metarl.ta_lpg)

  @pytest.mark.slow
  def test_side_by_side_without_meta_parameters_too(self):
    self.lives_alone(metarl.a2c)

  def lives_alone(self, make):
    rule, run = program(make)
    keys = jax.random.split(jax.random.key(3), 2)
    meta = jax.jit(rule.init)(keys[0])
    horizons = jnp.array([5, 2])

    def life(key, horizon):
      agent = metarl.learner(GAME, rule, meta, horizon, AGENT)
      return metarl.live(agent, key, horizon, max_horizon=5)[0].params

    both = jax.jit(jax.vmap(life))(keys, horizons)
    for i in range(2):
      alone, _ = run(meta, keys[i], int(horizons[i]))
      chex.assert_trees_all_close(
        jax.tree.map(lambda x, i=i: x[i], both), alone.params, atol=1e-5
      )

  @parameterized.named_parameters(
    [row for row in SOME if row[0].startswith('ta_')]
  )
  def test_meta_parameters_matter(self, make):
    self.meta_parameters_matter(make)

  @parameterized.named_parameters(
    [row for row in OTHERS if row[0] in ('lpg', 'lpo')]
  )
  @pytest.mark.slow
  def test_meta_parameters_of_a_fixed_horizon_matter(self, make):
    self.meta_parameters_matter(make)

  def meta_parameters_matter(self, make):
    rule, run = program(make)
    key = jax.random.key(4)
    ends = [
      jax.tree.leaves(
        run(jax.jit(rule.init)(jax.random.key(i)), key, 5)[0].params
      )
      for i in range(2)
    ]
    self.assertTrue(any(np.any(a != b) for a, b in zip(*ends, strict=True)))

  @parameterized.named_parameters(*EVERY_RULE_SOMEWHERE, *SOME_RULE_EVERYWHERE)
  @pytest.mark.slow
  def test_any_rule_trains_any_agent_anywhere(self, make, make_env):
    """With images, many agents, illegal and continuous actions, the dead."""
    env, rule = make_env(), small(make)
    key = jax.random.key(6)
    agent = metarl.learner(env, rule, jax.jit(rule.init)(key), 2, AGENT)
    start = jax.jit(agent.init)(key)
    end, _ = jax.jit(
      lambda state: jax.lax.scan(
        lambda state, _: agent.update(state), state, length=2
      )
    )(start)
    chex.assert_tree_all_finite(end.params)
    pairs = zip(
      jax.tree.leaves(start.params), jax.tree.leaves(end.params), strict=True
    )
    self.assertTrue(any(np.any(a != b) for a, b in pairs))

  def test_drift_rules_are_ppo_with_a_surrogate(self):
    """The rule `ppo` makes the updates that `agents.ippo` makes."""
    hyper = AGENT.hyper
    optimizer = optax.chain(
      optax.clip_by_global_norm(hyper.max_grad_norm),
      optax.adam(hyper.learning_rate, eps=1e-5),
    )
    agent = AGENT._replace(optimizer=optimizer)
    ours = metarl.learner(GAME, metarl.ppo(hyper.clip), {}, 9, agent)
    theirs = agents.ippo(GAME, hyper, AGENT.architecture)
    start = jax.jit(ours.init)(jax.random.key(5))
    got, _ = jax.jit(ours.update)(start)
    want, _ = jax.jit(theirs.update)(
      jax.jit(theirs.init)(jax.random.key(5))._replace(params=start.params)
    )
    chex.assert_trees_all_close(got.params, want.params, atol=1e-5)


if __name__ == '__main__':
  absltest.main()
