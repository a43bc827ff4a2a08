"""SMAX: battles of two teams of units (Rutherford et al., 2024, 2311.10090)."""

from collections.abc import Callable
from typing import TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from ttc.envs.environment import Environment, Step
from ttc.envs.multi_agent.smax import observations
from ttc.envs.multi_agent.smax.battle import (
  reverse,
  start,
  stats_of,
  uniform_pairs,
)
from ttc.envs.multi_agent.smax.drawing import draw
from ttc.envs.multi_agent.smax.dynamics import (
  ATTACK,
  Orders,
  Rules,
  Units,
  make_advance,
)
from ttc.envs.multi_agent.smax.observations import move_of
from ttc.envs.multi_agent.smax.scenarios import (
  Scenario,
  find_scenario,
  params_of,
)
from ttc.envs.multi_agent.smax.scripted import script_actions
from ttc.envs.spaces import Box, Discrete

# Plays the enemies: `(key, obs [T, D], legal [T, n]) -> action [T]`.
Opponent: TypeAlias = Callable[
  [PRNGKeyArray, Float[Array, 'T D'], Bool[Array, 'T n']], Int[Array, ' T']
]


def smax(
  scenario: str | Scenario = '3m',
  opponent: str | Opponent = 'script',
  observation: str = 'unit_list',
  num_ticks: int = 8,
) -> Environment:
  """A battle in which units see little and each acts for itself.

  Actions: 0 north, 1 east, 2 south, 3 west, 4 stop, `5 + j` attack opponent
  `j`. Enemies count their opponents from the last ally to the first. All that
  armies of equal sizes may differ in is in `SmaxParams`.

  An episode ends when a team is dead; `info['won']` tells whether allies
  alone survive. Dead units stay, see zeros, may only stop, and are rewarded
  with their team.

  Args:
    scenario: the name of one of `SCENARIOS`, or one of your own.
    opponent: who plays the enemies: 'script' for that of `smax_script`,
      'self_play' for the agents themselves (then both teams are agents and the
      game is zero-sum), or a policy `(key, obs, legal) -> action`.
    observation: 'unit_list' for all other units one after another, 'conic' for
      the first two in each of 32 directions, so that the size does not depend
      on the scenario.
    num_ticks: of the physics in a step.

  Returns:
    The environment; its params are `SmaxParams`, its states `SmaxState`.

  Raises:
    ValueError: on an unknown scenario, opponent or observation, or no ticks.
  """
  scenario = find_scenario(scenario)
  _check(opponent, observation, num_ticks)
  allies, enemies = len(scenario.allies), len(scenario.enemies)
  both = opponent == 'self_play'
  see = getattr(observations, observation)
  of_agents = lambda fn: _of_agents(fn, allies, enemies, both)
  observe = of_agents(see)
  advance = make_advance(num_ticks)

  def reset(key, params):
    state = start(key, params, allies)
    return observe(state, params), state

  def step(key, state, action, params):
    action, draws = _actions(opponent, see, key, state, action, params)
    after = _after(advance, state, action, draws, params, allies)
    reward, over, won = _outcome(state, after, params, allies)
    return Step(
      observe(after, params),
      after,
      reward if both else reward[:allies],
      over,
      ~over & (after.time >= params.max_steps),
      {'won': won},
    )

  names, counts = _agents(allies, enemies, both)
  default_params = params_of(scenario, zero_sum=both)
  size = jax.eval_shape(reset, jax.random.key(0), default_params)[0].shape[-1]
  return Environment(
    name=f'smax_{scenario.name}',
    agents=tuple(names),
    default_params=default_params,
    reset=reset,
    step=step,
    observe=observe,
    observation_spaces=(Box((size,), -1.0, 1.0),) * len(names),
    action_spaces=tuple(Discrete(count) for count in counts),
    draw=lambda state, params: draw(state, params, allies),
    legal=of_agents(observations.legal_actions),
    active=lambda state, params: state.alive[: len(names)],
    world=lambda state, params: observations.world_state(state, params, allies),
  )


