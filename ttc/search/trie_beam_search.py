r"""Generative retrieval: beam search for the items of a corpus, code by code.

An item has a word of `M` codes (a semantic id), and a language model that has
read a query writes the word, as in "Test-time reranking for generative
retrieval", 2508.18132. Not every word is an item's: the trie of the corpus says
which codes may follow, and the others are masked. Each step keeps the `W`
likeliest of `W V` continuations, exactly:

.. math:: \log p(c_{1:t} | q) = \log p(c_{1:t-1} | q) + \log p(c_t | c_{<t}, q)

With `renormalise`, the last term is taken among the legal codes, so that the
probabilities of all items sum to one; else it is the model's own, and what is
missing to one is the mass on words of no item. A beam as wide as the corpus
returns every item.

Costs `W M` generated tokens, `M` in sequence, whatever the size of the corpus;
its trie takes at most `I M + 1` rows of `V` numbers for `I` items.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from ttc.models.base import LanguageModel
from ttc.sampling.state import fork, prefill
from ttc.types import Params, Prompt


class Trie(NamedTuple):
  """The words of a corpus as a table; node 0 is the root."""

  next_node: Int[Array, 'nodes V']  # -1 where a code is illegal
  items: Int[Array, ' nodes']  # whose word ends here; -1 for none's


class RetrievalOutput(NamedTuple):
  """The `W` likeliest words for each of `B` queries, best first."""

  items: Int[Array, 'B W']  # -1 for a word of no item, or where there is none
  words: Int[Array, 'B W M']
  log_probs: Float[Array, 'B W']  # `-inf` where there is no word


class _Beams(NamedTuple):
  """`W` beginnings of words for each of `B` queries."""

  log_probs: Float[Array, 'B W']
  nodes: Int[Array, 'B W']  # -1 off the trie


def build_trie(words: Int[np.ndarray, 'I M'], vocab_size: int) -> Trie:
  """The trie of a corpus; runs on the host.

  Args:
    words: the codes of each item.
    vocab_size: `V`, of the model that writes them.

  Returns:
    Nodes by depth, those of equal depth in the order of their words.

  Raises:
    ValueError: if a code lies outside the vocabulary, or two words are equal.
  """
  words = np.asarray(words)
  outside = words[(words < 0) | (words >= vocab_size)]
  if outside.size:
    raise ValueError(f'code {outside[0]} must lie in 0..{vocab_size - 1}')
  table = np.full((words.size + 1, vocab_size), -1, np.int32)
  nodes, num_nodes = np.zeros(len(words), np.int32), 1
  for codes in words.T:
    steps, child = np.unique(
      np.stack([nodes, codes]), axis=1, return_inverse=True
    )
    table[tuple(steps)] = num_nodes + np.arange(steps.shape[1])
    nodes = num_nodes + child.ravel()
    num_nodes += steps.shape[1]
  distinct, count = np.unique(nodes, return_counts=True)
  if np.any(count > 1):
    twins = np.flatnonzero(nodes == distinct[np.argmax(count)])
    raise ValueError(f'items {twins.tolist()} have the same word')
  items = np.full(num_nodes, -1, np.int32)
  items[nodes] = np.arange(len(words))
  return Trie(jnp.asarray(table[:num_nodes]), jnp.asarray(items))


def trie_beam_search(
  model: LanguageModel,
  params: Params,
  prompt: Prompt,
  trie: Trie,
  word_length: int,
  width: int,
  *,
  constrain: bool = True,
  renormalise: bool = True,
) -> RetrievalOutput:
  """Finds the likeliest words of a corpus.

  Args:
    model: static; its tokens are the codes, beside whatever a query is made of.
    params: its parameters.
    prompt: the queries.
    trie: of the corpus.
    word_length: `M`, codes in every word; static.
    width: `W`, beams; static.
    constrain: keep to the trie; static. False for a control: the model writes
      what it likes, and what is no item's comes out as -1.
    renormalise: normalise over the codes that may follow; static.

  Returns:
    A `RetrievalOutput`; ties go to the better beginning, then to the lower
    code.
  """
  B, W, V = prompt.tokens.shape[0], width, model.vocab_size
  state = prefill(model, params, prompt, W, word_length)

  def grow(state, beams, logits, t):
    on_trie = beams.nodes[..., None] >= 0  # what has left it stays off
    nodes = jnp.where(on_trie, trie.next_node[beams.nodes], -1)
    legal = (nodes >= 0) | (not constrain)
    among = jnp.where(legal, logits, -jnp.inf) if renormalise else logits
    norm = jax.nn.logsumexp(among, axis=-1, keepdims=True)
    steps = jnp.where(legal, logits - norm, -jnp.inf)
    totals = (beams.log_probs[..., None] + steps).reshape(B, W * V)
    totals = jnp.where(jnp.isnan(totals), -jnp.inf, totals)  # never the best
    log_probs, index = jax.lax.top_k(totals, W)
    parents, codes = jnp.divmod(index, V)
    state = fork(model, state, parents)
    state = state._replace(
      tokens=state.tokens.at[:, :, t].set(codes), lengths=state.lengths + 1
    )
    nodes = jnp.take_along_axis(nodes.reshape(B, W * V), index, axis=1)
    return state, _Beams(log_probs, nodes)

  def body(carry, t):
    state, beams = carry
    pending = jax.lax.dynamic_slice_in_dim(state.tokens, t - 1, 1, axis=2)
    ones = jnp.ones((B, W), jnp.int32)
    features, cache = model.features(params, pending, ones, state.cache)
    state = state._replace(suffix=cache.suffix)
    logits = model.logits(params, features[:, :, 0])
    return grow(state, beams, logits, t), None

  # One beam at first: the others would be its copies.
  alone = jnp.where(jnp.arange(W) == 0, 0.0, -jnp.inf)
  beams = _Beams(jnp.tile(alone, (B, 1)), jnp.zeros((B, W), jnp.int32))
  logits = jnp.broadcast_to(state.prefix_logits[:, None], (B, W, V))
  carry = grow(state, beams, logits, 0)
  (state, beams), _ = jax.lax.scan(body, carry, jnp.arange(1, word_length))
  found = (beams.nodes >= 0) & (beams.log_probs > -jnp.inf)
  items = jnp.where(found, trie.items[beams.nodes], -1)
  return RetrievalOutput(items, state.tokens, beams.log_probs)
