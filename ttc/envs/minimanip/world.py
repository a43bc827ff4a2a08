"""The world of MiniManip: what a task is, and a moment of an episode in it.

Metres and radians; x points right, y away from the robot, z up, the table is at
z = 0. A hand moves in a box. Around it are at most one object, one joint (a
hinge or a slider, with a handle) and one button; besides, a platform that is a
shelf or, below the table, a pit, and a wall with a hole. What a task lacks is
there too, but takes no part, so that all tasks have one shape.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

HAND_LOW = np.array([-0.5, 0.4, 0.02], np.float32)
HAND_HIGH = np.array([0.5, 1.0, 0.5], np.float32)
RADIUS = 0.02  # of an object, and of the hole it fits through
# What a task may be about.
HAND, OBJECT, HANDLE, CAP = range(4)


class Joint(NamedTuple):
  """A hinge or a slider with a handle.

  Attributes:
    present: whether there is one.
    hinge: else it is a slider.
    base: the pivot, or the handle of a slider at 0.
    arm: from the pivot to the handle at 0; zeros for a slider.
    swing: the same at a quarter turn; the direction of a slider, of length 1.
    start: angle or metres at the start of an episode.
    limit: of the angle or metres, which start at 0.
  """

  present: Bool[Array, '']
  hinge: Bool[Array, '']
  base: Float[Array, '3']
  arm: Float[Array, '3']
  swing: Float[Array, '3']
  start: Float[Array, '']
  limit: Float[Array, '']


class Button(NamedTuple):
  """A cap that can be pressed, and springs back.

  Attributes:
    present: whether there is one.
    front: the cap when nobody presses.
    axis: which way it is pressed, of length 1.
    travel: how far.
  """

  present: Bool[Array, '']
  front: Float[Array, '3']
  axis: Float[Array, '3']
  travel: Float[Array, '']


class Surroundings(NamedTuple):
  """What an object may lie on, or has to pass through.

  Attributes:
    platform: its middle; z is the height of its surface, negative for a pit.
    platform_radius: 0 if there is none.
    hole: where it opens in the wall.
    normal: of the wall, out of it, of length 1; zeros if there is none.
  """

  platform: Float[Array, '3']
  platform_radius: Float[Array, '']
  hole: Float[Array, '3']
  normal: Float[Array, '3']


class Aim(NamedTuple):
  """What is to be done.

  Attributes:
    goal: where the thing is to be.
    visible: whether observations show the goal.
    thing: one-hot, whether it is the hand, object, handle or cap.
    axes: 1 for those in which its distance counts, else 0.
    threshold: of that distance, for success.
    released: whether success needs that nothing is held.
    weights: of the hand being near the thing, of a grasp and of the thing being
      near the goal, in the reward short of success; they sum to at most 9.
    margins: distances at the start, of hand and thing and of thing and goal.
  """

  goal: Float[Array, '3']
  visible: Bool[Array, '']
  thing: Float[Array, '4']
  axes: Float[Array, '3']
  threshold: Float[Array, '']
  released: Bool[Array, '']
  weights: Float[Array, '3']
  margins: Float[Array, '2']


class ManipulationParams(NamedTuple):
  """A task.

  Attributes:
    family: its number in `FAMILIES`; the rules do not ask for it.
    hand_start: where the hand starts.
    has_object: whether there is an object.
    graspable: else it is too wide and can only be pushed.
    object_start: its centre.
    joint: hinge or slider.
    button: button.
    surroundings: platform and wall.
    aim: what is to be done.
    max_steps: of an episode.
  """

  family: Int[Array, '']
  hand_start: Float[Array, '3']
  has_object: Bool[Array, '']
  graspable: Bool[Array, '']
  object_start: Float[Array, '3']
  joint: Joint
  button: Button
  surroundings: Surroundings
  aim: Aim
  max_steps: Int[Array, '']


class Scene(NamedTuple):
  """What moves.

  Attributes:
    hand: position.
    opening: of the gripper, 1 is open and 0 shut.
    object: position.
    held: whether the hand holds the object.
    angle: of the hinge, or metres of the slider.
    depth: how far the button is pressed.
  """

  hand: Float[Array, '3']
  opening: Float[Array, '']
  object: Float[Array, '3']
  held: Bool[Array, '']
  angle: Float[Array, '']
  depth: Float[Array, '']


class ManipulationState(NamedTuple):
  """What moves, what was seen of it a step ago, and the time."""

  scene: Scene
  last_frame: Float[Array, '18']
  time: Int[Array, '']


def dot(a: Float[Array, ' D'], b: Float[Array, ' D']) -> Float[Array, '']:
  """The scalar product, in full precision on every device."""
  return jnp.sum(a * b)


def norm(a: Float[Array, ' D']) -> Float[Array, '']:
  """The length of a vector."""
  return jnp.sqrt(jnp.sum(a * a))


def handle_position(joint: Joint, angle: Float[Array, '']) -> Float[Array, '3']:
  """Where the handle is: on a circle about the pivot, or on a line."""
  sine = jnp.where(joint.hinge, jnp.sin(angle), angle)
  return joint.base + joint.arm * jnp.cos(angle) + joint.swing * sine


def cap_position(button: Button, depth: Float[Array, '']) -> Float[Array, '3']:
  """Where the cap of the button is."""
  return button.front + button.axis * depth


def the_thing(scene: Scene, params: ManipulationParams) -> Float[Array, '3']:
  """Where that is which the task is about."""
  places = [
    scene.hand,
    scene.object,
    handle_position(params.joint, scene.angle),
    cap_position(params.button, scene.depth),
  ]
  return jnp.sum(params.aim.thing[:, None] * jnp.stack(places), axis=0)


def start_scene(params: ManipulationParams) -> Scene:
  """The start of an episode: the gripper open, nothing held or pressed."""
  return Scene(
    hand=jnp.asarray(params.hand_start, jnp.float32),
    opening=jnp.ones((), jnp.float32),
    object=jnp.asarray(params.object_start, jnp.float32),
    held=jnp.zeros((), bool),
    angle=jnp.asarray(params.joint.start, jnp.float32),
    depth=jnp.zeros((), jnp.float32),
  )
