r"""Monte-Carlo tree search over steps, with the selection rule PUCT.

Wang et al., "Bag of tricks for inference-time computation of LLM reasoning",
2502.07191; the rule is AlphaZero's (Silver et al., 1712.01815). A simulation
descends from the prompt to an end. At a node that has children it goes on to
the one with the greatest

.. math:: Q(s, a) + P(s, a) \frac{\sqrt{N(s)}}{1 + N(s, a)}
    \Big( c_1 + \log \frac{N(s) + c_2 + 1}{c_2} \Big);

at one that has none, the policy draws `M` steps, and the verifier's values of
them are added to all means `Q` above. An end that is reached counts as one more
visit with its value, and costs nothing.

A node is a row of the decode state: children are forked from it, no step is
decoded twice. Costs `E M T / S` generated tokens for `E` expansions of `M`
steps and responses of `S` steps, `M` times fewer in sequence, and `E M` calls
of the verifier; with `rollout`, each step is also completed to its end, and
`T` takes the place of `T / S`. Good where early steps can be told apart; what
beam search discards for good can be taken up again here.
"""

import functools
import math
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Int, Key

from ttc.models.base import LanguageModel
from ttc.sampling.state import fork
from ttc.search.base import Method
from ttc.search.search_tree import Tree, attach, descend, paths, put_slice
from ttc.search.setting import Setting
from ttc.search.step_search import (
  Beams,
  StepSampler,
  StepSearchOutput,
  plant,
  select_leaf,
  take_step,
)
from ttc.types import (
  AnswerFn,
  FinishReason,
  Generation,
  Leaves,
  Params,
  Prompt,
  ScoreFn,
  Selection,
)

Prior = Literal['policy', 'drawn']


class MctsOutput(NamedTuple):
  """What a tree search returns for `B` prompts."""

  search: StepSearchOutput  # its leaves are all that the verifier read
  tree: Tree
  num_simulations: Int[Array, ' B']


def mcts(
  params: Params,
  keys: Key[Array, ' B'],
  prompt: Prompt,
  steps: StepSampler,
  score_fn: ScoreFn,
  num_expansions: int,
  width: int,
  *,
  rollout: bool = False,
  prior: Prior = 'policy',
  c_init: ArrayLike = 1.25,
  c_base: ArrayLike = 19652.0,
  num_simulations: ArrayLike | None = None,
  budget: ArrayLike | None = None,
) -> MctsOutput:
  """Searches for responses that the verifier likes.

  Args:
    params: parameters of the policy.
    keys: `[B]`, one per problem; consumed. With `M = 1` the leaf is sample 0 of
      those that `ttc.sampling.generate` draws with these keys.
    prompt: the prompts.
    steps: what draws steps.
    score_fn: `(prompt, responses so far) -> [B, M]`, the value of the last step
      of each, or of whole responses with `rollout`; in [0, 1], where the
      constants of the rule make sense.
    num_expansions: `E`, most nodes that get children; static.
    width: `M`, steps drawn at a node; static.
    rollout: value a step by a response that goes on from it; static. What was
      written on the way is a leaf too, but not part of the tree.
    prior: `P(s, a)` among the distinct children of a node: `policy`, the
      normalised probability of the step, as usual; or `drawn`, the share of the
      `M` draws. Static.
    c_init: `c_1`.
    c_base: `c_2`.
    num_simulations: most descents; 16 `E` if None. It is what ends a search
      that returns to the same ends.
    budget: a problem is done once it has spent as many tokens as so many
      responses of the mean length of its finished leaves, or of the greatest
      length while there are none. None for no limit.

  Returns:
    The tree, and its leaves for `select_visited` or `select_leaf`. Nodes that
    are not finished have no vote, nor have steps that an elder sibling also
    took.
  """
  K = 1 + num_expansions * width
  if num_simulations is None:
    num_simulations = 16 * num_expansions
  search = _begin(plant(params, prompt, steps, K))
  rules = _Rules(width, rollout, prior, c_init, c_base, num_simulations, budget)
  grow = functools.partial(_grow, rules, params, keys, prompt, steps, score_fn)
  goes_on = lambda s: (s.round < num_expansions) & jnp.any(s.active)
  search = jax.lax.while_loop(goes_on, grow, search)
  return _output(search)


