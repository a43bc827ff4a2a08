r"""Policy gradients over groups of responses: one loss with named options.

GRPO (arXiv 2402.03300), RLOO (2402.14740), DAPO (2503.14476), Dr. GRPO
(2503.20783), GSPO (2507.18071) and GDPO (2601.05242) are choices of the same
three pieces:

  advantages   what a response earned beyond its group, scaled or not
  weights      of each token in the sum, whose total is that of a whole window
  loss         a clipped ratio of policies, and a KL to a reference

.. math:: L = \sum_{it} w_{it} \Bigl[ -\min\bigl(\rho_{it} A_i,
    \mathrm{clip}(\rho_{it}, 1 - \epsilon_l, 1 + \epsilon_h) A_i\bigr)
    + \beta\, \mathrm{KL}_{it} \Bigr]

The loss is a sum, so the gradients of micro-batches add up to that of the
window they are of, whatever the window is cut into. On the policy that sampled
its value says little (about 0 for GRPO): look at rewards, not at the loss.

(`ttc.agents.ppo` has the symmetric clip of one ratio per action; there rows are
steps, all weigh the same, and none of the options below is wanted.)
"""

from typing import Any, Literal, NamedTuple, TypeAlias, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

Baseline = Literal['mean', 'leave_one_out']
Scale = Literal['group', 'batch', 'none']
Ratio = Literal['token', 'sequence', 'sequence_token']
KlForm = Literal['k1', 'k2', 'k3']
Aggregation = Literal[
  'sequence_mean_token_mean', 'token_mean', 'sequence_mean_token_scale'
]
Number: TypeAlias = Any  # a number, or a traced array
_MOST_LOG_RATIO = 20.0


class PolicyGradient(NamedTuple):
  """The options; names are static, numbers may be traced.

  Attributes:
    baseline: what is taken off a reward: the mean of its group, or that of the
      others in it.
    scale: what it is divided by: the standard deviation of its group, of the
      batch, or nothing.
    ddof: of that deviation; the released trainers have 1.
    epsilon: added to it. 1e-6 in Tunix, 1e-4 in TRL, 1e-8 in Dr. GRPO's code.
    ratio: of policies for each `token`; one for the whole response, its
      geometric mean (`sequence`, GSPO); or that one's value with a token's own
      gradient (`sequence_token`).
    clip_low: the ratio counts down to `1 - clip_low`.
    clip_high: and up to `1 + clip_high`; larger is DAPO's clip-higher.
    dual_clip: a bad response costs at most so many times its advantage (3 to
      10, above 1); None for any.
    max_ratio: ratios are cut to this first; None for any (TRL's `delta`).
    kl_weight: beta, of the KL to the reference.
    kl_form: its estimate, with `d = log(reference / policy)`: `k1` is `-d`,
      `k2` `d^2 / 2`, `k3` `exp(d) - d - 1`. The gradient of the mean of `k1`
      is 0, of `k2` that of KL(policy, reference), of `k3` that of
      KL(reference, policy).
    aggregation: see `token_weights`.
    max_length: of `sequence_mean_token_scale`; None for the room there is.
    drop_dead_groups: whether groups with equal rewards leave the denominators,
      and their KL the loss.
    mask_truncated: whether responses that were cut at their limit are not
      learned from; they still count in the baseline.
    decoupled: whether each of several rewards is normalised in its group before
      they are added (GDPO), see `decoupled_advantages`.
  """

  baseline: Baseline = 'mean'
  scale: Scale = 'group'
  ddof: int = 1
  epsilon: Number = 1e-6
  ratio: Ratio = 'token'
  clip_low: Number = 0.2
  clip_high: Number = 0.2
  dual_clip: Number | None = None
  max_ratio: Number | None = None
  kl_weight: Number = 0.0
  kl_form: KlForm = 'k3'
  aggregation: Aggregation = 'sequence_mean_token_mean'
  max_length: int | None = None
  drop_dead_groups: bool = False
  mask_truncated: bool = False
  decoupled: bool = False


