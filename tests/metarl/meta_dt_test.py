"""Codes tell tasks and leak nothing; prompts are what the code does not say."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import absltest, parameterized

from ttc import envs, models
from ttc.metarl import meta_dt
from ttc.metarl.meta_dt.agent import as_steps

KEY = jax.random.key(0)
T, P, H = 8, 3, 2  # steps of an episode, of a prompt, before a code
TINY = models.TransformerConfig(
  vocab_size=1,
  num_layers=1,
  embed_dim=8,
  mlp_dim=8,
  num_heads=1,
  num_kv_heads=1,
  head_dim=8,
  max_length=64,
  scan_layers=True,
)
ENV = envs.point_robot()


def small(**numbers):
  numbers = {
    'horizon': T,
    'prompt_length': P,
    'max_steps': T,
    'context_length': H,
    'context_dim': 3,
    'world_width': 8,
    'transformer': TINY,
    'history': 2,
  } | numbers
  return meta_dt.meta_dt(2, 2, **numbers)


AGENT = small()


@jax.jit
def offline():
  levels = jnp.array([1.0, 0.5, 0.0])
  data = meta_dt.collect(ENV, meta_dt.seek_goal, KEY, TASKS, levels, T)
  scale = meta_dt.state_scale(data)
  world = jax.jit(AGENT.world.init)(KEY)
  bank = meta_dt.make_bank(AGENT, world, meta_dt.rescale(data, scale))
  policy = jax.jit(AGENT.policy.init)(KEY)
  return data, bank, meta_dt.MetaDTParams(world, policy, scale)


def setup_module():
  global TASKS, DATA, BANK, PARAMS
  TASKS = jax.jit(
    jax.vmap(envs.point_robot_tasks(radius=0.75, max_steps=T).sample)
  )(jax.random.split(KEY, 3))
  DATA, BANK, PARAMS = offline()


apply = jax.jit(AGENT.policy.apply)
encode = jax.jit(AGENT.world.encode)
play = jax.jit(
  lambda tasks: meta_dt.play_tasks(AGENT, ENV, PARAMS, KEY, tasks, -1.0, 3)
)


draw = jax.jit(
  meta_dt.draw_batch, static_argnums=(0, 3), static_argnames='prompted'
)
loss = jax.jit(meta_dt.policy_loss, static_argnums=0)


def batch_of(prompted, size=4, agent=AGENT):
  return draw(agent, BANK, KEY, size, prompted=prompted)


class DataTest(absltest.TestCase):
  def test_the_best_behaviour_is_the_optimum(self):
    """And anything is worse than half of it, which is worse than it."""
    returns = np.asarray(DATA.reward.sum(axis=-1))
    best = jax.jit(jax.vmap(envs.point_robot_optimum))(TASKS)
    np.testing.assert_allclose(returns[:, 2], best, rtol=1e-5)
    self.assertTrue(np.all(np.diff(returns.mean(axis=0)) > 0))

  @pytest.mark.slow
  def test_behaviour_knows_other_dynamics_and_velocities(self):
    """Turned and faster robots go straight, too; velocities are hit."""
    for family in ('dynamics', 'velocities'):
      task = envs.point_robot_tasks(family).sample(KEY)
      action = meta_dt.seek_goal(
        KEY, jnp.zeros(2), jnp.int32(0), task, jnp.float32(0.0)
      )
      _, state = ENV.reset(KEY, task)
      out = ENV.step(KEY, state, action[None], task)
      with self.subTest(family):
        if family == 'velocities':
          self.assertLess(float(out.info['error']), 1e-6)
        else:
          error = 1 - task.gain * task.step_length
          np.testing.assert_allclose(out.info['error'], error, atol=1e-6)

  def test_noise_is_of_the_step_and_goes_the_right_way_on_the_average(self):
    """Steps of one episode differ in it; no action is longer than 1."""
    task = jax.tree.map(lambda x: x[0], TASKS)
    act = jax.vmap(
      lambda t: meta_dt.seek_goal(KEY, jnp.zeros(2), t, task, jnp.float32(1.0))
    )
    actions = np.asarray(jax.jit(act)(jnp.arange(4000)))
    self.assertLessEqual(np.linalg.norm(actions, axis=1).max(), 1 + 1e-6)
    mean = actions.mean(axis=0)
    toward = np.array([np.cos(task.angle), np.sin(task.angle)])
    self.assertGreater(mean @ toward / np.linalg.norm(mean), 0.99)
    self.assertGreater(actions.std(axis=0).min(), 0.3)

  def test_returns_to_go_and_the_best(self):
    rewards = np.asarray(DATA.reward[0])
    to_go = np.stack([rewards[:, t:].sum(axis=1) for t in range(T)], axis=1)
    one = jax.tree.map(lambda x: x[0], DATA)
    np.testing.assert_allclose(
      meta_dt.returns_to_go(one), to_go, rtol=1e-5, atol=1e-6
    )
    best = meta_dt.best_trajectories(one, 2)
    np.testing.assert_allclose(best.reward, rewards[[2, 1]])

  @pytest.mark.slow
  def test_what_follows_an_episode_is_nothing(self):
    short = jax.tree.map(lambda x: x[0], TASKS)._replace(max_steps=jnp.int32(5))
    act = lambda key, past, t: jnp.ones((2,))
    run = jax.jit(meta_dt.record, static_argnums=(0, 1, 4))
    played = run(ENV, act, KEY, short, T)
    np.testing.assert_array_equal(played.mask, np.arange(T) < 5)
    for leaf in played[:4]:
      self.assertTrue(np.all(leaf[1:5]))
      self.assertFalse(np.any(leaf[5:]))

  def test_scale(self):
    state = np.asarray(DATA.state).reshape(-1, 2)
    np.testing.assert_allclose(PARAMS.scale.mean, state.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(PARAMS.scale.std, state.std(axis=0), rtol=1e-3)
    np.testing.assert_allclose(
      BANK.trajectories.state.reshape(-1, 2).std(axis=0), 1.0, rtol=1e-3
    )


class ContextTest(absltest.TestCase):
  def test_codes_know_the_past_only_and_not_all_of_it(self):
    """Other steps from t on leave z_t, those of the last h before it do not."""
    t = 5
    before = encode(PARAMS.world, BANK.trajectories)
    for name in ('state', 'action', 'reward'):
      changed = getattr(BANK.trajectories, name).at[:, :, t].add(1.0)
      other = BANK.trajectories._replace(**{name: changed})
      after = encode(PARAMS.world, other)
      moved = np.abs(np.asarray(after - before)).max(axis=(0, 1, 3)) > 1e-6
      window = (np.arange(T) > t) & (np.arange(T) <= t + H)
      with self.subTest(name):
        np.testing.assert_array_equal(moved, window)

  def test_windows_are_padded_with_zeros_at_the_left(self):
    """An episode that begins with nothing is one that begins later."""
    later = jax.tree.map(
      lambda x: jnp.concatenate([jnp.zeros_like(x[:, :, :2]), x], axis=2),
      BANK.trajectories,
    )
    np.testing.assert_allclose(
      encode(PARAMS.world, later)[:, :, 2:],
      encode(PARAMS.world, BANK.trajectories),
      atol=1e-6,
    )

  def test_an_oracle_whose_code_is_the_goal_is_never_wrong(self):
    """Rewards s' g: from two steps on, least squares know g; before not."""
    data, error = solved()
    np.testing.assert_allclose(error[:, 2:], 0.0, atol=1e-3)
    np.testing.assert_allclose(error[:, 0], np.abs(data.reward[:, 0]))
    self.assertTrue(np.all(error[:, 0] > 1e-2))

  @pytest.mark.slow
  def test_errors_are_of_what_is_predicted(self):
    """Both is the sum of rewards' and dynamics', of real steps only."""
    data = jax.tree.map(lambda x: x[0], BANK.trajectories)
    half = data._replace(mask=data.mask.at[:, 4:].set(False))
    world = meta_dt.world_model(2, 2, predicts='both', width=8)

    @jax.jit
    def run(data, half):
      params = jax.jit(world.init)(KEY)
      predicted = world.predict(params, data, world.encode(params, data))
      return predicted, meta_dt.prediction_error(world, params, half)

    predicted, error = run(data, half)
    expected = np.abs(predicted.reward - data.reward)
    expected += np.abs(predicted.next_state - data.next_state).sum(axis=-1)
    np.testing.assert_allclose(error[:, :4], expected[:, :4], rtol=1e-5)
    self.assertFalse(np.any(error[:, 4:]))
    dynamics = meta_dt.world_model(2, 2, predicts='dynamics', width=8)
    only = jax.eval_shape(
      lambda: dynamics.predict(dynamics.init(KEY), data, jnp.zeros((3, T, 16)))
    )
    self.assertIsNone(only.reward)
    self.assertEqual(only.next_state.shape, (3, T, 2))

  @pytest.mark.slow
  def test_a_world_model_learns_the_linear_world(self):
    """Errors fall to a tenth of the rewards once the goal can be known."""
    import optax

    data, _ = linear_rewards(512)
    world = meta_dt.world_model(2, 2, width=64)
    adam = optax.adam(optax.cosine_decay_schedule(3e-3, 1500))

    @jax.jit
    def learn(params):
      def step(state, _):
        params, opt = state
        grads = jax.grad(lambda p: meta_dt.world_loss(world, p, data))(params)
        updates, opt = adam.update(grads, opt)
        return (optax.apply_updates(params, updates), opt), None

      return jax.lax.scan(step, (params, adam.init(params)), length=1500)[0][0]

    params = learn(jax.jit(world.init)(KEY))
    error = np.asarray(meta_dt.prediction_error(world, params, data))
    size = np.abs(np.asarray(data.reward)).mean()
    self.assertLess(error[:, 4:].mean(), 0.1 * size)
    self.assertGreater(error[:, 0].mean(), 0.5 * size)


