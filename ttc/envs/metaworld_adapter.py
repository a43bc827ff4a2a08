"""Environments of Meta-World as ours (Yu et al., 2019, 1910.10897; 3.1).

  env = envs.from_metaworld('reach-v3')
  batch = envs.vectorize(env, batched_params=True)
  params = env.default_params._replace(
    variation=jnp.arange(8), max_steps=jnp.full((8,), 500)
  )

The physics engine runs on the host, one environment after another, behind a
callback. Its state is part of ours, bit by bit, so that a step is a function of
its arguments, as everywhere here. Observations are the 39 numbers that
`minimanip` has too, actions its four.
"""

import threading
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, UInt32

from ttc.envs.environment import Environment
from ttc.envs.foreign import draw_observations
from ttc.envs.single_agent import single_agent
from ttc.envs.spaces import Box

_FRAME, _OBSERVATION, _ACTION = 18, 39, 4


class MetaWorldParams(NamedTuple):
  """A task.

  Attributes:
    variation: which of the tasks of the benchmark, 50 of them.
    max_steps: before truncation, at most its 500.
  """

  variation: Int[Array, ''] | int = 0
  max_steps: Int[Array, ''] | int = 500


class MetaWorldState(NamedTuple):
  """Of the physics engine and the last frame, 64-bit words in halves."""

  words: UInt32[Array, ' n']
  obs: Float[Array, '39']
  time: Int[Array, '']


def from_metaworld(
  name: str = 'reach-v3', seed: int = 0, *, goal_visible: bool = False
) -> Environment:
  """A family of Meta-World as one of our environments, with one agent.

  `info` has `success`, 0 or 1, of the step; nothing terminates an episode.
  Each variation that is played keeps a model of its own, made when first asked
  for. Steps are not differentiable.

  Args:
    name: as Meta-World calls it.
    seed: of the variations; ML1 tests on those of `seed + 1`.
    goal_visible: whether observations show the goal, as in MT1, or zeros, as in
      ML1.

  Returns:
    An environment whose params are `MetaWorldParams`.

  Raises:
    ImportError: without Meta-World, naming the extra.
    ValueError: on a name that is not known.
  """
  simulator = _Simulator(name, seed, goal_visible)
  number = jax.ShapeDtypeStruct((), jnp.float32)
  state = (
    jax.ShapeDtypeStruct((simulator.num_words,), jnp.uint32),
    jax.ShapeDtypeStruct((_OBSERVATION,), jnp.float32),
  )

  def call(function, result, *arguments):
    return jax.pure_callback(
      function, result, *arguments, vmap_method='sequential'
    )

  def reset(key, params):
    del key
    variation = jnp.asarray(params.variation, jnp.int32)
    words, obs = call(simulator.reset, state, variation)
    return MetaWorldState(words, obs, jnp.zeros((), jnp.int32))

  def step(key, state_, action, params):
    del key
    words, obs, reward, success = call(
      simulator.step,
      (*state, number, number),
      jnp.asarray(params.variation, jnp.int32),
      state_.words,
      state_.time,
      jnp.asarray(action, jnp.float32),
    )
    after = MetaWorldState(words, obs, state_.time + 1)
    never = jnp.zeros((), bool)
    info = {'success': success}
    return after, reward, never, after.time >= params.max_steps, info

  def draw(state, params):
    del params
    return draw_observations(np.asarray(state.obs)[None])

  return single_agent(
    f'metaworld {name}',
    MetaWorldParams(),
    reset,
    step,
    lambda state, params: state.obs,
    Box((_OBSERVATION,)),
    Box((_ACTION,), -1.0, 1.0),
    draw,
  )


class _Simulator:
  """Meta-World on the host: a pure step on top of objects that change."""

  def __init__(self, name, seed, goal_visible):
    try:
      import metaworld
      import mujoco
    except ImportError:
      raise ImportError(
        "Meta-World is not installed: pip install 'ttc-jax[metaworld]'"
      ) from None
    known = list(metaworld.ML1.ENV_NAMES)
    if name not in known:
      raise ValueError(
        f'from_metaworld: {name!r}, expected one of {", ".join(known)}'
      )
    benchmark = metaworld.MT1 if goal_visible else metaworld.ML1
    made = benchmark(name, seed=seed)
    self.make, self.tasks = made.train_classes[name], made.train_tasks
    self.mujoco = mujoco
    self.fields = mujoco.mjtState.mjSTATE_INTEGRATION
    self.lock = threading.Lock()
    self.played: dict[int, tuple[Any, Any]] = {}  # the object and its start
    env, _ = self.variation(0)
    size = mujoco.mj_stateSize(env.model, self.fields)
    self.num_words = 2 * (size + _FRAME)

  def variation(self, index):
    """An object of its own, and how its episodes start."""
    index = min(max(int(index), 0), len(self.tasks) - 1)
    if index not in self.played:
      env = self.make()
      env.set_task(self.tasks[index])
      obs, _ = env.reset()
      frame = np.asarray(obs[:_FRAME], np.float64)
      start = self.words(env, frame), np.asarray(obs, np.float32)
      self.played[index] = env, start
    return self.played[index]

  def words(self, env, frame):
    """All that a step depends on."""
    size = self.mujoco.mj_stateSize(env.model, self.fields)
    physics = np.zeros(size, np.float64)
    self.mujoco.mj_getState(env.model, env.data, physics, self.fields)
    return np.concatenate([physics, frame]).view(np.uint32)

  def reset(self, variation):
    with self.lock:
      return self.variation(variation)[1]

  def step(self, variation, words, time, action):
    with self.lock:
      env, _ = self.variation(variation)
      numbers = np.array(words, np.uint32).view(np.float64)
      physics, frame = numbers[:-_FRAME], numbers[-_FRAME:]
      self.mujoco.mj_setState(env.model, env.data, physics, self.fields)
      env._prev_obs = frame.copy()
      # It refuses to go on after its own limit.
      env.curr_path_length = min(int(time), env.max_path_length - 1)
      obs, reward, _, _, info = env.step(np.array(action, np.float32))
      frame = np.asarray(env._prev_obs, np.float64)
      return (
        self.words(env, frame),
        np.asarray(obs, np.float32),
        np.float32(reward),
        np.float32(info['success']),
      )