def select_visited(
  output: MctsOutput, prompt: Prompt, answer_fn: AnswerFn
) -> Selection:
  """The answer that most simulations ended in, weighted by their scores.

  Every visit of a leaf counts as one more sample of it in best-of-N weighted.

  Args:
    output: of a search without rollouts.
    prompt: the prompts.
    answer_fn: the id of the answer of each leaf.

  Returns:
    The selection, with the cost of the whole search; fields `[B]`.
  """
  sums = output.tree.value_sums[:, 1:, None]
  sums = jnp.where(jnp.isnan(output.tree.scores[:, 1:, None]), jnp.nan, sums)
  leaves = output.search._replace(step_scores=sums)
  return select_leaf(leaves, prompt, answer_fn)


def tree_leaves(output: MctsOutput, max_steps: int) -> Leaves:
  """All nodes of a tree with the steps that lead to them.

  Args:
    output: of a search without rollouts.
    max_steps: most steps in a response; static.

  Returns:
    A row for each node but the root; those with children are no leaves.
  """
  tree, leaves = output.tree, output.search.leaves
  lengths = jnp.pad(leaves.lengths, ((0, 0), (1, 0)))
  reasons = leaves.finish_reasons
  is_open = (reasons == FinishReason.LENGTH) & ~tree.has_ended[:, 1:]
  path = jax.vmap(lambda parents: paths(parents, max_steps))(tree.parents)
  along = jax.vmap(lambda x, path: jnp.where(path > 0, x[path], 0)[1:])
  return Leaves(
    tokens=leaves.tokens,
    lengths=leaves.lengths,
    log_probs=jnp.sum(leaves.log_probs, axis=-1),
    finish_reasons=jnp.where(is_open, FinishReason.RUNNING, reasons),
    parents=jnp.maximum(tree.parents[:, 1:], 0) - 1,
    nodes=path[:, 1:] - 1,
    scores=along(tree.scores, path),
    ends=along(lengths, path),
  )


class _Search(NamedTuple):
  """What a round changes."""

  nodes: Beams
  tree: Tree
  read: Generation  # what the verifier read at each node
  depths: Int[Array, 'B K']  # steps
  node: Int[Array, ' B']  # where the simulation is
  num_simulations: Int[Array, ' B']
  tokens: Int[Array, ' B']
  depth: Int[Array, ' B']
  verifier_calls: Int[Array, ' B']
  nan_scores: Int[Array, ' B']
  round: Int[Array, '']
  active: Bool[Array, ' B']


def _begin(nodes: Beams) -> _Search:
  """A tree of roots."""
  B, K = nodes.responses.lengths.shape
  zeros = jnp.zeros((B, K), jnp.float32)
  whole = zeros.astype(jnp.int32)
  count = jnp.zeros((B,), jnp.int32)
  return _Search(
    nodes=nodes._replace(streams=whole),
    tree=Tree(
      parents=whole - 1,
      first_child=whole,
      priors=zeros,
      visits=whole,
      value_sums=zeros,
      scores=zeros,
      has_ended=zeros.astype(bool),
    ),
    read=nodes.responses,
    depths=whole,
    node=count,
    num_simulations=count,
    tokens=count,
    depth=count,
    verifier_calls=count,
    nan_scores=count,
    round=jnp.int32(0),
    active=jnp.ones((B,), bool),
  )


class _Rules(NamedTuple):
  """What `mcts` was asked for; see its arguments."""

  width: int
  rollout: bool
  prior: Prior
  c_init: ArrayLike
  c_base: ArrayLike
  num_simulations: ArrayLike
  budget: ArrayLike | None