@functools.cache
def solved():
  """The same, and the world model's errors."""
  data, world = linear_rewards()
  run = jax.jit(lambda data: meta_dt.prediction_error(world, (), data))
  return data, run(data)


def linear_rewards(num_episodes=4):
  """Episodes that pay `s' g`, and a world model that solves for `g`."""
  keys = jax.random.split(KEY, 3)
  goal = jax.random.normal(keys[0], (num_episodes, 1, 2))
  action = jax.random.normal(keys[1], (num_episodes, T, 2))
  state = jax.random.normal(keys[2], (num_episodes, T, 2))
  next_state = state + action
  data = meta_dt.Trajectories(
    state,
    action,
    jnp.sum(next_state * goal, axis=-1),
    next_state,
    jnp.ones((num_episodes, T), bool),
  )

  def encode(params, x):
    known = jnp.tril(jnp.ones((T, T)), -1)[..., None]  # [t, before t, 1]
    paid = known * x.next_state[:, None]
    inverse = jnp.linalg.pinv(paid)
    inverse = jnp.where(jnp.arange(T)[:, None, None] < 2, 0.0, inverse)
    return jnp.einsum('btij,bj->bti', inverse, x.reward)

  def predict(params, x, z):
    return meta_dt.Prediction(jnp.sum(x.next_state * z, axis=-1), None)

  world = meta_dt.WorldModel(lambda key: (), encode, predict, 2, 2)
  return data, world


