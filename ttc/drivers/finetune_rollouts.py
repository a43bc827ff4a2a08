"""What an update of a fine-tuning learns from: responses, rewards, judgements.

Costs `P G` responses a round of sampling; an update depends on nothing but the
state and its number.
"""

import time
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from ttc import finetuning, models
from ttc.drivers import devices
from ttc.drivers.finetune_critic import Judged
from ttc.drivers.finetune_problems import Drawn
from ttc.finetuning import Rollout, TrainState
from ttc.models.sharding import of_first

if TYPE_CHECKING:
  from ttc.drivers.finetune import Setup


class Clock:
  """Seconds by what they were spent on, and tokens sampled."""

  def __init__(self):
    """Starts at zero."""
    self.seconds: dict[str, float] = {}
    self.tokens = 0

  def time(self, what: str, fn, *args) -> Any:
    """Runs a function to its end."""
    begin = time.perf_counter()
    result = jax.block_until_ready(fn(*args))
    spent = time.perf_counter() - begin
    self.seconds[what] = self.seconds.get(what, 0.0) + spent
    return result

  def report(self) -> str:
    """Shares of the time, and speed."""
    total = sum(self.seconds.values())
    shares = ', '.join(
      f'{name} {100 * x / total:.0f}%' for name, x in self.seconds.items()
    )
    return f'{total:.0f} s: {shares}; {self.tokens / total:.0f} tokens/s'


def collect(
  setup: 'Setup', roll_out, state: TrainState, done: int, clock: Clock
) -> tuple[Drawn, Rollout, jax.Array, dict[str, Any]]:
  """Rolls out until every group teaches, or for as many rounds as chosen.

  Returns:
    What was asked in the last round, the groups, which of them count, and
    metrics of all that was sampled: of several rounds the groups are a part.
  """
  chosen, problems = setup.chosen, setup.problems
  key = jax.random.fold_in(chosen.keys[1], done)

  def roll(round_):
    drawn = problems.draw(jax.random.fold_in(key, round_))
    keys, prompt = drawn.keys, drawn.prompt
    if setup.mesh is not None:
      keys, prompt = models.shard_batch((keys, prompt), setup.mesh)
    responses = clock.time(
      'sample', roll_out, state, setup.loaded.params, keys, prompt
    )
    said = devices.fetch(responses)
    rewards = clock.time('score', problems.score, drawn, said)
    rewards = of_first(np.asarray(rewards))  # its clocks may have a say
    rewards = jnp.asarray(_checked(rewards, drawn, done + 1), jnp.float32)
    clock.tokens += int(responses.lengths.sum())
    # Before penalties: a group that is always wrong is dead at any length.
    total = rewards.sum(axis=-1) if rewards.ndim == 3 else rewards
    alive = finetuning.is_alive(total)
    if chosen.overlong_cache:
      penalty = finetuning.overlong_penalty(
        responses.lengths, problems.capacity, chosen.overlong_cache
      )
      kinds = rewards.reshape(*total.shape, -1)
      rewards = total + penalty
      if chosen.is_decoupled:
        rewards = jnp.concatenate([kinds, penalty[..., None]], axis=-1)
    return drawn, Rollout(prompt, responses, rewards), alive

  drawn, rollout, alive = roll(0)
  if chosen.max_rounds == 1:
    return drawn, rollout, jnp.ones((chosen.num_prompts,), bool), {}
  none = jnp.zeros((chosen.num_prompts,), bool)
  buffer, told = finetuning.GroupBuffer(rollout, none), []
  for round_ in range(chosen.max_rounds):
    drawn, rollout, alive = roll(round_) if round_ else (drawn, rollout, alive)
    told.append(finetuning.rollout_metrics(rollout) | {'alive': alive.mean()})
    buffer = finetuning.fill_buffer(buffer, rollout, alive)
    if bool(buffer.is_filled.all()):
      break
  seen = {name: np.mean([x[name] for x in told]) for name in told[0]}
  seen['sampled'] *= len(told)
  return drawn, buffer.groups, buffer.is_filled, seen


def _checked(rewards, drawn: Drawn, step: int):
  """Raises ValueError at the first reward that is no number."""
  if not np.isfinite(rewards).all():
    p, g, *_ = np.argwhere(~np.isfinite(rewards))[0]
    raise ValueError(
      f'the reward of update {step}, item {drawn.names[p]!r}, response {g} is '
      f'{rewards[p, g]}'
    )
  return rewards


def judged(
  setup: 'Setup', drawn: Drawn, rollout: Rollout, clock: Clock
) -> tuple[Judged, ...]:
  """What the model at the start says of the responses, if it is asked."""
  if setup.problems.judge is None:
    return ()
  responses = devices.fetch(rollout.responses)
  judge = setup.problems.judge
  return (clock.time('judge', judge, setup.loaded.params, drawn, responses),)
