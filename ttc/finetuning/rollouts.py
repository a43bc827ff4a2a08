"""Policies that learn from what they sample: roll out, score, update.

  rollout = roll_out(params, keys, prompt, score_fn, group_size, ...)
  state, metrics = update(state, frozen, rollout)

The responses come from the engine's `sample`, whose sampling log-probabilities
are the old policy's. Rewards are what a `ScoreFn` says; the end token is part
of a response and is learned, nothing behind it is. What is trained may be all
parameters or an adapter beside frozen ones; see `Adapt`. An update of `P`
prompts with `G` responses of `T` tokens costs `P G T` tokens of sampling, and
`3 P (Tp + G T)` in passes of the model, `P (Tp + G T)` more for a reference.
"""

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int, Key, PRNGKeyArray

from ttc import sampling as engine
from ttc.finetuning.dynamic_sampling import GroupBuffer, fill_buffer
from ttc.finetuning.policy_gradients import (
  GRPO,
  PolicyGradient,
  advantages,
  check_policy_gradient,
  decoupled_advantages,
  is_alive,
  policy_gradient_loss,
  token_weights,
)
from ttc.finetuning.train_step import Metrics, TrainState, make_train_step
from ttc.models.base import Cache, LanguageModel, encode_prompt
from ttc.models.sharding import on_auto_axes
from ttc.sampling.draw import log_prob_of
from ttc.types import FinishReason, Generation, Params, Prompt, ScoreFn


class Rollout(NamedTuple):
  """`G` responses to each of `P` prompts, and what they earned."""

  prompt: Prompt
  responses: Generation
  rewards: Float[Array, 'P G *K']  # of one kind, or of `K`


class PolicyBatch(NamedTuple):
  """What the loss reads; leaves may be cut along `P`."""

  prompt: Prompt
  tokens: Int[Array, 'P G T']
  advantages: Float[Array, 'P G'] | Float[Array, 'P G T']
  weights: Float[Array, 'P G T']
  old_log_probs: Float[Array, 'P G T']
  ref_log_probs: Float[Array, 'P G T'] | None


# `(frozen, trained) -> params` of the model. All parameters: the second; an
# adapter: `apply_lora`. The frozen ones are the reference of the KL.
Adapt: TypeAlias = Callable[[Params, Params], Params]


def all_parameters(frozen: Params, trained: Params) -> Params:
  """The `Adapt` of full fine-tuning."""
  del frozen
  return trained


def roll_out(
  params: Params,
  keys: Key[Array, ' P'],
  prompt: Prompt,
  score_fn: ScoreFn,
  group_size: int,
  *,
  model: LanguageModel,
  capacity: int,
  stop: engine.StopRules,
  temperature: Float[Array, ''] | float = 1.0,
) -> Rollout:
  """Samples a group of responses to each prompt, and scores them.

  Args:
    params: of the policy.
    keys: `[P]`, one per problem; consumed.
    prompt: the prompts.
    score_fn: the reward.
    group_size: `G`; static.
    model: static.
    capacity: most tokens in a response; static.
    stop: what ends a response.
    temperature: of the policy: its log-probabilities are those at this one.

  Returns:
    The rollout.
  """
  responses = engine.generate(
    params,
    keys,
    prompt,
    group_size,
    model=model,
    capacity=capacity,
    stop=stop,
    sampling=engine.SamplingParams(temperature=temperature),
  )
  return Rollout(prompt, responses, score_fn(prompt, responses))


def roll_out_alive(
  roll_out_fn: Callable[[PRNGKeyArray], Rollout],
  key: PRNGKeyArray,
  max_rounds: int,
) -> tuple[Rollout, Bool[Array, ' P'], Int[Array, '']]:
  """DAPO's dynamic sampling: rolls out until every group has a gradient.

  Args:
    roll_out_fn: `key -> rollout` of `P` fresh prompts.
    key: random key, consumed.
    max_rounds: after which the rest stays empty; static.

  Returns:
    `P` groups, those that are alive first; which they are; and the rounds.
  """

  def step(carry):
    buffer, round_ = carry
    rollout = roll_out_fn(jax.random.fold_in(key, round_))
    alive = is_alive(_total(rollout.rewards))
    return fill_buffer(buffer, rollout, alive), round_ + 1

  shapes = jax.eval_shape(roll_out_fn, key)
  empty = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
  buffer = GroupBuffer(empty, jnp.zeros(empty.rewards.shape[:1], bool))
  buffer, rounds = jax.lax.while_loop(
    lambda carry: ~jnp.all(carry[0].is_filled) & (carry[1] < max_rounds),
    step,
    (buffer, jnp.int32(0)),
  )
  return buffer.groups, buffer.is_filled, rounds