class PromptTest(parameterized.TestCase):
  def test_argmax_is_what_trying_all_windows_finds(self):
    """Of an oracle's errors, too; windows that are not real do not count."""
    _, errors = solved()
    errors = errors + np.random.default_rng(0).uniform(size=(4, T))
    mask = (jnp.arange(T) < 6) | (jnp.arange(4)[:, None] < 2)
    totals = meta_dt.window_errors(errors, mask, P, H)
    found = meta_dt.choose_window('argmax', KEY, totals)
    tried = {
      (h, w): float(sum(errors[h, H + w : H + w + P]))
      for h in range(4)
      for w in range(T - P - H + 1)
      if mask[h, H + w : H + w + P].all()
    }
    self.assertEqual(tuple(map(int, found)), max(tried, key=tried.get))
    self.assertEqual(int(jnp.sum(totals > 0)), len(tried))
    self.assertLess(len(tried), totals.size)

  def test_samples_follow_the_errors(self):
    totals = jnp.array([[1.0, 0.0, 3.0], [4.0, -jnp.inf, 2.0]])
    keys = jax.random.split(KEY, 20_000)
    rows, windows = jax.jit(
      jax.vmap(lambda key: meta_dt.choose_window('sample', key, totals))
    )(keys)
    count = np.bincount(rows * 3 + windows, minlength=6) / len(keys)
    law = np.array([1, 0, 3, 4, 0, 2]) / 10
    np.testing.assert_allclose(count, law, atol=4 * 0.5 / len(keys) ** 0.5)

  @parameterized.parameters('argmax', 'sample')
  def test_prompts_are_pieces_of_episodes(self, kind):
    """With what was still to come; a task has more than one of them."""
    agent, size = AGENT._replace(prompt=kind), 16
    batch = batch_of(True, size, agent)
    self.assertEqual(batch.prompt.state.shape, (size, P, 2))
    different = np.unique(batch.prompt.return_to_go, axis=0)
    self.assertGreater(len(different), len(TASKS.angle))
    to_go = meta_dt.returns_to_go(BANK.trajectories) / agent.return_scale
    for b in range(size):
      start = int(batch.prompt.time[b, 0])
      self.assertGreaterEqual(start, H)
      part = (slice(None), slice(None), slice(start, start + P))
      same = np.all(
        np.isclose(to_go[part], batch.prompt.return_to_go[b]), axis=-1
      ) & np.all(
        np.isclose(BANK.trajectories.action[part], batch.prompt.action[b]),
        axis=(-1, -2),
      )
      self.assertTrue(np.any(same))

  def test_tests_have_prompts_as_training_has(self):
    """Both feed the policy 3 (P + T) tokens."""
    read = []

    def note(params, steps, prompt=None):
      read.append((steps.mask.shape[-1], prompt and prompt.mask.shape[-1]))
      return jnp.zeros((*steps.mask.shape, 2))

    agent = AGENT._replace(policy=AGENT.policy._replace(apply=note))
    jax.eval_shape(
      lambda: meta_dt.policy_loss(
        agent, (), meta_dt.draw_batch(agent, BANK, KEY, 4, prompted=True)
      )
    )
    trained = set(read)
    jax.eval_shape(
      lambda: meta_dt.play_tasks(agent, ENV, PARAMS, KEY, TASKS, -1.0, 2)
    )
    self.assertEqual(trained, {(T, P)})
    self.assertEqual(set(read), {(T, P), (T, None)})


