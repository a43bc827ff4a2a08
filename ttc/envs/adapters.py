"""Environments of jaxmarl as ours, and ours as jaxmarl's (2311.10090, 0.2.0).

  env = envs.to_jaxmarl(envs.simple_spread())   # for its training scripts
  env = envs.from_jaxmarl(jaxmarl.make('MPE_simple_tag_v3'))

jaxmarl keeps parameters in the object and everything of agents in dictionaries
by their names, and its `step` starts a new episode by itself.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from ttc.envs.environment import (
  Environment,
  EnvParams,
  EnvState,
  Step,
  pad_observations,
)
from ttc.envs.foreign import draw_observations, our_space
from ttc.envs.spaces import Box, Discrete
from ttc.envs.wrappers import OF_RESETS, auto_reset

_EXTRA = "pip install 'ttc-jax[oracle]'"


def to_jaxmarl(env: Environment, params: EnvParams = None) -> 'JaxMARLEnv':
  """An object with the interface of jaxmarl's environments.

  Args:
    env: without `auto_reset` and `vectorize`.
    params: for all episodes; `env.default_params` if None.

  Raises:
    ImportError: without jaxmarl, naming the extra.
  """
  return JaxMARLEnv(env, env.default_params if params is None else params)


class JaxMARLEnv:
  """What `to_jaxmarl` returns.

  Observations, actions and spaces are those of each agent, without padding.
  Observations have the entry `'world_state'` if the environment has its own.
  An agent is done when the episode is, or when it takes part no more. `info`
  has nothing of resets; numbers are repeated for each agent, as its training
  scripts expect.
  """

  def __init__(self, env: Environment, params: EnvParams):
    try:
      from jaxmarl.environments import spaces
    except ImportError:
      raise ImportError(f'jaxmarl is not installed: {_EXTRA}') from None

    def theirs(space):
      if isinstance(space, Discrete):
        return spaces.Discrete(space.num_values)
      return spaces.Box(space.low, space.high, space.shape)

    by_agent = lambda values: {
      agent: theirs(value)
      for agent, value in zip(env.agents, values, strict=True)
    }
    self.env, self.params = env, params
    self.name, self.agents = env.name, list(env.agents)
    self.num_agents = env.num_agents
    self.observation_spaces = by_agent(env.observation_spaces)
    self.action_spaces = by_agent(env.action_spaces)
    self.agent_classes = {'agents': self.agents}
    if env.world is not None:
      _, state = jax.eval_shape(env.reset, jax.random.key(0), params)
      self.state_size = jax.eval_shape(env.world, state, params).shape[0]

  def observation_space(self, agent: str) -> Any:
    """Of an agent, without padding."""
    return self.observation_spaces[agent]

  def action_space(self, agent: str) -> Any:
    """Of an agent, without padding."""
    return self.action_spaces[agent]

  def reset(self, key: PRNGKeyArray) -> tuple[dict[str, Any], EnvState]:
    """`(observations, state)` at the start of an episode."""
    obs, state = self.env.reset(_typed(key), self.params)
    return self._observations(obs, state), state

  def step(
    self,
    key: PRNGKeyArray,
    state: EnvState,
    actions: Mapping[str, Any],
    reset_state: EnvState = None,
  ) -> tuple[dict[str, Any], EnvState, dict[str, Any], dict[str, Any], dict]:
    """`(observations, state, rewards, dones, info)`; starts anew by itself.

    Args:
      key: consumed.
      state: of the environment.
      actions: of each agent.
      reset_state: with which the next episode starts; random if None.
    """
    if reset_state is None:
      out = auto_reset(self.env).step(
        _typed(key), state, self._action_array(actions), self.params
      )
      return self._step_result(out)
    out = self.env.step(
      _typed(key), state, self._action_array(actions), self.params
    )
    fresh = (self.env.observe(reset_state, self.params), reset_state)
    done = out.terminated | out.truncated
    obs, after = jax.tree.map(
      lambda new, old: jnp.where(done, new, old), fresh, (out.obs, out.state)
    )
    return self._step_result(out._replace(obs=obs, state=after))

  def step_env(
    self, key: PRNGKeyArray, state: EnvState, actions: Mapping[str, Any]
  ) -> tuple[dict[str, Any], EnvState, dict[str, Any], dict[str, Any], dict]:
    """The same without a reset."""
    return self._step_result(
      self.env.step(
        _typed(key), state, self._action_array(actions), self.params
      )
    )

  def get_obs(self, state: EnvState) -> dict[str, Any]:
    """Observations of a state."""
    return self._observations(self.env.observe(state, self.params), state)

  def get_avail_actions(self, state: EnvState) -> dict[str, Any]:
    """Which actions of each agent are legal."""
    legal = self.env.avail_actions(state, self.params)
    return {
      agent: legal[i, :count]
      for i, (agent, count) in enumerate(
        zip(self.agents, self.env.action_counts, strict=True)
      )
    }

  get_legal_moves = get_avail_actions  # as Hanabi's is called

  def _observations(self, obs, state):
    rows = {
      agent: obs[(i, *(slice(n) for n in space.shape))]
      for i, (agent, space) in enumerate(
        zip(self.agents, self.env.observation_spaces, strict=True)
      )
    }
    if self.env.world is not None:
      rows['world_state'] = self.env.world(state, self.params)
    return rows

  def _action_array(self, actions):
    rows = [jnp.asarray(actions[agent]) for agent in self.agents]
    if isinstance(self.env.action_spaces[0], Box):
      return pad_observations([row.reshape(-1) for row in rows])
    return jnp.stack([row.reshape(()) for row in rows]).astype(jnp.int32)

  def _step_result(self, out):
    done = out.terminated | out.truncated
    gone = done | ~self.env.active_agents(out.state, self.params)
    per_agent = lambda x: jnp.broadcast_to(x, (self.num_agents,))
    return (
      self._observations(out.obs, out.state),
      out.state,
      {agent: out.reward[i] for i, agent in enumerate(self.agents)},
      {
        **{agent: gone[i] for i, agent in enumerate(self.agents)},
        '__all__': done,
      },
      {
        name: x if jnp.ndim(x) else per_agent(x)
        for name, x in out.info.items()
        if name not in OF_RESETS
      },
    )


def _typed(key):
  """A typed key; jaxmarl's are bare words."""
  if jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
    return key
  return jax.random.wrap_key_data(key)