GRPO = PolicyGradient()
DR_GRPO = PolicyGradient(scale='none', aggregation='sequence_mean_token_scale')
RLOO = PolicyGradient(
  baseline='leave_one_out',
  scale='none',
  aggregation='sequence_mean_token_scale',
)
DAPO = PolicyGradient(
  clip_high=0.28, aggregation='token_mean', drop_dead_groups=True
)
GDPO = PolicyGradient(decoupled=True, epsilon=1e-4)
GSPO = PolicyGradient(ratio='sequence', clip_low=3e-4, clip_high=4e-4)


def check_policy_gradient(options: PolicyGradient) -> None:
  """Raises ValueError for options that mean nothing; traced ones pass."""
  names = {
    'baseline': Baseline,
    'scale': Scale,
    'ratio': Ratio,
    'kl_form': KlForm,
    'aggregation': Aggregation,
  }
  for name, kind in names.items():
    value = getattr(options, name)
    if value not in get_args(kind):
      raise ValueError(f'{name}={value!r} is not one of {get_args(kind)}')
  numbers = (
    ('ddof', options.ddof in (0, 1), '0 or 1'),
    ('epsilon', _holds(options.epsilon, lambda x: x >= 0), 'at least 0'),
    ('clip_low', _holds(options.clip_low, lambda x: x >= 0), 'at least 0'),
    ('clip_high', _holds(options.clip_high, lambda x: x >= 0), 'at least 0'),
    ('dual_clip', _holds(options.dual_clip, lambda x: x > 1), 'above 1'),
    ('max_ratio', _holds(options.max_ratio, lambda x: x > 0), 'above 0'),
    ('kl_weight', _holds(options.kl_weight, lambda x: x >= 0), 'at least 0'),
    ('max_length', _holds(options.max_length, lambda x: x > 0), 'above 0'),
  )
  for name, holds, accepted in numbers:
    if not holds:
      raise ValueError(f'{name}={getattr(options, name)} must be {accepted}')
  if options.ratio == 'sequence' and options.aggregation == 'token_mean':
    raise ValueError(
      "ratio='sequence' has one term a response; aggregation='token_mean' "
      'would weigh it by its length'
    )


def is_alive(rewards: Float[Array, '*P G']) -> Bool[Array, '*P']:
  """Which groups have rewards that differ; the others teach nothing.

  A reward that is no number counts as different: it shall be seen in the loss.
  """
  return jnp.max(rewards, axis=-1) != jnp.min(rewards, axis=-1)


def advantages(
  rewards: Float[Array, 'P G'],
  options: PolicyGradient = GRPO,
  is_filled: Bool[Array, ' P'] | None = None,
) -> Float[Array, 'P G']:
  r"""What each response earned beyond its group.

  .. math:: A_i = \frac{r_i - m}{s + \epsilon}

  with `m` the mean of the group, or of its others: `G / (G - 1)` times as
  much. Exactly 0 in a group whose rewards are equal, also if it has one.

  Args:
    rewards: `G` responses to each of `P` prompts.
    options: `baseline`, `scale`, `ddof` and `epsilon` are used.
    is_filled: groups that the deviation of a batch is of; None for all.

  Returns:
    The advantages.
  """
  G = rewards.shape[-1]
  mean = jnp.mean(rewards, axis=-1, keepdims=True)
  centred = rewards - mean
  if options.baseline == 'leave_one_out':
    centred *= G / max(G - 1, 1)
  if options.scale != 'none':
    if options.scale == 'group':
      deviation = _deviation(rewards, options.ddof)
    else:
      deviation = _batch_moments(rewards, options.ddof, is_filled)[1]
    centred /= deviation + options.epsilon
  return jnp.where(is_alive(rewards)[..., None], centred, 0.0)