class PolicyTest(absltest.TestCase):
  def test_actions_do_not_know_the_future(self):
    """Nor their own: a_t, and all of t + 1, reach the actions after t only."""
    steps, prompt = batch_of(True)
    t = 4
    before = apply(PARAMS.policy, steps, prompt)
    for name in ('return_to_go', 'state', 'context', 'action'):
      leaf = getattr(steps, name)
      other = steps._replace(**{name: leaf.at[:, t].add(1.0)})
      moved = np.asarray(apply(PARAMS.policy, other, prompt) != before)
      first = t + (name == 'action')
      with self.subTest(name):
        self.assertFalse(np.any(moved[:, :first]))
        self.assertTrue(np.all(moved[:, first].any(axis=-1)))

  def test_all_of_a_prompt_counts(self):
    steps, prompt = batch_of(True)
    before = apply(PARAMS.policy, steps, prompt)
    for name in ('return_to_go', 'state', 'action'):
      leaf = getattr(prompt, name)
      other = prompt._replace(**{name: leaf.at[:, 0].add(1.0)})
      after = apply(PARAMS.policy, steps, other)
      self.assertTrue(np.all(np.any(after != before, axis=-1)), name)

  def test_padding_does_not_count(self):
    """Neither in actions nor in the loss, whatever stands there."""
    steps, prompt = batch_of(True)
    real = steps._replace(mask=steps.mask & (jnp.arange(T) < 5))
    filled = jax.tree.map(
      lambda x: x.at[:, 5:].set(jnp.ones_like(x[:, 5:])), real
    )._replace(mask=real.mask)
    loss_of = lambda x: loss(
      AGENT, PARAMS.policy, meta_dt.PolicyBatch(x, prompt)
    )
    np.testing.assert_array_equal(
      apply(PARAMS.policy, filled, prompt)[:, :5],
      apply(PARAMS.policy, real, prompt)[:, :5],
    )
    np.testing.assert_allclose(loss_of(filled), loss_of(real), rtol=1e-6)
    miss = apply(PARAMS.policy, real, prompt)[:, :5] - real.action[:, :5]
    np.testing.assert_allclose(loss_of(real), np.mean(miss**2), rtol=1e-5)

  def test_pieces_do_not_depend_on_the_batch(self):
    few, many = batch_of(True), batch_of(True, 16)
    jax.tree.map(
      lambda a, b: np.testing.assert_array_equal(a, b[:4]), few, many
    )


