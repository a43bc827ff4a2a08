"""The decode state, and four of the five verbs over it.

  prefill  runs each prompt once, whatever the number of samples
  extend   appends given tokens to rows, without running anything again
  fork     gathers rows by parent and cuts them to a length
  score    log-probabilities of given continuations

The fifth, `sample`, is in `decode.py`. All are pure; a state may be used twice.

The last token of a row is *pending*: it is in `tokens` but the model has not
read it yet. So cutting a row to any length costs nothing, and the model never
reads a token whose successor nobody asks for.

An entry of a row may be an input embedding that is no token's (a soft prompt, a
soft thought). It is pending, cut and copied like any other; `soft` keeps it.

Of a mixture of experts, `routes` says what its routers are told. They are not
of a token but of all that a row reads from then on, and go where the row goes.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Bool, Float, Int, Shaped

from ttc.models.base import (
  Cache,
  Front,
  Inputs,
  LanguageModel,
  embed,
  encode_prompt,
)
from ttc.models.experts import RouteOverride
from ttc.models.routing import check_routes
from ttc.models.sharding import on_auto_axes
from ttc.sampling.draw import log_prob_of
from ttc.types import Params, Prompt


class SoftEntries(NamedTuple):
  """The entries of rows that are embeddings; `tokens` is 0 there."""

  embeddings: Float[Array, 'B R S D']
  is_soft: Bool[Array, 'B R S']  # which entries; none beyond `lengths`

  @property
  def num_entries(self) -> Int[Array, '']:
    """How many there are in all rows."""
    return jnp.sum(self.is_soft)


class DecodeState(NamedTuple):
  """`R` rows for each of `B` prompts, in the middle of decoding."""

  prefix: Any  # the model's memory of the prompts, leaves `[B, ...]`
  prefix_lengths: Int[Array, ' B']
  prefix_logits: Float[Array, 'B V']  # of the first token after the prompt
  suffix: Any  # its memory of each row, leaves `[B, R, ...]`
  tokens: Int[Array, 'B R S']  # what follows the prompt: given, forced or drawn
  lengths: Int[Array, 'B R']
  soft: SoftEntries | None = None  # None: no entry is an embedding
  routes: RouteOverride | None = None  # None: experts are the router's choice

  @property
  def cache_lengths(self) -> Int[Array, 'B R']:
    """How many tokens of each row the model has read: all but the pending."""
    return jnp.maximum(self.lengths - 1, 0)

  @property
  def cache(self) -> Cache:
    """The model's view of this state."""
    return Cache(
      self.prefix,
      self.prefix_lengths,
      self.suffix,
      self.cache_lengths,
      self.routes,
    )


@on_auto_axes
def prefill(
  model: LanguageModel,
  params: Params,
  prompt: Prompt,
  num_rows: int,
  capacity: int,
  *,
  routes: RouteOverride | None = None,
  front: Front | None = None,
) -> DecodeState:
  """Runs `B` prompts once and makes room for `num_rows` responses to each.

  Costs `B T` tokens of the model, independent of `num_rows` and of a front.

  Args:
    model: static.
    params: its parameters.
    prompt: of different lengths; at least one token each.
    num_rows: `R`; static.
    capacity: most tokens a row can hold; static.
    routes: what the routers of a mixture of experts are told from here on. The
      prompt is read once for all rows, so it is read under routes without rows
      or of each prompt, `[B, 1]`; under routes of each row, `[B, R]`, only what
      follows it is, and the first token is drawn by the law of the router.
    front: what all prompts begin with, see `models.read_front`; `prompt` is the
      rest.

  Returns:
    A state with empty rows.

  Raises:
    ValueError: for a prompt without tokens, or with ids outside the vocabulary,
      or routes that the model cannot take, or take beside a front. In a
      compiled program such ids have no law: responses are empty and `INVALID`.
  """
  _check_prompt(model, prompt)
  if routes is not None and front is not None:
    raise ValueError('routes are of whole prompts: a front was read without')
  if routes is not None:
    check_routes(model, routes, prompt.tokens.shape[0], num_rows)
  return _prefill(model, params, prompt, num_rows, capacity, routes, front)


@functools.partial(jax.jit, static_argnums=(0, 3, 4), inline=True)
def _prefill(
  model, params, prompt, num_rows, capacity, routes, front
) -> DecodeState:
  B = prompt.tokens.shape[0]
  of_prompt = None if has_rows(routes) else routes
  prefix, logits = encode_prompt(model, params, prompt, of_prompt, front)
  known = jnp.all(_is_known(model, prompt), axis=1, keepdims=True)
  logits = jnp.where(known, logits, jnp.nan)
  return DecodeState(
    prefix=prefix,
    prefix_lengths=prompt.lengths + (0 if front is None else front.length),
    prefix_logits=logits,
    suffix=model.make_suffix(B, num_rows, capacity),
    tokens=jnp.zeros((B, num_rows, capacity), jnp.int32),
    lengths=jnp.zeros((B, num_rows), jnp.int32),
    routes=routes,
  )


