"""What a fine-tuning chooses, and what goes together."""

import dataclasses

import jax
import jax.numpy as jnp
import optax

from ttc import finetuning, tasks
from ttc.drivers import options
from ttc.drivers.options import option

PRETRAINED = 'pretrained'  # the model that is trained on traces first
OBJECTIVES = {
  'grpo': finetuning.GRPO,
  'dr_grpo': finetuning.DR_GRPO,
  'rloo': finetuning.RLOO,
  'dapo': finetuning.DAPO,
  'gspo': finetuning.GSPO,
  'gdpo': finetuning.GDPO,
}
DPO = 'dpo'  # no policy gradient: learns from the best and the worst of a group
TOKEN_TASKS = ('s3', 's4', 'modular_chain', 'countdown')
_whole, _real = options.whole, options.real


@dataclasses.dataclass(frozen=True)
class FinetuneOptions:
  """What a run chooses; configs/finetune_s3.py explains each."""

  seed: int = option(options.seed())
  model: str = option(options.text())
  pretrain_steps: int = option(_whole(1))
  noise: float = option(_real(0.0, 1.0))
  task: str = option(options.text())
  task_length: int = option(_whole(1, 1000))
  num_items: int = option(_whole(1, 1_000_000))
  objective: str = option(options.one_of((*OBJECTIVES, DPO)))
  dpo_beta: float = option(_real(0.0, 100.0, above=True))
  num_judgements: int = option(_whole(0, 1000))
  judgement_tokens: int = option(_whole(1, 100_000))
  kl_weight: float = option(_real(0.0, 100.0))
  num_updates: int = option(_whole(1))
  num_prompts: int = option(_whole(1, 100_000))
  group_size: int = option(_whole(2, 100_000))
  temperature: float = option(_real(0.0, 10.0, above=True))
  max_new_tokens: int = option(_whole())
  max_rounds: int = option(_whole(1, 1000))
  overlong_cache: int = option(_whole())
  answer_reward: bool = option(options.truth())
  learning_rate: float = option(_real(0.0, 10.0, above=True))
  warmup_updates: int = option(_whole())
  max_grad_norm: float = option(_real(0.0, above=True))
  num_epochs: int = option(_whole(1, 1000))
  num_micro_batches: int = option(_whole(1, 100_000))
  group_parts: int = option(_whole(1, 100_000))
  lora_rank: int = option(_whole(0, 4096))
  lora_alpha: float = option(_real(0.0, above=True))
  dtype: str = option(options.one_of(('float32', 'bfloat16')))
  remat: bool = option(options.truth())
  model_parallel: int = option(_whole(1))
  zero: bool = option(options.truth())
  checkpoint_every: int = option(_whole(1))
  num_eval_items: int = option(_whole(1, 1_000_000))
  num_eval_samples: int = option(_whole(1, 100_000))

  @property
  def loss(self) -> finetuning.PolicyGradient:
    """The options of a policy gradient."""
    return OBJECTIVES[self.objective]._replace(kl_weight=self.kl_weight)

  @property
  def is_decoupled(self) -> bool:
    """Whether rewards of several kinds stay apart."""
    return self.objective in OBJECTIVES and self.loss.decoupled

  @property
  def is_token_task(self) -> bool:
    """Whether the task lives on the device."""
    return self.task in TOKEN_TASKS

  @property
  def keys(self) -> tuple[jax.Array, jax.Array]:
    """The key of the initial state, and the one that updates fold."""
    init_key, update_key = jax.random.split(jax.random.key(self.seed))
    return init_key, update_key

  @property
  def optimizer(self) -> optax.GradientTransformation:
    """Adam, its rate constant after the warm-up."""
    schedule = optax.linear_schedule(
      self.learning_rate / (self.warmup_updates + 1),
      self.learning_rate,
      self.warmup_updates * self.num_epochs,
    )
    rate = lambda count: jnp.asarray(schedule(count), jnp.float32)
    return optax.chain(
      optax.clip_by_global_norm(self.max_grad_norm), optax.adam(rate)
    )