def decoupled_advantages(
  rewards: Float[Array, 'K P G'],
  weights: Float[Array, ' K'] | None = None,
  *,
  ddof: int = 1,
  epsilon: Number = 1e-4,
  is_filled: Bool[Array, ' P'] | None = None,
) -> Float[Array, 'P G']:
  """GDPO: each of `K` rewards is normalised in its group before they are added.

  A sum that is normalised gives two mixes of rewards with the same sum the same
  advantage. The sum of what was normalised is normalised once more, over the
  whole batch.

  Args:
    rewards: of `K` kinds, for `G` responses to each of `P` prompts.
    weights: of the kinds; None for 1 each.
    ddof: of both deviations.
    epsilon: added to both.
    is_filled: groups that the batch is; None for all.

  Returns:
    The advantages; a reward that is constant in a group adds 0 there.
  """
  options = PolicyGradient(ddof=ddof, epsilon=epsilon)
  each = jax.vmap(lambda reward: advantages(reward, options))(rewards)
  if weights is None:
    weights = jnp.ones(rewards.shape[:1], jnp.float32)
  total = jnp.einsum('k,kpg->pg', weights, each)
  mean, deviation = _batch_moments(total, ddof, is_filled)
  scaled = (total - mean) / (deviation + epsilon)
  return jnp.where(jnp.any(is_alive(rewards), 0)[:, None], scaled, 0.0)


def token_weights(
  mask: Bool[Array, '*R T'],
  aggregation: Aggregation = 'sequence_mean_token_mean',
  max_length: int | None = None,
) -> Float[Array, '*R T']:
  """How much each token counts in the loss of a whole accumulation window.

    sequence_mean_token_mean   1 / (rows * length)       GRPO
    token_mean                 1 / tokens                DAPO, BNPO
    sequence_mean_token_scale  1 / (rows * max_length)   Dr. GRPO

  Rows are those with a token. Make the weights of the window once and cut them
  with it: from a micro-batch alone they would be others.

  Args:
    mask: tokens of responses that count: the end token too, nothing behind.
    aggregation: see above; static.
    max_length: the constant; None for `T`.

  Returns:
    The weights, 0 outside the mask.
  """
  lengths = jnp.sum(mask, axis=-1, keepdims=True).astype(jnp.float32)
  rows = jnp.maximum(jnp.sum(lengths > 0), 1)
  if aggregation == 'token_mean':
    each = 1.0 / jnp.maximum(jnp.sum(lengths), 1.0)
  elif aggregation == 'sequence_mean_token_mean':
    each = 1.0 / (rows * jnp.maximum(lengths, 1.0))
  else:
    each = 1.0 / (rows * (max_length or mask.shape[-1]))
  return jnp.where(mask, each, 0.0).astype(jnp.float32)


class TokenSums(NamedTuple):
  """Sums over tokens that count; over `tokens` they are means."""

  tokens: Float[Array, '']
  clipped: Float[Array, '']  # whose ratio the clip holds back
  ratio: Float[Array, '']
  kl: Float[Array, '']  # k3 to the reference, 0 without one


