"""MinAtar games beside gymnax and beside the original.

Where gymnax 1.0.1 differs from the original (kenjyoung/MinAtar) and ours is as
the original:

- `Asterix` erases: where no row is free, or only the one that it would try
  first (it looks at the other seven), an empty entry is written over a random
  row, and what was there is gone; the original does nothing, or fills the row;
- `Asterix` lets `move_speed` fall to 0 where it does not start at 5: the
  original stops at 1;
- `Asterix` winds `ramp_timer` up where nothing ramps; the original leaves it;
- `Freeway` is truncated after 2500 steps, the original terminated after 2501
  (ours: 2500 steps, by truncation, and a parameter);
- all games but Freeway are truncated after 1000 steps; the original has no
  limit (ours: a parameter);
- sticky actions are missing, ramping of `SpaceInvaders` cannot be turned off
  (ours: parameters).
"""

import contextlib
import functools
import types
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import absltest, parameterized
from gymnax_steps import Theirs, side_by_side
from minatar_games import random_states

from ttc import envs
from ttc.envs.minatar.asterix import _spawn
from ttc.envs.minatar.freeway import _random_speeds

pytestmark = pytest.mark.oracle
NAMES = ('asterix', 'breakout', 'freeway', 'space_invaders')
GYMNAX = {
  'asterix': 'Asterix-MinAtar',
  'breakout': 'Breakout-MinAtar',
  'freeway': 'Freeway-MinAtar',
  'space_invaders': 'SpaceInvaders-MinAtar',
}


def direction_number(s):
  """The original's: 0 up left, then clockwise."""
  right = s.rightward > 0
  return jnp.where(
    s.downward < 0, jnp.where(right, 1, 0), jnp.where(right, 2, 3)
  )


def to_gymnax(name, start, s):
  """Their state from ours."""
  if name == 'asterix':
    rows = jnp.arange(1, 9, dtype=jnp.int32)
    columns = [s.columns, rows, s.rightward, s.gold, jnp.ones_like(rows)]
    entities = jnp.stack([c.astype(jnp.int32) for c in columns], -1)
    return start.replace(
      player_x=s.column,
      player_y=s.row,
      spawn_speed=s.spawn_interval,
      spawn_timer=s.spawn_timer,
      move_speed=s.move_interval,
      move_timer=s.move_timer,
      ramp_timer=s.ramp_timer,
      ramp_index=s.ramp_index,
      entities=jnp.where(s.filled[:, None], entities, 0),
      time=s.time,
      terminal=False,
    )
  if name == 'breakout':
    return start.replace(
      ball_y=s.row,
      ball_x=s.column,
      ball_dir=direction_number(s),
      pos=s.paddle,
      brick_map=jnp.pad(s.bricks, ((1, 6), (0, 0))).astype(jnp.float32),
      strike=s.inside,
      last_y=s.last_row,
      last_x=s.last_column,
      time=s.time,
      terminal=False,
    )
  if name == 'freeway':
    rows = jnp.arange(1, 9, dtype=jnp.int32)
    return start.replace(
      pos=s.row,
      cars=jnp.stack([s.columns, rows, s.timers, s.speeds], -1),
      move_timer=s.move_timer,
      time=s.time,
      terminal=False,
    )
  return start.replace(
    pos=s.cannon,
    f_bullet_map=s.bullets.astype(jnp.float32),
    e_bullet_map=s.alien_bullets.astype(jnp.float32),
    alien_map=s.aliens.astype(jnp.float32),
    alien_dir=jnp.where(s.rightward, 1, -1),
    enemy_move_interval=s.move_interval,
    alien_move_timer=s.move_timer,
    alien_shot_timer=s.alien_shot_timer,
    ramp_index=s.ramp_index,
    shot_timer=s.shot_timer,
    time=s.time,
    terminal=False,
  )


def our_chance(name, state, key):
  """What ours draws in the step: what enters Asterix, speeds of cars."""
  words = jax.random.bits(key, (3,), jnp.uint32)
  if name == 'asterix':
    words = jax.random.bits(key, (2,), jnp.uint32)
    after = _spawn(words[1], state)
    new = after.filled & ~state.filled
    row = jnp.argmax(new)
    kinds = (after.rightward[row], after.gold[row], jnp.any(new))
    numbers = (after.columns[row], row + 1, *kinds)
    entity = jnp.stack([x.astype(jnp.int32) for x in numbers])
    return entity, jnp.where(jnp.any(new), row, 99)  # 99: written nowhere
  return _random_speeds(words[1:])