def _grow(
  rules: _Rules,
  params: Params,
  keys: Key[Array, ' B'],
  prompt: Prompt,
  steps: StepSampler,
  score_fn: ScoreFn,
  search: _Search,
) -> _Search:
  """One round: down to a node, `M` steps from there, and their values up."""
  B, K = search.depths.shape
  width = rules.width
  start = 1 + search.round * width
  places = start + jnp.arange(width, dtype=jnp.int32)
  limit = jnp.where(search.active, rules.num_simulations, 0).astype(jnp.int32)
  go_down = functools.partial(
    descend, width=width, c_init=rules.c_init, c_base=rules.c_base
  )
  evaluate = _roll_out if rules.rollout else _read
  tree, node, num_done = jax.vmap(go_down)(
    search.tree, search.node, search.num_simulations, limit
  )
  grows = num_done < limit
  children = _children(steps.model, search.nodes, node, grows, places)
  children, drawn = take_step(params, keys, steps, children)
  read, looked = evaluate(params, keys, steps, children, K + places)
  scores = score_fn(prompt, read)
  depths = 1 + jnp.take_along_axis(search.depths, node[:, None], axis=1)
  running = children.responses.finish_reasons == FinishReason.RUNNING
  has_ended = ~running | (depths >= steps.max_steps)
  is_twin, priors = jax.vmap(lambda r: _prior(r, rules.prior))(
    children.responses
  )
  grow = functools.partial(attach, start=start)
  tree = jax.vmap(grow)(tree, node, grows, scores, priors, has_ended)
  if not rules.rollout:  # two completions of one step are two samples
    reasons = read.finish_reasons
    read = read._replace(
      finish_reasons=jnp.where(is_twin, FinishReason.CANCELLED, reasons)
    )
  put = lambda old, new: put_slice(old, new, start, axis=1)
  spent = jnp.sum(drawn + looked, axis=1, dtype=jnp.int32)
  search = _Search(
    nodes=_put_rows(steps.model, search.nodes, children, start),
    tree=tree,
    read=jax.tree.map(put, search.read, read),
    depths=put(search.depths, jnp.broadcast_to(depths, (B, width))),
    node=node,
    num_simulations=num_done,
    tokens=search.tokens + spent,
    depth=search.depth + jnp.max(drawn + looked, axis=1),
    verifier_calls=search.verifier_calls + jnp.where(grows, width, 0),
    nan_scores=search.nan_scores
    + jnp.where(grows, jnp.sum(jnp.isnan(scores), axis=1, dtype=jnp.int32), 0),
    round=search.round + 1,
    active=grows,
  )
  if rules.budget is None:
    return search
  left = search.tokens < rules.budget * _mean_length(
    search.read, steps.capacity
  )
  return search._replace(active=grows & left)


def _output(search: _Search) -> MctsOutput:
  """All nodes but the roots as leaves; those that are not there are empty."""
  exists = search.tree.parents[:, 1:] >= 0
  leaves = jax.tree.map(lambda x: x[:, 1:], search.read)
  reasons = jnp.where(
    leaves.finish_reasons == FinishReason.RUNNING,
    FinishReason.LENGTH,
    leaves.finish_reasons,
  )
  reasons = jnp.where(exists, reasons, FinishReason.CANCELLED)
  return MctsOutput(
    search=StepSearchOutput(
      leaves=leaves._replace(finish_reasons=reasons),
      step_scores=search.tree.scores[:, 1:, None],
      is_step=exists[..., None],
      tokens=search.tokens,
      depth=search.depth,
      verifier_calls=search.verifier_calls,
      nan_scores=search.nan_scores,
    ),
    tree=search.tree,
    num_simulations=search.num_simulations,
  )


def _children(model: LanguageModel, nodes: Beams, node, grows, places) -> Beams:
  """`[B, M]` copies of a node; of problems that do not grow, cancelled.

  The first goes on with the random numbers of its parent, as step search does;
  the others take up streams named after their places in the tree.
  """
  parents = jnp.broadcast_to(node[:, None], (node.size, places.size))
  take = jax.vmap(lambda leaf, index: leaf[index])
  responses = jax.tree.map(lambda leaf: take(leaf, parents), nodes.responses)
  reasons = jnp.where(
    grows[:, None], responses.finish_reasons, FinishReason.CANCELLED
  )
  is_first = jnp.arange(places.size) == 0
  return Beams(
    fork(model, nodes.state, parents),
    responses._replace(finish_reasons=reasons),
    jnp.where(is_first, take(nodes.streams, parents), places),
  )


