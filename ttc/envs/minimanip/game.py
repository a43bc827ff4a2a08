"""MiniManip: families of manipulation tasks, the counterpart of Meta-World.

A point gripper in a box does one of twenty things: it reaches, pushes, picks
and places, opens, closes, presses, inserts, sweeps. Observations, actions,
rewards and success have the form of Meta-World's third version (Yu et al.,
2019, 1910.10897), the world is closed forms instead of a physics engine
(`ttc.envs.minimanip.dynamics`). The family is in the params, so that one
program plays all:

  tasks = envs.ml10().train.distribution
  batch = envs.vectorize(envs.sample_tasks(envs.minimanip(), tasks))
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ttc.envs.environment import Environment
from ttc.envs.minimanip.drawing import draw
from ttc.envs.minimanip.dynamics import advance
from ttc.envs.minimanip.families import family_number, sample_variation
from ttc.envs.minimanip.reward import judge
from ttc.envs.minimanip.world import (
  ManipulationParams,
  ManipulationState,
  Scene,
  cap_position,
  handle_position,
  norm,
  start_scene,
)
from ttc.envs.single_agent import single_agent
from ttc.envs.spaces import Box

OBSERVATION_SIZE = 39


def minimanip(family: str = 'reach', goal_visible: bool = True) -> Environment:
  """The world of MiniManip; which task it is, is in the params.

  An action is how far the hand goes, right, away from the robot and up, in
  centimetres, and how much it closes the gripper; all in [-1, 1]. Observations
  are 39 numbers:

  - 0:3 the hand, 3 the gripper's opening (1 is open);
  - 4:7 position and 7:11 quaternion `(x, y, z, w)` of the object, or of the
    handle or the cap where there is no object;
  - 11:18 the same of the handle or the cap where there is an object as well,
    else zeros;
  - 18:36 these of the step before, at the start once more;
  - 36:39 the goal, zeros where it is hidden.

  An episode ends by time only. `info` has `success`, 0 or 1, of the step.

  Args:
    family: of the default params, a variation of it; one of `FAMILIES`.
    goal_visible: of the default params.

  Returns:
    The environment; its params are `ManipulationParams`.

  Raises:
    ValueError: on a family that is not known.
  """
  number = family_number(family)
  variation = jax.jit(sample_variation, static_argnums=2)(
    jnp.asarray(number, jnp.int32), jax.random.key(0), goal_visible
  )
  return single_agent(
    'minimanip',
    variation,
    _reset,
    _step,
    _observe,
    Box((OBSERVATION_SIZE,)),
    Box((4,), -1.0, 1.0),
    draw,
  )


def _reset(key, params):
  del key
  scene = start_scene(params)
  frame = show(scene, params)
  return ManipulationState(scene, frame, jnp.zeros((), jnp.int32))


def _step(key, state, action, params):
  del key
  scene = advance(state.scene, action, params)
  succeeds, reward = judge(scene, params)
  frame = show(state.scene, params)
  state = ManipulationState(scene, frame, state.time + 1)
  never = jnp.zeros((), bool)
  info = {'success': succeeds.astype(jnp.float32)}
  return state, reward, never, state.time >= params.max_steps, info


def _observe(state, params):
  goal = jnp.where(params.aim.visible, params.aim.goal, 0.0)
  frame = show(state.scene, params)
  return jnp.concatenate([frame, state.last_frame, goal])


def show(scene: Scene, params: ManipulationParams) -> Float[Array, '18']:
  """Hand, gripper, and the poses of what there is."""
  joint, button = params.joint, params.button
  identity = jnp.array([0.0, 0.0, 0.0, 1.0], jnp.float32)
  half = jnp.where(joint.hinge, scene.angle / 2, 0.0)
  axis = jnp.cross(joint.arm, joint.swing)
  axis = axis / jnp.maximum(norm(axis), 1e-6)
  turned = jnp.append(axis * jnp.sin(half), jnp.cos(half))
  handle = jnp.append(handle_position(joint, scene.angle), turned)
  cap = jnp.append(cap_position(button, scene.depth), identity)
  mechanism = jnp.where(joint.present, handle, 0.0)
  mechanism = jnp.where(button.present, cap, mechanism)
  body = jnp.append(scene.object, identity)
  first = jnp.where(params.has_object, body, mechanism)
  second = jnp.where(params.has_object, mechanism, 0.0)
  gripper = jnp.append(scene.hand, scene.opening)
  return jnp.concatenate([gripper, first, second])