@on_auto_axes
def response_log_probs(
  model: LanguageModel,
  params: Params,
  prompt: Prompt,
  tokens: Int[Array, 'P G T'],
  temperature: Float[Array, ''] | float = 1.0,
) -> Float[Array, 'P G T']:
  """Log-probability of each token of given responses, with a gradient.

  Prompts are read once for all their responses.

  Args:
    model: static.
    params: its parameters.
    prompt: of `P` problems, padded right.
    tokens: of the responses, padded right.
    temperature: divides the logits.

  Returns:
    The log-probabilities; those of padding mean nothing.
  """
  P, G, T = tokens.shape
  prefix, first = encode_prompt(model, params, prompt)
  none = jnp.zeros((P, G), jnp.int32)
  logits = jnp.broadcast_to(first[:, None, None], (P, G, 1, first.shape[-1]))
  if T > 1:  # position t predicts token t + 1: the last is not read
    features, _ = model.features(
      params,
      tokens[..., :-1],
      none + T - 1,
      Cache(prefix, prompt.lengths, None, none),
    )
    logits = jnp.concatenate([logits, model.logits(params, features)], axis=2)
  logits = logits / temperature
  of_token = jax.vmap(jax.vmap(jax.vmap(log_prob_of)))
  return of_token(logits, tokens)


def policy_batch(
  rollout: Rollout,
  options: PolicyGradient = GRPO,
  *,
  mask: Bool[Array, 'P G T'] | None = None,
  is_filled: Bool[Array, ' P'] | None = None,
  given: Float[Array, 'P G'] | Float[Array, 'P G T'] | None = None,
  ref_log_probs: Float[Array, 'P G T'] | None = None,
) -> PolicyBatch:
  """Advantages and weights of a whole accumulation window.

  Args:
    rollout: what was sampled.
    options: of the loss.
    mask: tokens to learn; None for all of the responses. Forced ones are not
      the policy's.
    is_filled: groups that count; None for all.
    given: advantages of responses or of tokens, in the place of what `options`
      makes of the rewards; None for that.
    ref_log_probs: under the reference.

  Returns:
    The batch.
  """
  responses, rewards = rollout.responses, rollout.rewards
  P, _, T = responses.tokens.shape
  written = jnp.arange(T) < responses.lengths[..., None]
  mask = written if mask is None else mask & written
  if options.mask_truncated:
    stopped = responses.finish_reasons == FinishReason.STOP
    mask &= stopped[..., None]
  alive = jnp.ones((P,), bool) if is_filled is None else is_filled
  if given is not None:
    gain = given
  elif options.decoupled:
    gain = decoupled_advantages(
      jnp.moveaxis(rewards.reshape(*rewards.shape[:2], -1), -1, 0),
      ddof=options.ddof,
      epsilon=options.epsilon,
      is_filled=is_filled,
    )
  else:
    gain = advantages(_total(rewards), options, is_filled)
  if options.drop_dead_groups:
    alive &= jnp.any(gain.reshape(P, -1) != 0, axis=1)
  mask &= alive[:, None, None]
  return PolicyBatch(
    prompt=rollout.prompt,
    tokens=responses.tokens,
    advantages=gain,
    weights=token_weights(mask, options.aggregation, options.max_length),
    old_log_probs=responses.sampling_log_probs,
    ref_log_probs=ref_log_probs,
  )


