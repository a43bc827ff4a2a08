"""Battles for tests of SMAX: states by hand, a tick in plain NumPy."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from ttc import envs
from ttc.envs.multi_agent.smax import scripted
from ttc.envs.multi_agent.smax.dynamics import Units
from ttc.envs.multi_agent.smax.scenarios import Scenario
from ttc.envs.multi_agent.smax.units import MARINE

NORTH, EAST, SOUTH, WEST, STOP, ATTACK = range(6)
KEY = jax.random.key(0)
DUEL = envs.smax('3m', 'self_play')  # 0, 1, 2 against 3, 4, 5
STEP = jax.jit(DUEL.step)
TOLD = jax.jit(scripted.script_actions)
jitted = functools.cache(jax.jit)
UNEVEN = Scenario('2m_vs_3m', (MARINE,) * 2, (MARINE,) * 3)
SMACV2 = Scenario('smacv2_3_vs_5', (MARINE,) * 3, (MARINE,) * 5, random=True)


def quiet(env=DUEL, **changes):
  """Params without noise of reloads."""
  noise = np.zeros(2, np.float32)
  params = env.default_params._replace(reload_noise=noise)
  arrays = {name: np.float32(value) for name, value in changes.items()}
  return params._replace(**arrays)


def state_at(places, env=DUEL, **changes):
  """A first state with units at places."""
  state = jitted(env.reset)(KEY, env.default_params)[1]
  x, y = jnp.array(places, jnp.float32).T
  arrays = {name: jnp.array(value) for name, value in changes.items()}
  state = state._replace(x=x, y=y, start_x=x, start_y=y)
  return state._replace(**arrays)


# Nobody within reach of anybody.
APART = [(4, 4), (4, 16), (4, 28), (28, 4), (28, 16), (28, 28)]
# Units 0 and 3 within reach of each other.
FACING = [(14, 16), (4, 4), (4, 28), (17, 16), (28, 4), (28, 28)]


def actions(**by_unit):
  """Stop, but for `u0=...`."""
  out = np.full(6, STOP, np.int32)
  for unit, action in by_unit.items():
    out[int(unit[1:])] = action
  return jnp.array(out)


def random_state(seed, env, num_units, num_dead=1):
  """A crowd: many are in sight, some in reach, some overlap."""
  rng = np.random.default_rng(seed)
  state = jitted(env.reset)(jax.random.key(seed), env.default_params)[1]
  x, y = rng.uniform(12, 20, (2, num_units)).astype(np.float32)
  health = np.array(state.health) * rng.uniform(0.2, 1, num_units)
  health[rng.permutation(num_units)[:num_dead]] = 0
  cooldown = rng.uniform(-0.5, 0.5, num_units)
  return state._replace(
    x=jnp.array(x),
    y=jnp.array(y),
    health=jnp.array(health, jnp.float32),
    cooldown=jnp.array(cooldown, jnp.float32),
    action=jnp.array(rng.integers(0, 7, num_units), jnp.int32),
    start_x=jnp.array(x),
    start_y=jnp.array(y),
  )


def slow_tick(units, orders, rules):
  """The rules of a tick, one unit after another, in NumPy."""
  x, y, health, cooldown = (np.array(a, np.float64) for a in units)
  dx, dy, target, damage, reach, reload, radius = map(np.asarray, orders)
  width, height, walls_kill, seconds = rules
  num_units = len(x)
  alive = health > 0
  new_health, new_cooldown = health.copy(), cooldown - seconds
  for i in range(num_units):
    j = target[i]
    if j >= 0 and alive[i] and alive[j] and cooldown[i] <= 0:
      if np.hypot(x[i] - x[j], y[i] - y[j]) < reach[i]:
        new_health[j] -= damage[i]
        new_cooldown[i] = reload[i]
  new_health = np.maximum(new_health, 0)
  for i in np.flatnonzero(alive):
    x[i] = min(max(x[i] + dx[i], 0), width)
    y[i] = min(max(y[i] + dy[i], 0), height)
    if walls_kill and (x[i] in (0, width) or y[i] in (0, height)):
      new_health[i] = 0
  pushed = np.stack([x, y])
  for i in np.flatnonzero(new_health > 0):
    for j in np.flatnonzero(new_health > 0):
      distance = np.hypot(x[i] - x[j], y[i] - y[j])
      if i != j and distance < radius[i] + radius[j]:
        overlap = (radius[i] + radius[j]) / distance - 1
        pushed[:, i] += 0.5 * overlap * np.array([x[i] - x[j], y[i] - y[j]])
  return Units(*pushed, new_health, new_cooldown)


def mirrored(action, first, second):
  """Actions with two directions exchanged."""
  return jnp.where(
    action == first, second, jnp.where(action == second, first, action)
  )
