"""Families of tasks: one row of numbers each, one program for all.

Named after, and in the spirit of, families of Meta-World (Yu et al., 2019,
1910.10897): the fifteen of its ML10, in their order, and five more. What a
family lacks keeps its default, which takes no part. A variation draws where
things are, uniformly from the boxes of its family.
"""

from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, PRNGKeyArray

from ttc.envs.minimanip.world import (
  CAP,
  HAND,
  HANDLE,
  OBJECT,
  RADIUS,
  Aim,
  Button,
  Joint,
  ManipulationParams,
  Surroundings,
  cap_position,
  handle_position,
  norm,
  start_scene,
  the_thing,
)

Triple: TypeAlias = tuple[float, float, float]
Ends: TypeAlias = tuple[Triple, Triple]  # opposite corners of a box

HAND_START = (0.0, 0.6, 0.2)
MAX_STEPS = 100
DEPTH_IN_WALL = 0.06  # of the goal behind the face
_NOWHERE: Triple = (0.0, 0.0, 0.0)
_ON_TABLE: Ends = ((-0.2, 0.55, RADIUS), (0.2, 0.65, RADIUS))


class Family(NamedTuple):
  """What the variations of a family share.

  Attributes:
    thing: that the task is about.
    objects: box of the object; None for no object.
    graspable: the object.
    goals: box of the goal; means nothing for handles and caps.
    axes: in which the distance to the goal counts.
    threshold: of success.
    released: whether success needs that nothing is held.
    weights: of the reward, as of `Aim`.
    places: box of the joint's base or the button's front.
    hinge: the joint.
    arm: of the hinge.
    swing: of the joint; zeros for no joint.
    limit: of the joint.
    opens: whether the joint starts at 0 and is to come to its limit, or the
      other way round.
    press: direction of the button; zeros for no button.
    travel: of the button.
    platform_radius: of the shelf or pit under the goal; 0 for neither.
    wall: normal of the wall that the goal is in; zeros for no wall.
  """

  thing: int
  objects: Ends | None = None
  graspable: bool = True
  goals: Ends = (_NOWHERE, _NOWHERE)
  axes: Triple = (1.0, 1.0, 1.0)
  threshold: float = 0.05
  released: bool = False
  weights: Triple = (3.0, 0.0, 6.0)
  places: Ends = (_NOWHERE, _NOWHERE)
  hinge: bool = False
  arm: Triple = _NOWHERE
  swing: Triple = _NOWHERE
  limit: float = 0.0
  opens: bool = True
  press: Triple = _NOWHERE
  travel: float = 0.0
  platform_radius: float = 0.0
  wall: Triple = _NOWHERE


_DOOR = Family(
  HANDLE,
  places=((-0.35, 0.8, 0.1), (-0.15, 0.9, 0.2)),
  hinge=True,
  arm=(0.25, 0.0, 0.0),
  swing=(0.0, -0.25, 0.0),
  limit=1.4,
)
_DRAWER = Family(
  HANDLE,
  threshold=0.03,
  places=((-0.25, 0.8, 0.08), (0.25, 0.9, 0.15)),
  swing=(0.0, -1.0, 0.0),
  limit=0.2,
)
_CARRY = Family(OBJECT, objects=_ON_TABLE, weights=(2.0, 1.0, 6.0))
_WINDOW = Family(
  HANDLE,
  threshold=0.03,
  places=((-0.3, 0.75, 0.15), (0.0, 0.9, 0.25)),
  swing=(1.0, 0.0, 0.0),
  limit=0.2,
)
_SWEEP = Family(OBJECT, objects=_ON_TABLE, graspable=False)

FAMILIES = {
  'reach': Family(
    HAND,
    objects=_ON_TABLE,
    goals=((-0.3, 0.75, 0.05), (0.3, 0.95, 0.35)),
    weights=(0.0, 0.0, 9.0),
  ),
  'push': _CARRY._replace(
    goals=((-0.2, 0.75, RADIUS), (0.2, 0.9, RADIUS)), axes=(1.0, 1.0, 0.0)
  ),
  'pick_place': _CARRY._replace(
    goals=((-0.2, 0.75, 0.1), (0.2, 0.9, 0.3)),
  ),
  'door_open': _DOOR,
  'drawer_close': _DRAWER._replace(opens=False),
  'button_press_topdown': Family(
    CAP,
    threshold=0.005,
    places=((-0.25, 0.65, 0.1), (0.25, 0.85, 0.14)),
    press=(0.0, 0.0, -1.0),
    travel=0.04,
  ),
  'peg_insert_side': _CARRY._replace(
    objects=((0.0, 0.55, RADIUS), (0.15, 0.65, RADIUS)),
    goals=((-0.3, 0.5, 0.1), (-0.25, 0.7, 0.2)),
    threshold=0.03,
    wall=(1.0, 0.0, 0.0),
  ),
  'window_open': _WINDOW,
  'sweep': _SWEEP._replace(
    objects=((-0.2, 0.55, RADIUS), (0.1, 0.65, RADIUS)),
    goals=((0.25, 0.6, RADIUS), (0.35, 0.6, RADIUS)),
    axes=(1.0, 0.0, 0.0),
  ),
  'basketball': _CARRY._replace(
    goals=((-0.15, 0.75, 0.22), (0.15, 0.85, 0.28)),
    released=True,
    platform_radius=0.04,
  ),
  'drawer_open': _DRAWER,
  'door_close': _DOOR._replace(opens=False),
  'shelf_place': _CARRY._replace(
    goals=((-0.2, 0.75, 0.14), (0.2, 0.85, 0.2)),
    released=True,
    platform_radius=0.08,
  ),
  'sweep_into': _SWEEP._replace(
    goals=((-0.2, 0.75, -0.04), (0.2, 0.85, -0.04)), platform_radius=0.05
  ),
  'lever_pull': Family(
    HANDLE,
    places=((-0.25, 0.75, 0.1), (0.25, 0.9, 0.15)),
    hinge=True,
    arm=(0.0, -0.15, 0.0),
    swing=(0.0, 0.0, 0.15),
    limit=1.4,
  ),
  'button_press': Family(
    CAP,
    threshold=0.005,
    places=((-0.25, 0.75, 0.08), (0.25, 0.9, 0.2)),
    press=(0.0, 1.0, 0.0),
    travel=0.04,
  ),
  'faucet_open': Family(
    HANDLE,
    threshold=0.03,
    places=((-0.2, 0.75, 0.08), (0.2, 0.85, 0.12)),
    hinge=True,
    arm=(0.0, -0.12, 0.0),
    swing=(0.12, 0.0, 0.0),
    limit=1.5,
  ),
  'handle_press': Family(
    HANDLE,
    threshold=0.02,
    places=((-0.25, 0.75, 0.2), (0.25, 0.9, 0.25)),
    swing=(0.0, 0.0, -1.0),
    limit=0.12,
  ),
  'push_back': _CARRY._replace(
    objects=((-0.15, 0.8, RADIUS), (0.15, 0.9, RADIUS)),
    goals=((-0.15, 0.55, RADIUS), (0.15, 0.65, RADIUS)),
    axes=(1.0, 1.0, 0.0),
  ),
  'window_close': _WINDOW._replace(opens=False),
}
TRAIN_FAMILIES = tuple(FAMILIES)[:10]
TEST_FAMILIES = tuple(FAMILIES)[10:15]
MORE_FAMILIES = tuple(FAMILIES)[15:]