@contextlib.contextmanager
def same_chance(name):
  """Gymnax draws what is in the list, which is filled while it is traced."""
  drawn = []
  if name == 'asterix':
    from gymnax.environments.minatar import asterix as theirs

    with mock.patch.object(theirs, 'spawn_entity', lambda k, s: drawn[-1]):
      yield drawn
  elif name == 'freeway':
    from gymnax.environments.minatar import freeway as theirs

    real = theirs.randomize_cars

    def randomize_cars(speeds, directions, cars, initialize):
      if drawn:
        speeds, directions = jnp.abs(drawn[-1]), jnp.sign(drawn[-1])
      return real(speeds, directions, cars, initialize)

    with mock.patch.object(theirs, 'randomize_cars', randomize_cars):
      yield drawn
  else:
    yield drawn


class GymnaxTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.gymnax = pytest.importorskip('gymnax')

  def compare(self, name, ours, theirs):
    np.testing.assert_array_equal(ours.obs[:, 0], theirs.obs)
    np.testing.assert_array_equal(ours.reward[:, 0], theirs.reward)
    np.testing.assert_array_equal(ours.terminated, theirs.terminated)
    np.testing.assert_array_equal(
      ours.truncated, theirs.truncated & ~theirs.terminated
    )
    expected = jax.vmap(functools.partial(to_gymnax, name))(
      theirs.state, ours.state
    )
    for field in theirs.state.__dataclass_fields__:
      a, b = getattr(expected, field), getattr(theirs.state, field)
      if field == 'entities':  # without what is written about empty rows
        b = np.where(b[..., 4:] > 0, b, 0)
      if field != 'terminal':
        np.testing.assert_array_equal(a, b, field)

  @parameterized.parameters(*NAMES)
  def test_a_thousand_steps(self, name):
    env = getattr(envs, name)()
    reference, theirs = self.gymnax.make(GYMNAX[name])
    _, start = reference.reset(jnp.zeros((2,), jnp.uint32), theirs)
    with same_chance(name) as drawn:

      def to_theirs(s, key):
        if name in ('asterix', 'freeway'):
          drawn.append(our_chance(name, s, key))
        return to_gymnax(name, start, s)

      _, ours, there = side_by_side(
        env,
        reference,
        to_theirs,
        1000,
        env.default_params._replace(max_steps=200),
        theirs.replace(max_steps_in_episode=200),
      )
    self.compare(name, ours, there)
    self.assertTrue(np.any(ours.terminated | ours.truncated))

  @parameterized.parameters(*NAMES)
  def test_a_step_from_states_of_all_kinds(self, name):
    env = getattr(envs, name)(full_actions=True)
    reference, theirs = self.gymnax.make(
      GYMNAX[name], use_minimal_action_set=False
    )
    _, start = reference.reset(jnp.zeros((2,), jnp.uint32), theirs)
    states, actions = random_states(name, 1000), random_actions()
    if name == 'asterix':  # see above
      states = states._replace(
        move_interval=np.maximum(states.move_interval, 2),
        spawn_interval=np.maximum(states.spawn_interval, 2),
      )
    keys = jax.random.split(jax.random.key(0), 1000)
    with same_chance(name) as drawn:

      def both(key, state, action):
        if name in ('asterix', 'freeway'):
          drawn.append(our_chance(name, state, key))
        ours = env.step(key, state, action, env.default_params)
        obs, after, reward, terminated, _ = reference.step_env(
          key, to_gymnax(name, start, state), action[0], theirs
        )
        truncated = reference.is_truncated(after, theirs)
        return ours, Theirs(obs, after, reward, terminated, truncated)

      ours, there = jax.device_get(
        jax.jit(jax.vmap(both))(keys, states, actions)
      )
    self.compare(name, ours, there)
    self.assertTrue(np.any(ours.reward > 0))


