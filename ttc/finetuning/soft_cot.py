r"""SoftCoT and SoftCoT++: thoughts that are embeddings, from a small assistant.

SoftCoT: Xu et al., 2025, arXiv 2502.12134. SoftCoT++: Xu et al., 2025, arXiv
2505.11484. A frozen assistant `g` reads the prompt and then the initial token
`e_k`, `L` times over; its last hidden states at these `L` positions, through
one matrix, stand behind the prompt of a frozen target `f` as input embeddings:

.. math:: Z_k = H_k W^\top, \quad H_k = g(x, e_k, \dots, e_k)
    \in \mathbb{R}^{L \times d_g}, \quad y \sim f(\cdot \mid x, Z_k)

Only `W` and the `K` vectors `e_k` are trained, on given responses `y`, and a
contrastive term keeps the `K` thoughts about one problem apart:

.. math:: \frac1B \sum_b \Bigl[ \sum_k -\tfrac1{|y_b|}
    \log f(y_b \mid x_b, Z_{bk}) + \tfrac\lambda K
    \mathrm{InfoNCE}(Z_{b1}, \dots, Z_{bK}) \Bigr]

With `K = 1` the second term is 0 and this is SoftCoT. Any method that chooses
among samples then chooses among `N`, sample `i` following thought `i mod K`.
Costs `T` generated tokens for each of `N` samples, after one reading of the
prompt by each model, `K L` entries by the assistant and `N L` by the target;
a step of training costs the target `K (L + T)` entries per problem.

The released code takes the assistant's states under `no_grad`, so `e_k` never
leave their initial values, and adds a bias to `W`. Here `e_k` is trained
through the assistant unless `through_assistant` is False. A batch has the mean
of the losses of its problems.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int, Key, PRNGKeyArray

from ttc.models.base import Cache, LanguageModel, embed, encode_prompt
from ttc.sampling.controllers import Controller
from ttc.sampling.decode import sample
from ttc.sampling.logits import SamplingParams
from ttc.sampling.responses import first_tokens
from ttc.sampling.state import DecodeState, extend, prefill
from ttc.sampling.stopping import Policy, StopRules, wait_for_all
from ttc.types import Generation, Params, Prompt


class SoftPair(NamedTuple):
  """The two models; static. Both need `LanguageModel.embed`."""

  assistant: LanguageModel
  target: LanguageModel


class SoftThoughts(NamedTuple):
  """What is trained: `K` initial tokens and the projection."""

  initial: Float[Array, 'K G']  # `e_k`, in the assistant's width
  projection: Float[Array, 'D G']  # `W`, into the target's width


class SoftCoTParams(NamedTuple):
  """All parameters; those of the two models are frozen."""

  assistant: Params
  target: Params
  soft: SoftThoughts


class SoftCoTBatch(NamedTuple):
  """`B` problems to learn from."""

  prompt: Prompt
  responses: Int[Array, 'B T']  # with their end token, padded right
  lengths: Int[Array, ' B']
  keys: Key[Array, ' B']  # of the dropout, one per problem


def init_soft_thoughts(
  key: PRNGKeyArray,
  pair: SoftPair,
  params: tuple[Params, Params],
  num_thoughts: int,
  *,
  spread: Float[Array, ''] | float = 0.1,
) -> SoftThoughts:
  """Initial tokens close to each other, and a random projection.

  The reference begins from unused tokens of one vocabulary, which are nearly
  equal. Here it is the mean of the assistant's embeddings, plus normal noise.
  The projection is normal, with thoughts as long as the target's embeddings.

  Args:
    key: random key, consumed.
    pair: the models; static.
    params: of the assistant and of the target.
    num_thoughts: `K`, 10 in the paper; static.
    spread: standard deviation of the noise, in root mean squares of the
      assistant's embeddings.

  Returns:
    What is to be trained.

  Raises:
    ValueError: if a model reads token ids only.
  """
  initial_key, projection_key = jax.random.split(key)
  vocabulary = [
    embed(model, p, jnp.arange(model.vocab_size)).astype(jnp.float32)
    for model, p in zip(pair, params, strict=True)
  ]
  rms = [jnp.sqrt(jnp.mean(jnp.square(table))) for table in vocabulary]
  G, D = (table.shape[-1] for table in vocabulary)
  noise = jax.random.normal(initial_key, (num_thoughts, G))
  projection = jax.random.normal(projection_key, (D, G))
  return SoftThoughts(
    initial=jnp.mean(vocabulary[0], axis=0) + spread * rms[0] * noise,
    projection=rms[1] * G**-0.5 * projection,
  )


def think(
  pair: SoftPair,
  params: SoftCoTParams,
  prompt: Prompt,
  num_positions: int,
  *,
  through_assistant: bool = True,
) -> Float[Array, 'B K L D']:
  """The `K` soft thoughts about each of `B` prompts.

  Args:
    pair: the models; static.
    params: of all.
    prompt: as the assistant reads it.
    num_positions: `L`; static. 32 for training in the papers, 4 for use.
    through_assistant: whether a gradient reaches `params.soft.initial`, by way
      of the assistant; static.

  Returns:
    Input embeddings of the target.
  """
  frozen = jax.lax.stop_gradient(params.assistant)
  B, (K, G) = prompt.tokens.shape[0], params.soft.initial.shape
  prefix, _ = encode_prompt(pair.assistant, frozen, prompt)
  initial = jnp.broadcast_to(
    params.soft.initial[None, :, None], (B, K, num_positions, G)
  )
  none = jnp.zeros((B, K), jnp.int32)
  hidden, _ = pair.assistant.features(
    frozen,
    initial,
    none + num_positions,
    Cache(prefix, prompt.lengths, None, none),
  )
  if not through_assistant:
    hidden = jax.lax.stop_gradient(hidden)
  return hidden.astype(jnp.float32) @ params.soft.projection.T


def soft_cot_loss(
  pair: SoftPair,
  params: SoftCoTParams,
  batch: SoftCoTBatch,
  num_positions: int,
  *,
  contrastive_weight: Float[Array, ''] | float = 1.0,
  dropout_rate: Float[Array, ''] | float = 0.5,
  temperature: Float[Array, ''] | float = 0.05,
  through_assistant: bool = True,
) -> Float[Array, '']:
  """The loss of SoftCoT++, in nats; its gradient is 0 but for `params.soft`.

  Args:
    pair: the models; static.
    params: of all.
    batch: problems with the responses to learn.
    num_positions: `L`; static.
    contrastive_weight: lambda, 1 in the released code.
    dropout_rate: see `info_nce`.
    temperature: see `info_nce`.
    through_assistant: see `think`; static.

  Returns:
    The mean over problems of the sum over thoughts of the mean cross-entropy
    over tokens, plus `lambda / K` times the mean contrastive loss.
  """
  thoughts = think(
    pair,
    params,
    batch.prompt,
    num_positions,
    through_assistant=through_assistant,
  )
  B, K = thoughts.shape[:2]
  frozen = jax.lax.stop_gradient(params.target)
  prefix, _ = encode_prompt(pair.target, frozen, batch.prompt)
  # Entry L - 1 + t predicts token t of the response: the last is not read.
  read = embed(pair.target, frozen, batch.responses[:, None, :-1])
  read = jnp.broadcast_to(read, (B, K, *read.shape[2:]))
  none = jnp.zeros((B, K), jnp.int32)
  features, _ = pair.target.features(
    frozen,
    jnp.concatenate([thoughts, read.astype(thoughts.dtype)], axis=2),
    none + num_positions + batch.lengths[:, None] - 1,
    Cache(prefix, batch.prompt.lengths, None, none),
  )
  logits = pair.target.logits(frozen, features[:, :, num_positions - 1 :])
  losses = optax.softmax_cross_entropy_with_integer_labels(
    logits, jnp.broadcast_to(batch.responses[:, None], logits.shape[:-1])
  )
  counts = jnp.arange(losses.shape[-1]) < batch.lengths[:, None, None]
  total = jnp.sum(jnp.where(counts, losses, 0.0), axis=(1, 2))
  contrast = jax.vmap(info_nce, in_axes=(0, 0, None, None))(
    batch.keys, thoughts, dropout_rate, temperature
  )
  return jnp.mean(total / batch.lengths + contrastive_weight * contrast / K)


def info_nce(
  key: PRNGKeyArray,
  thoughts: Float[Array, 'K L D'],
  dropout_rate: Float[Array, ''] | float = 0.5,
  temperature: Float[Array, ''] | float = 0.05,
) -> Float[Array, '']:
  r"""How hard it is to tell a thought, half of it dropped, from the others.

  .. math:: -\frac1K \sum_k \log \frac{\exp(z_k \cdot z'_k / \tau)}
      {\sum_j \exp(z_k \cdot z'_j / \tau)}

  with :math:`z_k` the thought as one vector of length 1 and :math:`z'_k` the
  same after dropout (as in SimCSE, arXiv 2104.08821). At most about `log K`,
  which equal thoughts have; orthogonal ones, without dropout,
  `log(1 + (K - 1) exp(-1 / temperature))`.

  Args:
    key: random key, consumed.
    thoughts: about one problem.
    dropout_rate: chance that an element of the second copy is dropped.
    temperature: tau.

  Returns:
    The loss, in nats.
  """
  kept = jax.random.bernoulli(key, 1 - dropout_rate, thoughts.shape)
  whole, dropped = _directions(thoughts), _directions(thoughts * kept)
  losses = optax.softmax_cross_entropy_with_integer_labels(
    whole @ dropped.T / temperature, jnp.arange(len(thoughts))
  )
  return jnp.mean(losses)


def mean_cosine(thoughts: Float[Array, 'K L D']) -> Float[Array, '']:
  """Mean cosine of the `K (K - 1) / 2` pairs of thoughts; NaN for one."""
  K = thoughts.shape[0]
  unit = _directions(thoughts)
  return (jnp.sum(unit @ unit.T) - jnp.sum(unit**2)) / (K * (K - 1))


def prefill_thoughts(
  pair: SoftPair,
  params: SoftCoTParams,
  prompt: Prompt,
  sample_ids: Int[Array, 'B N'],
  num_positions: int,
  capacity: int,
  *,
  assistant_prompt: Prompt | None = None,
) -> DecodeState:
  """Prompts that have been read, each row with its thought behind them.

  Args:
    pair: the models; static.
    params: of all.
    prompt: as the target reads it.
    sample_ids: of the rows; sample `i` gets thought `i mod K`.
    num_positions: `L`; static.
    capacity: most tokens in a response; static.
    assistant_prompt: as the assistant reads it; None for the same.

  Returns:
    A state with `N` rows of length `L`, to `sample` from.
  """
  B, N = sample_ids.shape
  thoughts = think(pair, params, assistant_prompt or prompt, num_positions)
  own = jax.vmap(lambda thoughts, index: thoughts[index])(
    thoughts, sample_ids % thoughts.shape[1]
  )
  room = num_positions + capacity
  state = prefill(pair.target, params.target, prompt, N, room)
  length = jnp.full((B, N), num_positions, jnp.int32)
  return extend(pair.target, params.target, state, own, length)


def generate_with_thoughts(
  params: SoftCoTParams,
  keys: Key[Array, ' B'],
  prompt: Prompt,
  num_samples: int,
  *,
  pair: SoftPair,
  num_positions: int,
  capacity: int,
  stop: StopRules,
  assistant_prompt: Prompt | None = None,
  sampling: SamplingParams = SamplingParams(),  # noqa: B008
  max_new_tokens: Int[Array, '*A'] | int | None = None,
  active: Bool[Array, '*A'] | None = None,
  sample_ids: Int[Array, '*A'] | None = None,
  policy: Policy = wait_for_all,
  controller: Controller | None = None,
) -> Generation:
  """`N` responses to each of `B` prompts, after their soft thoughts.

  With what is static given by `functools.partial` this is the `SampleFn` that
  search methods take.

  Args:
    params: of all.
    keys: `[B]`, one per problem; consumed.
    prompt: as the target reads it.
    num_samples: `N`; static.
    pair: the models; static.
    num_positions: `L`; static.
    capacity: most tokens in a response; static.
    stop: what ends a response.
    assistant_prompt: as the assistant reads it; None for the same.
    sampling: this and what follows, see `sample`.
    max_new_tokens: limit of each response.
    active: responses to draw.
    sample_ids: what identifies each response, and says which thought is its.
    policy: when to end a problem early.
    controller: forces templates into responses.

  Returns:
    The responses. The thoughts are no part of them.
  """
  B, N = prompt.tokens.shape[0], num_samples
  ids = jnp.arange(N) if sample_ids is None else sample_ids
  ids = jnp.broadcast_to(ids, (B, N))
  state = prefill_thoughts(
    pair,
    params,
    prompt,
    ids,
    num_positions,
    capacity,
    assistant_prompt=assistant_prompt,
  )
  responses = sample(
    pair.target,
    params.target,
    keys,
    state,
    stop,
    sampling=sampling,
    max_new_tokens=max_new_tokens,
    active=active,
    sample_ids=ids,
    policy=policy,
    controller=controller,
  ).generation
  return first_tokens(responses, capacity)


def _directions(thoughts: Float[Array, 'K L D']) -> Float[Array, 'K LD']:
  """Each thought as one vector of length 1, or of zeros."""
  flat = thoughts.reshape(len(thoughts), -1)
  return flat * jax.lax.rsqrt(
    jnp.maximum(jnp.sum(flat**2, axis=-1, keepdims=True), 1e-12)
  )