class PlayTest(absltest.TestCase):
  def test_an_episode_is_what_the_policy_says_step_by_step(self):
    """One pass over what was played gives the actions that were taken."""
    played = play(TASKS)
    first = jax.tree.map(lambda x: x[:, 0], played.trajectories)
    paid = jnp.cumsum(first.reward, axis=-1) - first.reward
    steps = jax.jit(jax.vmap(lambda *x: as_steps(AGENT, *x)))(
      first, played.contexts[:, 0], -1.0 - paid
    )
    np.testing.assert_allclose(
      apply(PARAMS.policy, steps, None), first.action, atol=1e-5
    )

  def test_shots_have_prompts(self):
    """All but the first, from the best before them."""
    actions = np.asarray(play(TASKS).trajectories.action)
    self.assertTrue(np.all(np.any(actions[:, 1] != actions[:, 0], axis=-1)))

  @pytest.mark.slow
  def test_tasks_do_not_depend_on_how_many_there_are(self):
    one = play(jax.tree.map(lambda x: x[:1], TASKS))
    np.testing.assert_allclose(one.returns, play(TASKS).returns[:1], rtol=1e-5)

  @pytest.mark.slow
  def test_the_last_steps_are_read_where_the_horizon_is_shorter(self):
    """A short memory plays whole episodes, as one that reads all begins."""
    short = small(horizon=3)
    task = jax.tree.map(lambda x: x[0], TASKS)
    run = jax.jit(meta_dt.play, static_argnums=(0, 1))
    played = run(short, ENV, PARAMS, KEY, task, -1.0).action
    whole = play(TASKS).trajectories.action[0, 0]
    np.testing.assert_allclose(played[:3], whole[:3], atol=1e-5)
    self.assertGreater(float(np.abs(played[3:] - whole[3:]).max()), 1e-6)


class BadInputTest(parameterized.TestCase):
  @parameterized.parameters(
    ({'prompt': 'best'}, "prompt='best'.*argmax, sample"),
    ({'prompt_length': T - H + 1}, 'prompt_length=7.*max_steps=8'),
    ({'horizon': 30}, 'horizon=30.*max_length=64'),
    ({'predicts': 'goal'}, "predicts='goal'.*reward, dynamics, both"),
    ({'context_length': 0}, 'context_length=0'),
    ({'return_scale': 0.0}, 'return_scale=0.0'),
    ({'history': 0}, 'history=0'),
  )
  def test_numbers_that_do_not_fit(self, numbers, says):
    with self.assertRaisesRegex(ValueError, says):
      small(**numbers)

  def test_calls_that_do_not_fit(self):
    totals = jnp.ones((1, 1))
    for call, says in (
      (lambda: meta_dt.choose_window('best', KEY, totals), "prompt='best'"),
      (
        lambda: meta_dt.window_errors(
          jnp.ones((1, T)), jnp.ones((1, T), bool), T + 1
        ),
        'prompt_length=9.*episode of 8',
      ),
      (
        lambda: meta_dt.play_tasks(AGENT, ENV, PARAMS, KEY, TASKS, 0.0, 0),
        'num_episodes=0',
      ),
      (
        lambda: meta_dt.record(
          envs.simple_spread(), lambda *x: None, KEY, None, T
        ),
        'num_agents=3',
      ),
    ):
      with self.assertRaisesRegex(ValueError, says):
        call()


if __name__ == '__main__':
  absltest.main()