def _prior(
  responses: Generation, prior: Prior
) -> tuple[Bool[Array, ' W'], Float[Array, ' W']]:
  """Which children of one node an elder one equals, and `P(s, a)` of all."""
  tokens, lengths = responses.tokens, responses.lengths
  same = jnp.all(tokens[:, None] == tokens, axis=-1)
  same &= lengths[:, None] == lengths
  is_twin = jnp.argmax(same, axis=1) < jnp.arange(lengths.size)
  if prior == 'drawn':
    return is_twin, jnp.where(is_twin, 0.0, jnp.mean(same, axis=1))
  log_probs = jnp.sum(responses.log_probs, axis=-1)  # the parent's is shared
  return is_twin, jax.nn.softmax(jnp.where(is_twin, -jnp.inf, log_probs))


def _read(params, keys, steps: StepSampler, children: Beams, streams):
  """What the verifier reads of a step: the response up to it."""
  del params, keys, steps, streams
  return children.responses, jnp.zeros_like(children.responses.lengths)


def _roll_out(params, keys, steps: StepSampler, children: Beams, streams):
  """What the verifier reads of a step: a response that goes on from it."""
  is_running = lambda b: b.responses.finish_reasons == FinishReason.RUNNING
  streams = jnp.broadcast_to(streams, children.streams.shape)

  def step(carry):
    beams, drawn, i = carry
    beams, more = take_step(params, keys, steps, beams)
    return beams, drawn + more, i + 1

  nothing = jnp.zeros_like(children.responses.lengths)
  beams, drawn, _ = jax.lax.while_loop(
    lambda c: jnp.any(is_running(c[0])) & (c[2] < steps.max_steps),
    step,
    (children._replace(streams=streams), nothing, jnp.int32(0)),
  )
  return beams.responses, drawn


def _mean_length(read: Generation, capacity: int) -> Float[Array, ' B']:
  """Of the finished leaves; the capacity if there are none."""
  finished = read.finish_reasons == FinishReason.STOP
  total = jnp.sum(jnp.where(finished, read.lengths, 0), axis=1)
  count = jnp.sum(finished, axis=1)
  return jnp.where(count > 0, total / jnp.maximum(count, 1), capacity)


def _put_rows(model: LanguageModel, nodes: Beams, rows: Beams, start) -> Beams:
  """Writes rows into the places from `start` on."""
  put = lambda old, new: put_slice(old, new, start, axis=1)
  put_cached = lambda old, new: put_slice(
    old, new, start, axis=model.batch_axis + 1
  )
  state = nodes.state._replace(
    suffix=jax.tree.map(put_cached, nodes.state.suffix, rows.state.suffix),
    tokens=put(nodes.state.tokens, rows.state.tokens),
    lengths=put(nodes.state.lengths, rows.state.lengths),
  )
  return Beams(
    state,
    jax.tree.map(put, nodes.responses, rows.responses),
    put(nodes.streams, rows.streams),
  )


def _decode(
  setting: Setting, keys: Key[Array, ' B'], prompt: Prompt, num_samples: int
) -> Selection:
  """The steps of `N` responses; a width of at most the root of `N`."""
  width = 1 if num_samples == 1 else max(2, math.isqrt(num_samples))
  output = mcts(
    setting.params,
    keys,
    prompt,
    setting.steps,
    setting.score_fn,
    num_samples * setting.max_steps // width,
    width,
    budget=num_samples,
  )
  chosen = select_visited(output, prompt, setting.finished_answer_fn)
  return chosen._replace(leaves=tree_leaves(output, setting.max_steps))


METHOD = Method(
  name='mcts',
  title='MCTS',
  file='search/mcts.py',
  paper='2502.07191',
  cost='N T at most',
  what='hybrid',
  how=('search', 'verification'),
  decode=_decode,
  judges_steps=True,
)