@functools.partial(jax.jit, static_argnums=0, inline=True)
@on_auto_axes
def extend(
  model: LanguageModel,
  params: Params,
  state: DecodeState,
  tokens: Inputs,
  num_tokens: Int[Array, 'B R'],
) -> DecodeState:
  """Appends the first `num_tokens` of `tokens` to each row.

  A "Wait", a verifier's question, the next turn of a dialogue; or thoughts that
  are no tokens. Costs `T` tokens of the model per row. Tokens beyond the
  capacity are dropped; check on the host that there is room.

  Args:
    model: static.
    params: its parameters.
    state: with `R` rows.
    tokens: ids `[B, R, T]`, or input embeddings `[B, R, T, D]`. A state with
      embeddings keeps `[B, R, S, D]` of them.
    num_tokens: how many of the `T` count.

  Returns:
    The state behind them.

  Raises:
    ValueError: at embeddings, if the model reads token ids only.
  """
  start = state.cache_lengths
  appended = _append(state, tokens, num_tokens)
  unread = read_from(model, params, appended, start, tokens.shape[2])
  to_read = appended.cache_lengths - start
  _, cache = model.features(params, unread, to_read, state.cache)
  return appended._replace(suffix=cache.suffix)


@functools.partial(jax.jit, static_argnums=0, inline=True)
@on_auto_axes
def fork(
  model: LanguageModel,
  state: DecodeState,
  parents: Int[Array, 'B M'],
  lengths: Int[Array, 'B M'] | None = None,
) -> DecodeState:
  """A state whose row `m` is a copy of row `parents[m]`, cut to a length.

  Beams, resampling, the kept prefix of a new proposal. Copies `M` rows of the
  suffix cache; prompts are not touched and the model is not run.

  Args:
    model: static; says where its cache has the row axis.
    state: with `R` rows.
    parents: rows to copy, `0 <= parents < R`.
    lengths: cut to these; longer than the parent means not cut.

  Returns:
    A state with `M` rows.
  """
  take = jax.vmap(lambda leaf, index: leaf[index])  # over B
  take_cached = take
  for _ in range(model.batch_axis):
    take_cached = jax.vmap(take_cached, in_axes=(0, None))
  take_all = lambda tree: jax.tree.map(lambda leaf: take(leaf, parents), tree)
  routes = state.routes
  copies = state._replace(
    suffix=jax.tree.map(lambda leaf: take_cached(leaf, parents), state.suffix),
    tokens=take(state.tokens, parents),
    lengths=take(state.lengths, parents),
    soft=take_all(state.soft),
    routes=take_all(routes) if has_rows(routes) else routes,
  )
  return copies if lengths is None else truncate(copies, lengths)


def truncate(state: DecodeState, lengths: Int[Array, 'B R']) -> DecodeState:
  """The same rows, cut to a length; no entry of the cache is touched.

  Args:
    state: with `R` rows.
    lengths: cut to these; longer than a row means not cut.

  Returns:
    A state with `R` rows.
  """
  kept = jnp.minimum(state.lengths, lengths)
  soft = state.soft
  if soft is not None:
    inside = jnp.arange(state.tokens.shape[-1]) < kept[..., None]
    soft = soft._replace(is_soft=soft.is_soft & inside)
  return state._replace(lengths=kept, soft=soft)


@functools.partial(jax.jit, static_argnums=0, inline=True)
@on_auto_axes
def score(
  model: LanguageModel,
  params: Params,
  state: DecodeState,
  tokens: Int[Array, 'B R T'],
  num_tokens: Int[Array, 'B R'],
) -> Float[Array, 'B R T']:
  """Log-probability of each of the given tokens as a continuation of its row.

  Costs `T` tokens of the model per row; the state is not changed. The logits of
  one position exist at a time.

  Args:
    model: static.
    params: its parameters.
    state: rows need room for `T` more tokens.
    tokens: continuations.
    num_tokens: how many of the `T` count.

  Returns:
    Untempered log-probabilities, 0 beyond `num_tokens`.
  """
  return _score(model, params, state, tokens, num_tokens)[0]


@functools.partial(jax.jit, static_argnums=0, inline=True)
@on_auto_axes
def score_stepwise(
  model: LanguageModel,
  params: Params,
  state: DecodeState,
  tokens: Int[Array, 'B R T'],
  num_tokens: Int[Array, 'B R'],
) -> Float[Array, 'B R T']:
  """`score`, but read token by token, the way `sample` reads.

  The same for a model that attends to everything, and `T` times the steps. What
  sparse decoding does to given continuations only this can tell.
  """

  def step(state, xs):
    token, counts = xs
    ones = counts.astype(jnp.int32)
    log_probs, state = _score(model, params, state, token[..., None], ones)
    return state, log_probs[..., 0]

  steps = jnp.arange(tokens.shape[-1])[:, None, None]
  xs = (jnp.moveaxis(tokens, -1, 0), steps < num_tokens)
  _, log_probs = jax.lax.scan(step, state, xs)
  return jnp.moveaxis(log_probs, 0, -1)