def family_number(family: str) -> int:
  """Which row of `FAMILIES` it is.

  Raises:
    ValueError: if there is no such family.
  """
  if family not in FAMILIES:
    raise ValueError(
      f'minimanip: family {family!r}, expected one of {", ".join(FAMILIES)}'
    )
  return list(FAMILIES).index(family)


def _row(family: Family) -> dict[str, np.ndarray]:
  """A family as arrays; which of its parts are there is among them."""
  parts = {
    'has_object': family.objects is not None,
    'has_joint': any(family.swing),
    'has_button': any(family.press),
  }
  family = family._replace(objects=family.objects or (_NOWHERE, _NOWHERE))
  values = {**family._asdict(), **parts}
  kinds = {bool: bool, int: np.int32}
  return {
    name: np.asarray(value, kinds.get(type(value), np.float32))
    for name, value in values.items()
  }


_ROWS = [_row(family) for family in FAMILIES.values()]
_TABLE = {name: np.stack([row[name] for row in _ROWS]) for name in _ROWS[0]}


def sample_variation(
  family: Int[Array, ''], key: PRNGKeyArray, visible: bool
) -> ManipulationParams:
  """A task of a family.

  Args:
    family: its number, traced.
    key: consumed.
    visible: whether observations show the goal.
  """
  row = {name: jnp.asarray(rows)[family] for name, rows in _TABLE.items()}
  shares = jax.random.uniform(key, (3, 3), jnp.float32)
  between = lambda ends, share: ends[0] + share * (ends[1] - ends[0])
  place = between(row['places'], shares[0])
  zero = jnp.zeros((), jnp.float32)
  joint = Joint(
    present=row['has_joint'],
    hinge=row['hinge'],
    base=place,
    arm=row['arm'],
    swing=row['swing'],
    start=jnp.where(row['opens'], zero, row['limit']),
    limit=row['limit'],
  )
  button = Button(row['has_button'], place, row['press'], row['travel'])
  goal = between(row['goals'], shares[2])
  end = jnp.where(row['opens'], row['limit'], zero)
  goal = jnp.where(row['has_joint'], handle_position(joint, end), goal)
  pressed = cap_position(button, button.travel)
  goal = jnp.where(row['has_button'], pressed, goal)
  params = ManipulationParams(
    family=jnp.asarray(family, jnp.int32),
    hand_start=jnp.array(HAND_START, jnp.float32),
    has_object=row['has_object'],
    graspable=row['graspable'],
    object_start=between(row['objects'], shares[1]),
    joint=joint,
    button=button,
    surroundings=Surroundings(
      platform=goal - jnp.array([0.0, 0.0, RADIUS], jnp.float32),
      platform_radius=row['platform_radius'],
      hole=goal + DEPTH_IN_WALL * row['wall'],
      normal=row['wall'],
    ),
    aim=Aim(
      goal=goal,
      visible=jnp.asarray(visible),
      thing=(jnp.arange(4) == row['thing']).astype(jnp.float32),
      axes=row['axes'],
      threshold=row['threshold'],
      released=row['released'],
      weights=row['weights'],
      margins=jnp.zeros((2,), jnp.float32),
    ),
    max_steps=jnp.full((), MAX_STEPS, jnp.int32),
  )
  return _with_margins(params)


def _with_margins(params):
  """Distances at the start, from which rewards measure how near is near."""
  scene = start_scene(params)
  thing = the_thing(scene, params)
  to_goal = norm(params.aim.axes * (thing - params.aim.goal))
  margins = jnp.stack([norm(thing - scene.hand), to_goal])
  return params._replace(aim=params.aim._replace(margins=margins))