def from_jaxmarl(env: Any, *, truncates: bool = False) -> Environment:
  """An environment of jaxmarl as one of ours.

  Args:
    env: from `jaxmarl.make`.
    truncates: whether its `done` is a limit of time; else the rules' end.

  Returns:
    An environment without params, `()`: jaxmarl keeps them in the object.

  Raises:
    ValueError: if its steps do not give five values, as those of the version
      that the extra `oracle` installs do.
  """
  agents = tuple(env.agents)
  obs, state = jax.eval_shape(env.reset, jax.random.key(0))
  spaces = [env.action_space(agent) for agent in agents]
  action_spaces = tuple(our_space(space) for space in spaces)
  _check_step(env, state, action_spaces)

  def stack(obs: Mapping[str, Array]) -> Float[Array, 'A *shape']:
    rows = [jnp.asarray(obs[agent], jnp.float32) for agent in agents]
    if rows[0].ndim == 1:
      return pad_observations(rows)
    return jnp.stack(rows)

  def reset(key, params):
    del params
    obs, state = env.reset(key)
    return stack(obs), state

  def step(key, state, action, params):
    del params
    obs, state, reward, done, info = env.step_env(
      key, state, _action_dict(agents, action_spaces, action)
    )
    over = jnp.asarray(done['__all__'], bool)
    never = jnp.zeros((), bool)
    reward = jnp.stack(
      [jnp.asarray(reward[agent], jnp.float32) for agent in agents]
    )
    terminated, truncated = (never, over) if truncates else (over, never)
    return Step(stack(obs), state, reward, terminated, truncated, info)

  def observe(state, params):
    del params
    return stack(env.get_obs(state))

  def draw(state, params):
    state = jax.tree.map(jnp.asarray, state)
    return draw_observations(np.asarray(observe(state, params)))

  def world(state, params) -> Float[Array, ' D']:
    del params
    return jnp.asarray(env.get_obs(state)['world_state'], jnp.float32)

  return Environment(
    name=f'jaxmarl {env.name}',
    agents=agents,
    default_params=(),
    reset=reset,
    step=step,
    observe=observe,
    observation_spaces=tuple(Box(obs[agent].shape) for agent in agents),
    action_spaces=action_spaces,
    draw=draw,
    legal=_legal(env, state, agents),
    world=world if 'world_state' in obs else None,
  )


def _action_dict(agents, spaces, action):
  rows = enumerate(zip(agents, spaces, strict=True))
  return {
    agent: action[i, : space.shape[0]] if space.shape else action[i]
    for i, (agent, space) in rows
  }


def _check_step(env, state, spaces):
  boxed = isinstance(spaces[0], Box)
  shape = (max(space.shape[0] for space in spaces),) if boxed else ()
  action = jax.ShapeDtypeStruct(
    (len(spaces), *shape), jnp.float32 if boxed else jnp.int32
  )
  call = lambda state, action: env.step_env(
    jax.random.key(0), state, _action_dict(tuple(env.agents), spaces, action)
  )
  result = jax.eval_shape(call, state, action)
  if not isinstance(result, tuple) or len(result) != 5:
    count = len(result) if isinstance(result, tuple) else 1
    raise ValueError(
      f'from_jaxmarl: a step of {env.name} gives {count} values, expected 5 as '
      f'in the version of {_EXTRA}'
    )


def _legal(env, state, agents):
  """Of those environments that say what is legal."""
  get = getattr(env, 'get_legal_moves', None) or env.get_avail_actions
  try:
    jax.eval_shape(get, state)
  except NotImplementedError:
    return None

  def legal(state, params) -> Bool[Array, 'A n']:
    del params
    rows = get(state)
    return pad_observations([rows[agent] for agent in agents]).astype(bool)

  return legal
