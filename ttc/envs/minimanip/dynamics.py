"""How the world of MiniManip moves: closed forms, no forces.

A step moves the hand by a centimetre times the action, then the gripper by a
fifth of its opening, then what they touch:

- A gripper that closes around the object holds it, one that opens lets it go.
  A held object moves as the hand does, unless the table or a wall is in its
  way, and slips out of a hand that it lags too far behind. A free one falls, by
  four centimetres a step. A shut hand pushes the object along the table, out of
  its way and no further; an open one straddles it.
- A hinge turns by the angle that the hand sweeps about the pivot, a slider
  moves as far as the hand does along it, if the hand was at the handle: a shut
  hand carries the handle both ways, an open one only pushes it ahead.
- A button is as deep as the hand that came from its front.

The world is symmetric: mirrored in x, it moves as its mirror image.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from ttc.envs.minimanip.world import (
  HAND_HIGH,
  HAND_LOW,
  RADIUS,
  Button,
  Joint,
  ManipulationParams,
  Scene,
  Surroundings,
  dot,
  handle_position,
  norm,
)

STEP = 0.01  # metres a step and a unit of the action
CLOSING = 0.2  # of the gripper's opening, the same
SHUT = 0.5  # an opening below this holds and pushes
HELD_OPENING = 0.4  # an object between the fingers leaves them so far apart
GRASP_REACH = 0.03  # between the centres of hand and object
SLIP_REACH = 0.06
CONTACT = 0.04  # between the centres of a shut hand and what it pushes
HANDLE_REACH = 0.04
CAP_RADIUS = 0.03
FALL = 0.04  # metres a step


def advance(
  scene: Scene, action: Float[Array, '4'], params: ManipulationParams
) -> Scene:
  """What an action leads to.

  Args:
    scene: before it.
    action: clipped to [-1, 1]: right, away, up, and closing the gripper.
    params: the task.
  """
  action = jnp.clip(jnp.asarray(action, jnp.float32), -1.0, 1.0)
  hand = jnp.clip(scene.hand + STEP * action[:3], HAND_LOW, HAND_HIGH)
  opening = jnp.clip(scene.opening - CLOSING * action[3], 0.0, 1.0)
  shut = opening < SHUT
  near = norm(scene.object - hand) <= GRASP_REACH
  grasps = params.has_object & params.graspable & near
  grasps = grasps & shut & (scene.opening >= SHUT)
  held = jnp.where(scene.held, shut, grasps)
  # From the step after the grasp, the object moves with the hand.
  carried = scene.object + (scene.held & held) * (hand - scene.hand)
  free = jnp.where(shut, _push(scene.object, hand), scene.object)
  free = free - jnp.array([0.0, 0.0, FALL], jnp.float32)
  moved = jnp.where(held, carried, free)
  moved = _confine(moved, scene.object, params.surroundings)
  held = held & (norm(moved - hand) <= SLIP_REACH)
  return Scene(
    hand=hand,
    opening=jnp.where(held, jnp.maximum(opening, HELD_OPENING), opening),
    object=jnp.where(params.has_object, moved, scene.object),
    held=held,
    angle=_turn(params.joint, scene.angle, scene.hand, hand, shut),
    depth=_press(params.button, scene.depth, scene.hand, hand),
  )


def support_height(
  position: Float[Array, '3'],
  last_height: Float[Array, ''],
  surroundings: Surroundings,
) -> Float[Array, '']:
  """How low the centre of an object can be: on the table, or the platform.

  Args:
    position: of the object.
    last_height: of it, a step ago; a shelf bears what was above it.
    surroundings: of the task.
  """
  middle, height = surroundings.platform[:2], surroundings.platform[2]
  over = norm(position[:2] - middle) < surroundings.platform_radius
  over = over & (last_height >= height + RADIUS - 1e-3)
  return jnp.where(over, height, 0.0) + RADIUS


def _confine(position, last, surroundings):
  """The nearest place where an object can be, coming from the last one."""
  hole, normal = surroundings.hole, surroundings.normal
  beyond = dot(position - hole, normal)  # negative in the wall
  was_inside = dot(last - hole, normal) < -1e-4
  along = normal * beyond
  across = position - hole - along
  width = norm(across)
  narrow = jnp.minimum(1.0, RADIUS / jnp.maximum(width, RADIUS))
  in_hole = hole + along + across * narrow
  blocked = position - normal * jnp.minimum(beyond, 0.0)
  outside = jnp.where((beyond < 0) & (width > RADIUS), blocked, position)
  position = jnp.where(was_inside, in_hole, outside)
  low = support_height(position, last[2], surroundings)
  flat = jnp.clip(position[:2], HAND_LOW[:2], HAND_HIGH[:2])
  return jnp.append(flat, jnp.maximum(position[2], low))


def _push(position, hand):
  """Out of the way of a ball around the hand, along the table.

  What is hit from right above goes away from the robot.
  """
  away = position - hand
  flat, height = away[:2], away[2]
  reach = jnp.sqrt(jnp.maximum(CONTACT**2 - height**2, 0.0))
  distance = norm(flat)
  ahead = jnp.array([0.0, 1.0], jnp.float32)
  direction = flat / jnp.maximum(distance, 1e-6)
  direction = jnp.where(distance > 1e-6, direction, ahead)
  out = hand[:2] + direction * reach
  return jnp.append(jnp.where(distance < reach, out, position[:2]), position[2])


def _turn(joint: Joint, angle, last_hand, hand, shut):
  """The angle, or the metres, after the hand went by."""
  handle = handle_position(joint, angle)
  near = joint.present & (norm(handle - last_hand) <= HANDLE_REACH)
  before, after = last_hand - joint.base, hand - joint.base
  a, b = dot(joint.arm, before), dot(joint.swing, before)
  c, d = dot(joint.arm, after), dot(joint.swing, after)
  swept = jnp.arctan2(a * d - b * c, a * c + b * d)
  change = jnp.where(joint.hinge, swept, d - b)
  # The way of the handle where the angle grows.
  tangent = joint.swing * jnp.where(joint.hinge, jnp.cos(angle), 1.0)
  tangent = tangent - joint.arm * jnp.sin(angle)
  ahead = change * dot(handle - last_hand, tangent) > 0
  moves = near & (shut | ahead)
  return jnp.clip(angle + jnp.where(moves, change, 0.0), 0.0, joint.limit)


def _press(button: Button, depth, last_hand, hand):
  """How deep the cap is with the hand where it is."""
  from_front = dot(last_hand - button.front, button.axis) <= 0
  offset = hand - button.front
  deep = dot(offset, button.axis)
  aside = norm(offset - deep * button.axis)
  touches = button.present & (aside <= CAP_RADIUS)
  touches = touches & (from_front | (depth > 0))
  return jnp.where(touches, jnp.clip(deep, 0.0, button.travel), 0.0)
