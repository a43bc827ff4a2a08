"""A scripted player: attack what is in reach, else walk to what is seen.

The rules of SMAX's `HeuristicEnemySMAX` (2311.10090). A unit keeps its last
target while that is in reach, else takes the closest; with nobody in reach it
walks, along the axis that brings it nearer fastest, to a random opponent that
it sees, or if there is none to the point opposite to where it started.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from ttc.envs.multi_agent.smax.battle import SmaxState, reverse, stats_of
from ttc.envs.multi_agent.smax.dynamics import ATTACK, STOP
from ttc.envs.multi_agent.smax.scenarios import (
  Scenario,
  SmaxParams,
  find_scenario,
)


def smax_script(
  scenario: str | Scenario = '3m',
) -> Callable[[PRNGKeyArray, SmaxState, SmaxParams], Int[Array, ' A']]:
  """The script as a policy of all units, for calibration and imitation.

    act = envs.smax_script('3m')
    action = act(key, state, params)[: env.num_agents]  # allies come first

  Args:
    scenario: as of `smax`.

  Returns:
    `(key, state, params) -> action [A]`, allies first.

  Raises:
    ValueError: as `smax`.
  """
  num_allies = len(find_scenario(scenario).allies)

  def act(key, state, params):
    draws = jax.random.uniform(key, state.x.shape, jnp.float32)
    return jnp.concatenate(
      [
        script_actions(draws[:num_allies], state, params),
        script_actions(draws[: num_allies - 1 : -1], reverse(state), params)[
          ::-1
        ],
      ]
    )

  return act


def script_actions(
  draws: Float[Array, ' T'], state: SmaxState, params: SmaxParams
) -> Int[Array, ' T']:
  """What the script does with the units that come first.

  Args:
    draws: uniform in [0, 1), one for each of these.
    state: of the battle.
    params: of the battle.

  Returns:
    Legal actions.
  """
  here, there = slice(len(draws)), slice(len(draws), None)
  stats = stats_of(state, params)
  dx = state.x[None, there] - state.x[here, None]
  dy = state.y[None, there] - state.y[here, None]
  distance2 = dx * dx + dy * dy
  within = lambda limit: distance2 < (limit * limit)[here, None]
  seen = (
    within(stats.sight) & state.alive[None, there] & state.alive[here, None]
  )
  shootable = within(stats.reach) & seen

  opponent = jnp.arange(dx.shape[1])[None]
  last = (state.action[here] - ATTACK)[:, None] == opponent
  closest = jnp.argmin(jnp.where(shootable, distance2, jnp.inf), axis=1)
  chosen = jnp.where(
    params.script_random_targets,
    _pick(shootable, draws),
    closest[:, None] == opponent,
  )
  kept = jnp.any(last & shootable, axis=1, keepdims=True)
  target = jnp.argmax(jnp.where(kept, last, chosen), axis=1)

  chased = _pick(seen, draws)
  width, height = params.map_size
  sees = jnp.any(seen, axis=1)
  way = lambda d, goal, at: jnp.where(
    sees, jnp.sum(jnp.where(chased, d, 0), axis=1), goal - at
  )
  east = way(dx, width - state.start_x[here], state.x[here])
  north = way(dy, height - state.start_y[here], state.y[here])
  ways = jnp.stack([north, east, -north, -east], axis=-1)
  move = jnp.argmax(ways, axis=-1)
  shoots = jnp.any(shootable, axis=1) & params.script_shoots
  action = jnp.where(shoots, ATTACK + target, move)
  return jnp.where(state.alive[here], action, STOP).astype(jnp.int32)


def _pick(
  mask: Bool[Array, 'T n'], draws: Float[Array, ' T']
) -> Bool[Array, 'T n']:
  """One of those in each row, uniformly; none of none."""
  rank = jnp.cumsum(mask, axis=1, dtype=jnp.int32)
  chosen = jnp.floor(draws * rank[:, -1]).astype(jnp.int32) + 1
  return mask & (rank == chosen[:, None])