def make_policy_update(
  model: LanguageModel,
  optimizer: optax.GradientTransformation,
  options: PolicyGradient = GRPO,
  *,
  adapt: Adapt = all_parameters,
  temperature: Float[Array, ''] | float = 1.0,
  num_epochs: int = 1,
  num_micro_batches: int = 1,
  group_parts: int = 1,
  dtype: str | None = None,
) -> Callable[..., tuple[TrainState, Metrics]]:
  """Makes the update from a rollout.

  Args:
    model: static; of `dtype` if that is given.
    optimizer: of what is trained.
    options: of the loss.
    adapt: what is trained, and how it makes parameters.
    temperature: of the sampler.
    num_epochs: steps on the same rollout. With one the ratio of policies is 1
      and no clip matters.
    num_micro_batches: pieces of the window whose gradients are added; divides
      `P` times `group_parts`. Nothing depends on it but memory.
    group_parts: of each group, before; each reads the prompt. Divides `G`.
    dtype: to compute in, with float32 parameters and gradients; None for that
      of the parameters.

  Returns:
    A pure `update(state, frozen, rollout, **of the batch) -> (state, metrics)`;
    the keywords are `mask`, `is_filled` and `given` of `policy_batch`.

  Raises:
    ValueError: for options that mean nothing.
  """
  check_policy_gradient(options)
  has_kl = isinstance(options.kl_weight, jax.Array) or options.kl_weight > 0

  def log_probs(params, prompt, tokens):
    params = in_precision(params, dtype)
    return response_log_probs(model, params, prompt, tokens, temperature)

  def update(state, frozen, rollout, mask=None, is_filled=None, given=None):
    read = rollout.prompt, rollout.responses.tokens
    ref = log_probs(frozen, *read) if has_kl else None
    batch = policy_batch(
      rollout,
      options,
      mask=mask,
      is_filled=is_filled,
      given=given,
      ref_log_probs=ref,
    )
    batch = _in_parts(batch, group_parts)

    def loss_fn(trained, batch):
      now = log_probs(adapt(frozen, trained), batch.prompt, batch.tokens)
      loss, sums = policy_gradient_loss(
        now,
        batch.old_log_probs,
        batch.advantages,
        batch.weights,
        options,
        batch.ref_log_probs,
      )
      return loss, sums._asdict()

    step = make_train_step(
      loss_fn, optimizer, num_micro_batches=num_micro_batches, has_sums=True
    )
    state, metrics = jax.lax.scan(
      lambda state, _: step(state, batch), state, length=num_epochs
    )
    last = {name: x[-1] for name, x in metrics.items()}
    tokens = jnp.maximum(last.pop('tokens'), 1)
    for name in ('clipped', 'ratio', 'kl'):
      last[name] /= tokens
    return state, last | rollout_metrics(rollout)

  return update


def _in_parts(batch: PolicyBatch, num_parts: int) -> PolicyBatch:
  """Parts of groups as groups of their own, each with its prompt."""
  if num_parts == 1:
    return batch
  P, G, _ = batch.tokens.shape
  if num_parts < 1 or G % num_parts:
    raise ValueError(
      f'group_parts={num_parts} does not divide the {G} responses of a group'
    )

  def part(leaf):
    return leaf.reshape(P * num_parts, G // num_parts, *leaf.shape[2:])

  again = lambda leaf: jnp.repeat(leaf, num_parts, axis=0)
  prompt = jax.tree.map(again, batch.prompt)
  return jax.tree.map(part, batch._replace(prompt=None))._replace(prompt=prompt)


def rollout_metrics(rollout: Rollout) -> Metrics:
  """What a rollout says of its policy: means over responses."""
  total = _total(rollout.rewards)
  lengths = rollout.responses.lengths.astype(jnp.float32)
  reasons = rollout.responses.finish_reasons
  return {
    'reward': jnp.mean(total),
    'length': jnp.mean(lengths),
    'truncated': jnp.mean((reasons == FinishReason.LENGTH).astype(jnp.float32)),
    'alive': jnp.mean(is_alive(total).astype(jnp.float32)),
    'sampled': jnp.sum(lengths),
  }


def in_precision(params: Params, dtype: str | None) -> Params:
  """Parameters cast to compute with; a gradient comes back in their own."""
  if dtype is None:
    return params
  is_float = lambda x: jnp.issubdtype(x.dtype, jnp.floating)
  cast = lambda x: x.astype(dtype) if is_float(x) else x
  return jax.tree.map(cast, params)


def _total(rewards: Float[Array, 'P G *K']) -> Float[Array, 'P G']:
  """The sum over kinds."""
  return rewards.reshape(*rewards.shape[:2], -1).sum(axis=-1)