def _check(opponent, observation, num_ticks):
  if opponent not in ('script', 'self_play') and not callable(opponent):
    raise ValueError(
      f"smax: opponent={opponent!r}, expected 'script', 'self_play' or a policy"
    )
  if observation not in ('unit_list', 'conic'):
    raise ValueError(
      f"smax: observation={observation!r}, expected 'unit_list' or 'conic'"
    )
  if num_ticks < 1:
    raise ValueError(f'smax: num_ticks={num_ticks}, expected >= 1')


def _agents(allies, enemies, both) -> tuple[list[str], list[int]]:
  """Their names, and how many actions each has."""
  names = [f'ally_{i}' for i in range(allies)]
  counts = [enemies + ATTACK] * allies
  if both:
    names += [f'enemy_{i}' for i in range(enemies)]
    counts += [allies + ATTACK] * enemies
  return names, counts


def _actions(opponent, see, key, state, action, params):
  """Those of all units, and a draw for each."""
  if callable(opponent):
    key, opponent_key = jax.random.split(key)
  else:
    opponent_key = key  # not used
  draws = uniform_pairs(key, len(state.health))
  if opponent != 'self_play':
    others = _enemy_actions(
      opponent, see, opponent_key, draws[0, len(action) :], state, params
    )
    action = jnp.concatenate([action, others])
  return action.astype(jnp.int32), draws[1]


def _enemy_actions(
  opponent, see, key, draws, state, params
) -> Int[Array, ' E']:
  """What who plays the enemies does, one draw for each of them."""
  state, enemies = reverse(state), len(draws)
  if opponent == 'script':
    return script_actions(draws[::-1], state, params)[::-1]
  obs = see(state, params, enemies)
  legal = observations.legal_actions(state, params, enemies)
  return opponent(key, obs[::-1], legal[::-1])


def _after(advance, state, action, draws, params, allies):
  """The state that actions of all units lead to."""
  orders, rules = _orders(action, draws, state, params, allies)
  units = Units(state.x, state.y, state.health, state.cooldown)
  units = advance(units, orders, rules)
  return state._replace(**units._asdict(), action=action, time=state.time + 1)


def _of_agents(fn, allies, enemies, both):
  """A function of the first team, of all agents; columns padded with zeros."""

  def of_agents(state, params):
    first = fn(state, params, allies)
    if not both:
      return first
    second = fn(reverse(state), params, enemies)[::-1]
    width = max(first.shape[1], second.shape[1])
    pad = lambda x: jnp.pad(x, ((0, 0), (0, width - x.shape[1])))
    return jnp.concatenate([pad(first), pad(second)])

  return of_agents


def _orders(action, draws, state, params, allies):
  """What the units do in all ticks of a step."""
  stats = stats_of(state, params)
  unit = jnp.arange(len(action))
  opponent = action - ATTACK
  target = jnp.where(unit < allies, allies + opponent, allies - 1 - opponent)
  hostile = (target < allies) != (unit < allies)
  exists = (target >= 0) & (target < len(action))
  target = jnp.where((opponent >= 0) & hostile & exists, target, -1)
  move_x, move_y = move_of(action)
  way = stats.speed * params.tick
  low, high = params.reload_noise
  orders = Orders(
    dx=move_x * way,
    dy=move_y * way,
    target=target,
    damage=stats.damage,
    reach=stats.reach,
    reload=stats.reload + low + (high - low) * draws,
    radius=stats.radius,
  )
  width, height = params.map_size
  return orders, Rules(width, height, params.walls_kill, params.tick)


def _outcome(before, after, params, allies):
  """Rewards of all units, whether a team is dead, whether allies won."""
  loss = (before.health - after.health) / stats_of(after, params).health
  alive = after.alive
  lost, won = ~jnp.any(alive[:allies]), ~jnp.any(alive[allies:])

  def reward(loss_of_others, lost, won):
    return (
      params.damage_reward * jnp.mean(loss_of_others)
      + params.win_reward * (won & ~lost)
      - params.loss_penalty * (lost & ~won)
    )

  first = reward(loss[allies:], lost, won)
  second = reward(loss[:allies], won, lost)
  rewards = jnp.where(jnp.arange(len(alive)) < allies, first, second)
  return rewards.astype(jnp.float32), lost | won, won & ~lost