def read_from(
  model: LanguageModel,
  params: Params,
  state: DecodeState,
  start: Int[Array, 'B R'],
  size: int,
) -> Inputs:
  """What `model.features` reads of the entries `start` to `start + size - 1`.

  Token ids, 0 beyond the capacity; embeddings if some entry of the state is
  one.
  """
  tokens = _window(state.tokens, start, size)
  if state.soft is None:
    return tokens
  is_soft = _window(state.soft.is_soft, start, size)
  embeddings = _window(state.soft.embeddings, start, size)
  return jnp.where(is_soft[..., None], embeddings, embed(model, params, tokens))


def has_rows(routes: RouteOverride | None) -> bool:
  """Whether routes differ between the rows of a prompt."""
  return routes is not None and routes.bias.shape[1:-2] not in ((), (1,))


def _is_known(model: LanguageModel, prompt: Prompt) -> Bool[Array, 'B T']:
  """Which tokens are in the vocabulary, padding included."""
  is_id = (prompt.tokens >= 0) & (prompt.tokens < model.vocab_size)
  places = jnp.arange(prompt.tokens.shape[1])
  return is_id | (places >= prompt.lengths[:, None])


def _check_prompt(model: LanguageModel, prompt: Prompt) -> None:
  """Refuses prompts that are no token ids; traced ones pass."""
  if any(isinstance(x, Tracer) for x in prompt):
    return
  tokens, lengths = map(np.asarray, prompt)
  if not np.all((lengths > 0) & (lengths <= tokens.shape[1])):
    raise ValueError(
      f'prompt lengths {lengths.tolist()} must be from 1 to the '
      f'{tokens.shape[1]} tokens given'
    )
  read = np.arange(tokens.shape[1]) < lengths[:, None]
  wrong = tokens[read & ((tokens < 0) | (tokens >= model.vocab_size))]
  if wrong.size:
    raise ValueError(
      f'prompt ids {np.unique(wrong).tolist()} are outside the vocabulary of '
      f'{model.vocab_size}'
    )


def _score(model, params, state, tokens, num_tokens):
  """Log-probabilities of appended tokens, and the state after them."""
  appended = _append(state, tokens, num_tokens)
  start = state.cache_lengths
  unread = read_from(model, params, appended, start, tokens.shape[-1])
  to_read = appended.cache_lengths - start
  features, cache = model.features(params, unread, to_read, state.cache)
  # In a row with a pending token, feature t predicts continuation token t; in
  # an empty row it predicts token t + 1, and the prompt predicts token 0.
  is_empty = state.lengths == 0

  def at(t):
    index = jnp.maximum(t - is_empty.astype(jnp.int32), 0)
    here = jnp.take_along_axis(features, index[..., None, None], axis=2)[
      :, :, 0
    ]
    from_prompt = (is_empty & (t == 0))[..., None]
    logits = jnp.where(
      from_prompt, state.prefix_logits[:, None], model.logits(params, here)
    )
    return jax.vmap(jax.vmap(log_prob_of))(logits, tokens[:, :, t])

  steps = jnp.arange(tokens.shape[-1])
  log_probs = jnp.moveaxis(jax.lax.map(at, steps), 0, -1)
  log_probs = jnp.where(steps < num_tokens[..., None], log_probs, 0.0)
  return log_probs, appended._replace(suffix=cache.suffix)


def _append(state, tokens, num_tokens) -> DecodeState:
  """Writes tokens behind each row; the model does not read them."""
  steps = jnp.arange(tokens.shape[2])
  capacity = state.tokens.shape[-1]
  index = jnp.where(
    steps < num_tokens[..., None], state.lengths[..., None] + steps, capacity
  )
  put = jax.vmap(jax.vmap(lambda row, i, x: row.at[i].set(x, mode='drop')))
  if tokens.ndim == 4:
    soft = state.soft or _no_soft_entries(state, tokens)
    state = state._replace(
      soft=SoftEntries(
        put(soft.embeddings, index, tokens),
        put(soft.is_soft, index, jnp.ones(index.shape, bool)),
      )
    )
    tokens = jnp.zeros(index.shape, jnp.int32)
  return state._replace(
    tokens=put(state.tokens, index, tokens),
    lengths=jnp.minimum(state.lengths + num_tokens, capacity),
  )


def _no_soft_entries(state, embeddings) -> SoftEntries:
  shape = (*state.tokens.shape, embeddings.shape[-1])
  return SoftEntries(
    jnp.zeros(shape, embeddings.dtype), jnp.zeros(shape[:-1], bool)
  )


def _window(
  entries: Shaped[Array, 'B R S *D'], start: Int[Array, 'B R'], size: int
) -> Shaped[Array, 'B R W *D']:
  """`size` entries of each row from `start` on, zeros beyond the end."""
  index = start[..., None] + jnp.arange(size)
  get = lambda row, i: row.at[i].get(mode='fill', fill_value=0)
  return jax.vmap(jax.vmap(get))(entries, index)
