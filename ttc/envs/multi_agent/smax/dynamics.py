"""The physics of a battle: eight ticks of moving, shooting and pushing.

In a tick all units act at once from where the tick began: they move, those with
an order to attack fire if their target is in reach and their weapon is loaded,
whoever touches the border dies, and those who still live and overlap push each
other apart. Two units may kill each other in one tick.

Arrays have the unit as their first axis and may have any axes behind it, and
`advance` has `vmap` put its axis last. So an elementary operation runs along
environments, of which there are many and which do not depend on one another,
rather than along units, of which there are few: on CPUs the vectors are full.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

NORTH, EAST, SOUTH, WEST, STOP, ATTACK = range(6)  # `ATTACK + j` attacks `j`


class Units(NamedTuple):
  """What a tick changes, of each unit."""

  x: Float[Array, 'A *E']
  y: Float[Array, 'A *E']
  health: Float[Array, 'A *E']  # not above 0 for the dead
  cooldown: Float[Array, 'A *E']  # seconds until it may fire


class Orders(NamedTuple):
  """What a tick obeys, of each unit."""

  dx: Float[Array, 'A *E']  # way of a tick
  dy: Float[Array, 'A *E']
  target: Int[Array, 'A *E']  # number of a unit, -1 for none
  damage: Float[Array, 'A *E']
  reach: Float[Array, 'A *E']
  reload: Float[Array, 'A *E']  # seconds after a shot, noise included
  radius: Float[Array, 'A *E']


class Rules(NamedTuple):
  """What a tick obeys, of a battle."""

  width: Float[Array, ' *E']
  height: Float[Array, ' *E']
  walls_kill: Bool[Array, ' *E']
  tick: Float[Array, ' *E']  # seconds


def push_apart(
  x: Float[Array, 'A *E'],
  y: Float[Array, 'A *E'],
  radius: Float[Array, 'A *E'],
  alive: Bool[Array, 'A *E'],
) -> tuple[Float[Array, 'A *E'], Float[Array, 'A *E']]:
  r"""Moves overlapping live units apart.

  .. math:: p_i \leftarrow p_i + \tfrac12 \sum_j (p_i - p_j)
    \max(0, (r_i + r_j) / \|p_i - p_j\| - 1)

  Returns:
    The new coordinates; two units at the same point stay there.
  """
  size = jnp.where(alive, radius, -jnp.inf)  # the dead overlap with nobody
  dx, dy = x[:, None] - x[None], y[:, None] - y[None]
  distance = jnp.sqrt(dx * dx + dy * dy) + 1e-6
  overlap = jnp.maximum((size[:, None] + size[None]) / distance - 1, 0)
  return (
    x + 0.5 * jnp.sum(dx * overlap, axis=1),
    y + 0.5 * jnp.sum(dy * overlap, axis=1),
  )


def tick(units: Units, orders: Orders, rules: Rules) -> Units:
  """A sixteenth of a second.

  Args:
    units: before it.
    orders: of each unit; those of the dead mean nothing.
    rules: of the battle.

  Returns:
    The units after it.
  """
  x, y, health, cooldown = units
  width, height = rules.width[None], rules.height[None]
  alive = health > 0
  unit = jax.lax.broadcasted_iota(jnp.int32, (len(x), *x.shape), 1)
  aim = orders.target[:, None] == unit
  dx, dy = x[:, None] - x[None], y[:, None] - y[None]
  near = dx * dx + dy * dy < (orders.reach * orders.reach)[:, None]
  fires = jnp.any(aim & near & alive[None], axis=1) & alive & (cooldown <= 0)
  damage = jnp.where(fires, orders.damage, 0)
  wound = jnp.sum(jnp.where(aim, damage[:, None], 0), axis=0)
  health = jnp.maximum(health - wound, 0)
  cooldown = jnp.where(fires, orders.reload, cooldown - rules.tick[None])
  x = jnp.where(alive, jnp.clip(x + orders.dx, 0, width), x)
  y = jnp.where(alive, jnp.clip(y + orders.dy, 0, height), y)
  touches = (x <= 0) | (x >= width) | (y <= 0) | (y >= height)
  health = jnp.where(touches & rules.walls_kill[None], 0, health)
  x, y = push_apart(x, y, orders.radius, health > 0)
  return Units(x, y, health, cooldown)


def vmap_last(fn: Callable[..., Any]) -> Callable[..., Any]:
  """A function whose `vmap` hands it one array with one more, last axis.

  It has no derivative in reverse mode: `jax.grad` raises.
  """
  call = jax.custom_batching.custom_vmap(fn)

  @call.def_vmap
  def batched(axis_size, in_batched, *args):
    def to_last(x, is_batched):
      if is_batched:
        return jnp.moveaxis(x, 0, -1)
      return jnp.broadcast_to(x[..., None], (*x.shape, axis_size))

    out = call(*jax.tree.map(to_last, args, tuple(in_batched)))
    out = jax.tree.map(lambda x: jnp.moveaxis(x, -1, 0), out)
    return out, jax.tree.map(lambda _: True, out)

  return call


def make_advance(num_ticks: int) -> Callable[[Units, Orders, Rules], Units]:
  """Several ticks under the same orders."""

  @vmap_last
  def advance(units, orders, rules):
    after = lambda units, _: (tick(units, orders, rules), None)
    return jax.lax.scan(after, units, length=num_ticks)[0]

  return advance
