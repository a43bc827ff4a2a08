r"""What an environment is: pure functions of arrays, for one or many agents.

An `Environment` is a record of functions and of a few facts that shapes depend
on. Everything that may differ between two tasks of equal shape is an array in
`params`, so a distribution of tasks is one `vmap` and no task recompiles:

  env = envs.simple_spread(num_agents=3)
  obs, state = env.reset(key, env.default_params)
  obs, state, reward, terminated, truncated, info = env.step(
    key, state, action, env.default_params
  )

Every array of agents has a leading axis `A`, also where there is one agent
only: observations `[A, ...]`, actions `[A]` (or `[A, D]` where continuous),
rewards `[A]`. An episode ends for all agents at once, by the rules
(`terminated`) or by a limit of time (`truncated`); nothing resets by itself
(`ttc.envs.auto_reset`). Agents whose observations or numbers of actions differ
are padded to the largest: observations with zeros, actions with illegal ones.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray, Shaped

from ttc.envs.rendering import Picture
from ttc.envs.spaces import Box, Discrete, Space

EnvParams: TypeAlias = Any  # a frozen pytree of arrays: what differs by task
EnvState: TypeAlias = Any  # a pytree of arrays
Observation: TypeAlias = Shaped[Array, 'A *shape']
Action: TypeAlias = Shaped[Array, 'A *action']


class Step(NamedTuple):
  """What a step leads to.

  Attributes:
    obs: of each agent `[A, ...]`, of the state after the step.
    state: after the step.
    reward: of each agent.
    terminated: whether the rules ended the episode: nothing follows.
    truncated: whether a limit ended it: values of `obs` may be bootstrapped.
    info: further arrays; the same names and shapes at every step.
  """

  obs: Observation
  state: EnvState
  reward: Float[Array, ' A']
  terminated: Bool[Array, '']
  truncated: Bool[Array, '']
  info: Mapping[str, Any]


ResetFn: TypeAlias = Callable[
  [PRNGKeyArray, EnvParams], tuple[Observation, EnvState]
]
StepFn: TypeAlias = Callable[[PRNGKeyArray, EnvState, Action, EnvParams], Step]


@dataclasses.dataclass(frozen=True, eq=False)
class Environment:
  """Pure functions and static facts; a wrapper is `dataclasses.replace`.

  Equal only to itself, so it can be a static argument of `jit`.

  Attributes:
    name: for tables and files.
    agents: a name for each, in the order of the axis `A`.
    default_params: of `reset` and `step`.
    reset: `(key, params) -> (obs, state)`, the start of an episode.
    step: `(key, state, action, params) -> Step`.
    observe: `(state, params) -> obs [A, ...]`, what `reset` and `step` return.
    observation_spaces: of each agent, without padding.
    action_spaces: of each agent, without padding.
    draw: `(state, params) -> Picture`, of a state on the host.
    legal: `(state, params) -> [A, num_actions]`, which actions are legal; None
      if all that an agent has always are.
    active: `(state, params) -> [A]`, who still takes part; None for all.
    world: `(state, params) -> [D]`, what a critic may see that no agent does;
      None for all observations one after another.
  """

  name: str
  agents: tuple[str, ...]
  default_params: EnvParams
  reset: ResetFn
  step: StepFn
  observe: Callable[[EnvState, EnvParams], Observation]
  observation_spaces: tuple[Box, ...]
  action_spaces: tuple[Space, ...]
  draw: Callable[[EnvState, EnvParams], Picture]
  legal: Callable[[EnvState, EnvParams], Bool[Array, 'A n']] | None = None
  active: Callable[[EnvState, EnvParams], Bool[Array, ' A']] | None = None
  world: Callable[[EnvState, EnvParams], Float[Array, ' D']] | None = None

  @property
  def num_agents(self) -> int:
    """Length of the axis `A`."""
    return len(self.agents)

  @property
  def action_counts(self) -> tuple[int, ...]:
    """How many actions each agent has.

    Raises:
      ValueError: if actions are continuous.
    """
    spaces = [s for s in self.action_spaces if isinstance(s, Discrete)]
    if len(spaces) < len(self.action_spaces):
      raise ValueError(f'{self.name} has continuous actions, no number of them')
    return tuple(space.num_values for space in spaces)

  @property
  def num_actions(self) -> int:
    """Of the agent with most of them.

    Raises:
      ValueError: if actions are continuous.
    """
    return max(self.action_counts)

  @property
  def observation_shape(self) -> tuple[int, ...]:
    """Of one agent, padded to the largest."""
    shapes = [space.shape for space in self.observation_spaces]
    return tuple(max(sizes) for sizes in zip(*shapes, strict=True))

  def avail_actions(
    self, state: EnvState, params: EnvParams
  ) -> Bool[Array, '*E A n']:
    """Which actions are legal, `[A, num_actions]`."""
    if self.legal is not None:
      return self.legal(state, params)
    counts = jnp.array(self.action_counts)
    return jnp.arange(self.num_actions)[None] < counts[:, None]

  def active_agents(
    self, state: EnvState, params: EnvParams
  ) -> Bool[Array, '*E A']:
    """Who still takes part: an agent that died acts to no effect."""
    if self.active is not None:
      return self.active(state, params)
    return jnp.ones((self.num_agents,), bool)

  def world_state(
    self, state: EnvState, params: EnvParams
  ) -> Float[Array, '*E D']:
    """What a centralised critic sees."""
    if self.world is not None:
      return self.world(state, params)
    return self.observe(state, params).reshape(-1).astype(jnp.float32)

  def world_shape(self, params: EnvParams = None) -> tuple[int, ...]:
    """Of `world_state`, without computing it; None for the default params."""
    params = self.default_params if params is None else params

    def world(key):
      return self.world_state(self.reset(key, params)[1], params)

    return jax.eval_shape(world, jax.random.key(0)).shape


def pad_observations(rows: list[Float[Array, ' _']]) -> Float[Array, 'A D']:
  """Stacks observations of unequal length, zeros behind the shorter ones."""
  width = max(row.shape[0] for row in rows)
  return jnp.stack([jnp.pad(row, (0, width - row.shape[0])) for row in rows])


def random_actions(
  env: Environment, key: PRNGKeyArray, state: EnvState, params: EnvParams
) -> Action:
  """A uniformly random legal action of each agent.

  Args:
    env: the environment.
    key: consumed.
    state: whose legal actions are drawn from.
    params: of the environment.

  Returns:
    `[A]`, or `[A, D]` uniform in the boxes where actions are continuous, zeros
    behind those of agents that have fewer.
  """
  if isinstance(env.action_spaces[0], Box):
    keys = jax.random.split(key, env.num_agents)
    rows = zip(env.action_spaces, keys, strict=True)
    return pad_observations([space.sample(k) for space, k in rows])
  legal = env.avail_actions(state, params)
  logits = jnp.where(legal, 0.0, -jnp.inf)
  return jax.random.categorical(key, logits).astype(jnp.int32)