def policy_gradient_loss(
  log_probs: Float[Array, '*R T'],
  old_log_probs: Float[Array, '*R T'],
  advantages: Float[Array, '*R'] | Float[Array, '*R T'],
  weights: Float[Array, '*R T'],
  options: PolicyGradient = GRPO,
  ref_log_probs: Float[Array, '*R T'] | None = None,
) -> tuple[Float[Array, ''], TokenSums]:
  """The loss of rows, to be added to that of the rest of their window.

  Args:
    log_probs: of the tokens under the policy, at the sampler's temperature.
    old_log_probs: under the policy that sampled; no gradient.
    advantages: of each row, or of each token; no gradient.
    weights: from `token_weights`; 0 for what does not count.
    options: `ratio`, clips and KL are used.
    ref_log_probs: under the reference, where `kl_weight` is not 0; None for no
      KL.

  Returns:
    The loss, and sums for the metrics.
  """
  old_log_probs, advantages, ref_log_probs = jax.lax.stop_gradient(
    (old_log_probs, advantages, ref_log_probs)
  )
  counts = weights > 0
  log_ratio = jnp.where(counts, log_probs - old_log_probs, 0.0)
  ratio = _ratio(log_ratio, counts, options.ratio)
  if options.max_ratio is not None:
    ratio_top = jnp.minimum(ratio, options.max_ratio)
  else:
    ratio_top = ratio
  by_row = advantages.ndim < log_probs.ndim
  gain = advantages[..., None] if by_row else advantages
  clipped = jnp.clip(ratio, 1 - options.clip_low, 1 + options.clip_high)
  losses = -jnp.minimum(ratio_top * gain, clipped * gain)
  if options.dual_clip is not None:
    bounded = jnp.minimum(losses, -options.dual_clip * gain)
    losses = jnp.where(gain < 0, bounded, losses)
  kl = jnp.zeros_like(losses)
  if ref_log_probs is not None:
    difference = jnp.where(counts, ref_log_probs - log_probs, 0.0)
    losses += options.kl_weight * _kl(difference, options.kl_form)
    kl = _kl(difference, 'k3')
  held = jnp.where(gain > 0, ratio > clipped, ratio < clipped) & (gain != 0)
  add = lambda x: jax.lax.stop_gradient(jnp.sum(jnp.where(counts, x, 0.0)))
  sums = TokenSums(add(1.0), add(held), add(ratio), add(kl))
  return jnp.sum(weights * losses), sums


def _ratio(
  log_ratio: Float[Array, '*R T'], counts: Bool[Array, '*R T'], kind: Ratio
) -> Float[Array, '*R T']:
  """The ratio that stands for each token."""
  own = jnp.clip(log_ratio, -_MOST_LOG_RATIO, _MOST_LOG_RATIO)
  if kind == 'token':
    return jnp.exp(own)
  length = jnp.maximum(jnp.sum(counts, axis=-1, keepdims=True), 1)
  mean = jnp.sum(log_ratio, axis=-1, keepdims=True) / length
  whole = jnp.exp(jnp.clip(mean, -_MOST_LOG_RATIO, _MOST_LOG_RATIO))
  if kind == 'sequence':
    return jnp.broadcast_to(whole, log_ratio.shape)
  still = jax.lax.stop_gradient
  return still(whole) * jnp.exp(log_ratio - still(log_ratio))


def _kl(difference: Float[Array, '*A'], form: KlForm) -> Float[Array, '*A']:
  """The estimate from `log(reference / policy)`."""
  if form == 'k1':
    return -difference
  if form == 'k2':
    return 0.5 * difference**2
  d = jnp.clip(difference, -_MOST_LOG_RATIO, _MOST_LOG_RATIO)
  return jnp.exp(d) - d - 1


def _deviation(x: Float[Array, 'P G'], ddof: int) -> Float[Array, 'P 1']:
  """Standard deviation of each group; 0 for a single number."""
  squares = (x - jnp.mean(x, axis=-1, keepdims=True)) ** 2
  total = jnp.sum(squares, axis=-1, keepdims=True)
  return jnp.sqrt(total / max(x.shape[-1] - ddof, 1))


def _batch_moments(
  x: Float[Array, 'P G'], ddof: int, is_filled: Bool[Array, ' P'] | None
) -> tuple[Float[Array, ''], Float[Array, '']]:
  """Mean and standard deviation over the groups that there are."""
  counts = jnp.ones(x.shape, bool)
  if is_filled is not None:
    counts &= is_filled[:, None]
  size = jnp.sum(counts)
  mean = jnp.sum(jnp.where(counts, x, 0.0)) / jnp.maximum(size, 1)
  squares = jnp.sum(jnp.where(counts, (x - mean) ** 2, 0.0))
  return mean, jnp.sqrt(squares / jnp.maximum(size - ddof, 1))


def _holds(value: Number | None, rule) -> bool:
  """Whether a number that is not traced obeys a rule; None does."""
  if value is None or isinstance(value, jax.core.Tracer):  # pyright: ignore[reportAttributeAccessIssue]  # stub lacks it
    return True
  return bool(np.all(rule(np.asarray(value))))