def check(chosen: FinetuneOptions) -> None:
  """Raises ValueError for values that do not go together."""
  if chosen.objective == DPO:
    if chosen.kl_weight:
      raise ValueError(
        f'config.kl_weight={chosen.kl_weight} must be 0 with '
        f'config.objective={DPO!r}, which config.dpo_beta holds to the model '
        'at the start'
      )
  else:
    finetuning.check_policy_gradient(chosen.loss)
    if chosen.num_judgements:
      raise ValueError(
        f'config.num_judgements={chosen.num_judgements} make pairs for '
        f'config.objective={DPO!r}, not for {chosen.objective!r}'
      )
    kinds = 1 + chosen.answer_reward + bool(chosen.overlong_cache)
    if chosen.is_decoupled and kinds == 1:
      raise ValueError(
        f'config.objective={chosen.objective!r} takes several kinds of reward: '
        'set config.answer_reward or config.overlong_cache'
      )
  if chosen.num_judgements and chosen.is_token_task:
    raise ValueError(
      f'config.num_judgements={chosen.num_judgements} are of texts; '
      f'config.task={chosen.task!r} has tokens only'
    )
  if chosen.num_judgements and chosen.max_rounds > 1:
    raise ValueError(
      f'config.max_rounds={chosen.max_rounds} must be 1 with '
      f'config.num_judgements={chosen.num_judgements}'
    )
  if chosen.num_judgements and chosen.zero:
    raise ValueError(
      f'config.zero must be off with config.num_judgements='
      f'{chosen.num_judgements}: a judge has its parameters whole'
    )
  _check_pieces(chosen)
  if chosen.model == PRETRAINED and not chosen.is_token_task:
    raise ValueError(
      f'config.model={PRETRAINED!r} needs one of {", ".join(TOKEN_TASKS)}, not '
      f'config.task={chosen.task!r}'
    )
  if not chosen.is_token_task and chosen.num_prompts > chosen.num_items:
    raise ValueError(
      f'config.num_prompts={chosen.num_prompts} are more than '
      f'config.num_items={chosen.num_items}'
    )


def _check_pieces(chosen: FinetuneOptions) -> None:
  """Raises ValueError for pieces that do not come out even."""
  parts = chosen.group_parts
  if parts > 1 and chosen.objective == DPO:
    raise ValueError(
      f'config.group_parts={parts} must be 1 with config.objective={DPO!r}, '
      'which learns from two responses of a group'
    )
  if chosen.group_size % parts:
    raise ValueError(
      f'config.group_parts={parts} does not divide '
      f'config.group_size={chosen.group_size}'
    )
  if chosen.num_prompts * parts % chosen.num_micro_batches:
    of = f'config.num_prompts={chosen.num_prompts}'
    raise ValueError(
      f'config.num_micro_batches={chosen.num_micro_batches} does not divide '
      f'{of}' + (f' times config.group_parts={parts}' if parts > 1 else '')
    )
  if chosen.zero and not chosen.remat:
    raise ValueError(
      'config.zero=True needs config.remat=True: a layer that is computed '
      'again gathers its weights again'
    )


def token_task(chosen: FinetuneOptions) -> tasks.TokenTask:
  """The task on the device that is chosen; ValueError if it cannot be."""
  if chosen.task == 'countdown' and not 2 <= chosen.task_length <= 6:
    raise ValueError(
      f'config.task_length={chosen.task_length} must be from 2 to 6 numbers of '
      'countdown'
    )
  try:
    if chosen.task == 'countdown':
      return tasks.countdown(chosen.task_length)
    if chosen.task == 'modular_chain':
      return tasks.modular_chain(7, chosen.task_length, noise=chosen.noise)
    return tasks.permutation_word_problem(
      's4' if chosen.task == 's4' else 's3',
      chosen.task_length,
      noise=chosen.noise,
    )
  except ValueError as error:
    raise ValueError(
      f'config.task_length={chosen.task_length} of {chosen.task}: {error}'
    ) from None
