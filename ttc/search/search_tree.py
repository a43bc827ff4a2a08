"""The tree of a Monte-Carlo tree search: its books, and where to go next.

No model is called here. Functions take the tree of one problem, and are mapped
over problems.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Int


class Tree(NamedTuple):
  """The `K` nodes of `B` trees; children are adjacent, node 0 is the root.

  Batched over problems; a search sees the fields of one problem, `[K]`.
  """

  parents: Int[Array, '*B K']  # -1 for the root and for places not in use
  first_child: Int[Array, '*B K']  # 0 if there are no children
  priors: Float[Array, '*B K']  # 0 for a step that an elder sibling also took
  visits: Int[Array, '*B K']
  value_sums: Float[Array, '*B K']  # over visits; the mean is the node's value
  scores: Float[Array, '*B K']  # what the verifier said
  has_ended: Bool[Array, '*B K']


def descend(
  tree: Tree,
  node: Int[Array, ''],
  num_done: Int[Array, ''],
  limit: Int[Array, ''],
  width: int,
  c_init: ArrayLike,
  c_base: ArrayLike,
) -> tuple[Tree, Int[Array, ''], Int[Array, '']]:
  """Goes on to a node of one tree that has no children and has not ended.

  Each end on the way is a simulation done, and the next starts at the root.

  Args:
    tree: of one problem.
    node: where the simulation is.
    num_done: simulations done.
    limit: of these; at it, nothing more is visited.
    width: `M`.
    c_init: of the rule.
    c_base: of the rule.

  Returns:
    The tree with the visits to ends, the node, and the simulations done.
  """

  def is_inside(carry):
    tree, node, num_done = carry
    goes_on = (tree.first_child[node] > 0) | tree.has_ended[node]
    return goes_on & (num_done < limit)

  def step(carry):
    tree, node, num_done = carry
    ends = tree.has_ended[node]
    value = worth(tree.scores[node]) * ends
    tree = back_up(tree, node, ends.astype(jnp.int32), value)
    children = tree.first_child[node] + jnp.arange(width, dtype=jnp.int32)
    rank = puct(
      tree.value_sums[children],
      tree.visits[children],
      tree.priors[children],
      tree.visits[node],
      c_init,
      c_base,
    )
    best = children[jnp.argmax(rank)]
    return tree, jnp.where(ends, 0, best), num_done + ends

  return jax.lax.while_loop(is_inside, step, (tree, node, num_done))


def puct(
  value_sums: Float[Array, ' M'],
  visits: Int[Array, ' M'],
  priors: Float[Array, ' M'],
  parent_visits: Int[Array, ''],
  c_init: ArrayLike,
  c_base: ArrayLike,
) -> Float[Array, ' M']:
  """The rank of each child of a node; `-inf` for one without a prior."""
  explore = c_init + jnp.log((parent_visits + c_base + 1) / c_base)
  bonus = priors * jnp.sqrt(parent_visits) / (1 + visits) * explore
  value = value_sums / jnp.maximum(visits, 1)
  return jnp.where(priors > 0, value + bonus, -jnp.inf)


def paths(parents: Int[Array, ' K'], length: int) -> Int[Array, 'K S']:
  """The way from the root to each node of one tree.

  Args:
    parents: of the nodes.
    length: `S`, of the longest way; static.

  Returns:
    The nodes below the root, then 0 behind the last.
  """
  up = lambda node, _: (jnp.maximum(parents[node], 0), node)
  own = jnp.arange(parents.size, dtype=parents.dtype)
  _, above = jax.lax.scan(up, own, length=length)
  place = jnp.sum(above > 0, axis=0)[:, None] - 1 - jnp.arange(length)
  path = jnp.take_along_axis(above.T, jnp.maximum(place, 0), axis=1)
  return jnp.where(place >= 0, path, 0).astype(jnp.int32)


def worth(score: Array) -> Array:
  """What a visit adds to the sums above it: 0 if the verifier said NaN."""
  return jnp.where(jnp.isnan(score), 0.0, score)


def back_up(
  tree: Tree, node: Int[Array, ''], visits: Int[Array, ''], value: Array
) -> Tree:
  """Adds visits and their summed value to a node and all above it."""

  def step(carry):
    node, counts, sums = carry
    counts = counts.at[node].add(visits)
    return tree.parents[node], counts, sums.at[node].add(value)

  node = jnp.where(visits > 0, node, -1)
  carry = node, tree.visits, tree.value_sums
  _, counts, sums = jax.lax.while_loop(lambda c: c[0] >= 0, step, carry)
  return tree._replace(visits=counts, value_sums=sums)


def attach(
  tree: Tree,
  node: Int[Array, ''],
  grows: Bool[Array, ''],
  scores: Float[Array, ' W'],
  priors: Float[Array, ' W'],
  has_ended: Bool[Array, ' W'],
  start: Int[Array, ''],
) -> Tree:
  """Gives a node of one tree its children; each draw is a visit."""
  W = scores.size
  scores = jnp.where(grows, scores, 0.0)
  count = jnp.broadcast_to(grows, (W,)).astype(jnp.int32)
  put = lambda old, new: put_slice(old, new, start, axis=0)
  first = jnp.where(grows, start, tree.first_child[node])
  tree = Tree(
    parents=put(tree.parents, jnp.where(grows, node, jnp.full((W,), -1))),
    first_child=tree.first_child.at[node].set(first),
    priors=put(tree.priors, jnp.where(grows, priors, 0.0)),
    visits=put(tree.visits, count),
    value_sums=put(tree.value_sums, worth(scores)),
    scores=put(tree.scores, scores),
    has_ended=put(tree.has_ended, has_ended),
  )
  total = jnp.sum(worth(scores))
  return back_up(tree, node, jnp.sum(count, dtype=jnp.int32), total)


def put_slice(old: Array, new: Array, start, axis: int) -> Array:
  """`old` with `new` in the places from `start` on."""
  return jax.lax.dynamic_update_slice_in_dim(old, new, start, axis)
