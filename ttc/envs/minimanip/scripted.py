"""A script that solves every family of MiniManip, one program for all.

It sees the state and the task. The hand goes where it is wanted at full speed:
to the goal, to the object and with it to the goal, behind an object that it
pushes, along the way of a handle. The last bit of a way may have to be straight
(into a hole, down on a button): it first goes to a point before it, then along.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from ttc.envs.minimanip.dynamics import CONTACT, SHUT, STEP
from ttc.envs.minimanip.reward import judge
from ttc.envs.minimanip.world import (
  RADIUS,
  ManipulationParams,
  ManipulationState,
  cap_position,
  dot,
  handle_position,
  norm,
)

HOVER = 0.08  # above the table, or before the end of a straight way
ALIGNED = 0.008
AT = 0.01  # near enough to close the gripper


def minimanip_script(
  state: ManipulationState, params: ManipulationParams
) -> Float[Array, '1 4']:
  """What the script does.

  Args:
    state: of the environment.
    params: the task.

  Returns:
    The action, of the one agent.
  """
  scene, aim = state.scene, params.aim
  about_hand, about_object, about_handle, about_cap = aim.thing > 0
  carries = about_object & params.graspable
  pushes = about_object & ~params.graspable
  pressing = _approach(
    scene.hand,
    cap_position(params.button, params.button.travel),
    -params.button.axis,
  )
  picking, pick_grip = _pick(scene, params)
  pushing = _push(scene, aim)
  turning, turn_grip = _turn(scene, params)
  target = jnp.where(about_cap, pressing, aim.goal)
  target = jnp.where(carries, picking, target)
  target = jnp.where(pushes, pushing, target)
  target = jnp.where(about_handle, turning, target)
  grip = jnp.where(about_hand, 0.0, 1.0).astype(jnp.float32)
  grip = jnp.where(carries, pick_grip, grip)
  grip = jnp.where(about_handle, turn_grip, grip)
  succeeds, _ = judge(scene, params)
  target = jnp.where(succeeds, scene.hand, target)
  move = jnp.clip((target - scene.hand) / STEP, -1.0, 1.0)
  return jnp.append(move, grip)[None]


def _approach(mover, end, back):
  """Where to go: to the end of a way, or first to a point `back` from it."""
  offset = mover - end
  aside = norm(offset - dot(offset, back) * back)
  straight = (aside < ALIGNED) | (norm(back) == 0)
  return jnp.where(straight, end, end + HOVER * back)


def _pick(scene, params):
  """Down on the object, then with it to the goal; where the hand goes."""
  aim = params.aim
  up = jnp.array([0.0, 0.0, 1.0], jnp.float32)
  offset = scene.object - scene.hand
  down = _approach(scene.hand, scene.object, up)
  at_object = norm(offset) < AT
  back = params.surroundings.normal
  end = _approach(scene.object, aim.goal, back)
  end = jnp.where(aim.released, aim.goal + 0.03 * up, end)
  drop = aim.released & (norm(scene.object - end) < AT)
  target = jnp.where(scene.held, end - offset, down)
  grip = jnp.where(scene.held, jnp.where(drop, -1.0, 1.0), -1.0)
  return target, jnp.where(~scene.held & at_object, 1.0, grip)


def _push(scene, aim):
  """Behind the object, high, then down, then ahead."""
  flat = jnp.array([1.0, 1.0, 0.0], jnp.float32)
  way = aim.axes * (aim.goal - scene.object) * flat
  way = way / jnp.maximum(norm(way), 1e-6)
  offset = (scene.object - scene.hand) * flat
  ahead = dot(offset, way)
  aside = norm(offset - ahead * way)
  behind = scene.object - way * (CONTACT + 0.02)
  low = scene.hand[2] < 2 * RADIUS
  ready = low & (ahead > 0) & (ahead < CONTACT + 0.03) & (aside < ALIGNED)
  above = norm((behind - scene.hand)[:2]) < ALIGNED
  height = jnp.where(above | ready, RADIUS, RADIUS + HOVER)
  target = jnp.where(
    ready, scene.hand + way * STEP + offset - ahead * way, behind
  )
  return target.at[2].set(height)


def _turn(scene, params):
  """To the handle, shut the gripper, and along its way to the goal."""
  joint = params.joint
  handle = handle_position(joint, scene.angle)
  opens = joint.start < joint.limit / 2
  sign = jnp.where(opens, 1.0, -1.0)
  length = jnp.maximum(norm(joint.swing), 1e-6)
  ahead = handle_position(joint, scene.angle + sign * STEP / length)
  at_handle = norm(handle - scene.hand) < 0.02
  carries = at_handle & (scene.opening < SHUT)
  target = jnp.where(carries, ahead, handle)
  return target, jnp.where(at_handle, 1.0, -1.0)