def random_actions():
  return np.random.default_rng(1).integers(0, 6, (1000, 1)).astype(np.int32)


def to_original(name, game, s):
  """Sets the original to our state."""
  if name == 'asterix':
    game.player_x, game.player_y = int(s.column), int(s.row)
    game.spawn_speed, game.move_speed = s.spawn_interval, s.move_interval
    game.spawn_timer, game.move_timer = s.spawn_timer, s.move_timer
    game.ramp_timer, game.ramp_index = s.ramp_timer, s.ramp_index
    game.entities = [
      [int(s.columns[i]), i + 1, bool(s.rightward[i]), bool(s.gold[i])]
      if s.filled[i]
      else None
      for i in range(8)
    ]
  elif name == 'breakout':
    game.ball_x, game.ball_y = int(s.column), int(s.row)
    game.last_x, game.last_y = int(s.last_column), int(s.last_row)
    game.ball_dir, game.pos = int(direction_number(s)), int(s.paddle)
    game.brick_map = np.pad(s.bricks, ((1, 6), (0, 0))).astype(float)
    game.strike = bool(s.inside)
  elif name == 'freeway':
    game.pos, game.move_timer = int(s.row), int(s.move_timer)
    cars = zip(s.columns, s.timers, s.speeds, strict=True)
    game.cars = [[int(c), i + 1, t, v] for i, (c, t, v) in enumerate(cars)]
  else:
    game.pos, game.alien_dir = int(s.cannon), 1 if s.rightward else -1
    game.f_bullet_map = s.bullets.astype(float)
    game.e_bullet_map = s.alien_bullets.astype(float)
    game.alien_map = s.aliens.astype(float)
    game.enemy_move_interval = int(s.move_interval)
    game.alien_move_timer = int(s.move_timer)
    game.alien_shot_timer = int(s.alien_shot_timer)
    game.shot_timer, game.ramp_index = int(s.shot_timer), int(s.ramp_index)


class Dice:
  """Draws for the original what ours has drawn."""

  def __init__(self, name, state, chance):
    self.values = []
    if name == 'asterix':
      entity, row = chance
      free = [i for i in range(8) if not state.filled[i]]
      self.values = [0.0 if entity[2] else 0.9, 0.0 if entity[3] else 0.9]
      self.values += [free.index(row)] if row in free else []
    elif name == 'freeway':
      self.values = [np.abs(chance), 0.5 + 0.1 * np.sign(chance)]

  def rand(self, *shape):
    del shape
    return self.values.pop(0)

  def randint(self, *bounds):
    del bounds
    return self.values.pop(0)


class OriginalTest(parameterized.TestCase):
  @parameterized.parameters(*NAMES)
  def test_a_step_from_states_of_all_kinds(self, name):
    module = pytest.importorskip(f'minatar.environments.{name}')
    env = getattr(envs, name)(full_actions=True)
    params = env.default_params
    states, actions = random_states(name, 1000), random_actions()
    keys = jax.random.split(jax.random.key(0), 1000)
    step = jax.jit(jax.vmap(env.step, (0, 0, 0, None)))
    out = jax.device_get(step(keys, states, actions, params))
    chance = [None] * 1000
    if name in ('asterix', 'freeway'):
      draw = jax.vmap(functools.partial(our_chance, name))
      drawn = jax.device_get(jax.jit(draw)(states, keys))
      chance = [jax.tree.map(lambda x, i=i: x[i], drawn) for i in range(1000)]
    for i in range(1000):
      take = lambda x, i=i: x[i]
      state, ours = jax.tree.map(take, states), jax.tree.map(take, out)
      game = module.Env()
      to_original(name, game, state)
      game.random = Dice(name, state, chance[i])
      reward, over = game.act(actions[i, 0])
      self.assertEqual((ours.reward[0], ours.terminated), (reward, over))
      np.testing.assert_array_equal(ours.obs[0], game.state())
      expected = types.SimpleNamespace()
      to_original(name, expected, ours.state)
      for field, value in vars(expected).items():
        if field == 'entities':
          self.assertEqual(value, game.entities)
        else:
          np.testing.assert_array_equal(value, getattr(game, field), field)


if __name__ == '__main__':
  absltest.main()
