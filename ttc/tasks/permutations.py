"""The word problem of a symmetric group: track a state that does not commute.

The prompt is a word `g_1 ... g_L =`, the trace its running products, the answer
the product of all. The word problem of S5 is complete for NC1 (Barrington,
1989), so no transformer of constant depth is believed to answer at once for
every `L`, while one written product per token is easy: the cleanest case where
thinking in tokens is necessary (Merrill & Sabharwal, "The Illusion of State in
State-Space Models", arXiv 2404.08819). S3 and S4 are the small versions.

With `noise` the accuracy is known in closed form, see `chains`.
"""

import itertools
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int, PRNGKeyArray

from ttc.tasks import chains, token_task

Group = Literal['s3', 's4', 's5']


def elements(group: Group) -> Int[np.ndarray, 'Q n']:
  """Returns the permutations of `n` points in lexicographic order.

  Row a holds the images of the points, `x -> elements[a, x]`; row 0 is the
  identity. `Q` is 6, 24 or 120.
  """
  num_points = {'s3': 3, 's4': 4, 's5': 5}[group]
  return np.array(list(itertools.permutations(range(num_points))))


def group_table(group: Group) -> Int[np.ndarray, 'Q Q']:
  """Returns the products; `table[a, b]` is a first, then b: `x -> b(a(x))`."""
  rows = elements(group)
  index = {tuple(row): i for i, row in enumerate(rows.tolist())}
  return np.array([[index[tuple(b[a].tolist())] for b in rows] for a in rows])


def permutation_word_problem(
  group: Group,
  length: int,
  stride: int = 1,
  noise: float = 0.0,
  num_generators: int | None = None,
  min_length: int | None = None,
) -> token_task.TokenTask:
  """Makes the word problem of S3, S4 or S5.

  Value ids are the rows of `elements`; as text, '120' sends 0 to 1, 1 to 2 and
  2 to 0. A trace has ceil(length / stride) products and EOS.

  Args:
    group: which symmetric group.
    length: factors of a word, `L`.
    stride: write every `stride`-th product, and the last.
    noise: chance that a product in the trace is replaced by another element.
    num_generators: draw the factors from this many elements: the transposition
      of the first two points, the cycle of all, then others in order. None
      draws from all. Two suffice to generate the group and make S5 learnable.
    min_length: if given, lengths are uniform in [min_length, length].
  """
  table = group_table(group)
  order = len(table)
  num_generators = order if num_generators is None else num_generators
  min_length = length if min_length is None else min_length
  if not 2 <= num_generators <= order:
    raise ValueError(f'{num_generators=} is not in [2, {order}].')
  if not 1 <= min_length <= length:
    raise ValueError(f'{min_length=} is not in [1, {length}].')
  factors = _generators(group)[:num_generators]
  times = table.T  # times[g, v] is v, then g

  def draw(key: PRNGKeyArray) -> chains.Chain:
    word_key, length_key = jax.random.split(key)
    word = jax.random.choice(word_key, jnp.asarray(factors), (length,))
    num_maps = jax.random.randint(length_key, (), min_length, length + 1)
    return chains.Chain(
      prompt=token_task.close(
        token_task.FIRST_ID + word, num_maps, token_task.EQUALS_ID
      ),
      prompt_length=num_maps + 1,
      start=jnp.int32(0),
      maps=jnp.asarray(times)[word],
      num_maps=num_maps,
    )

  words = tuple(''.join(map(str, row)) for row in elements(group).tolist())
  name = f'permutations_{group}_{length}'
  return chains.chain_task(name, words, (), draw, stride=stride, noise=noise)


def _generators(group: Group) -> Int[np.ndarray, ' Q']:
  """Orders all elements so that any first two or more generate the group."""
  rows = elements(group).tolist()
  points = rows[0]
  transposition = rows.index([1, 0, *points[2:]])
  cycle = rows.index([*points[1:], 0])
  # The identity comes last: it generates nothing.
  others = [i for i in range(1, len(rows)) if i not in (transposition, cycle)]
  return np.array([transposition, cycle, *others, 0])
