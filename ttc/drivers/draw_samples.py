"""The stage of an evaluation that touches the model: missing samples, drawn."""

import hashlib
import time
import types
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import tqdm

from ttc import evaluation, models, sampling, search, tasks
from ttc.drivers import devices, journal, processes, runs
from ttc.drivers.evaluate_options import EvaluateOptions
from ttc.drivers.score_functions import Asked, Verifier
from ttc.evaluation import SampleRecord
from ttc.io.paths import AnyPath, fetched
from ttc.scaling import costs, kinetics
from ttc.types import FinishReason, Generation, Prompt

# As `SampleRecord.finish_reason` calls them.
REASONS = {
  FinishReason.STOP: 'stop',
  FinishReason.LENGTH: 'length',
  FinishReason.CANCELLED: 'budget',
  FinishReason.INVALID: 'error',
}


def draw_samples(
  chosen: EvaluateOptions,
  workdir: AnyPath,
  loaded_tasks: Sequence[tasks.TextTask],
  begin: Callable[[dict[str, str]], None],
  open_model: Callable[[], 'Opened'] | None = None,
  *,
  is_alone: bool = False,
) -> None:
  """Draws the samples that the workdir lacks, with a bar.

  Args:
    chosen: by the user.
    workdir: where the records are.
    loaded_tasks: the tasks.
    begin: called once with the digests of what has been read, before the first
      sample is drawn; raises if they are not those of the run.
    open_model: called if something is missing; loads the model if None.
    is_alone: whether no other process is here, which would draw its share.
  """
  done = journal.recorded_keys(workdir, SampleRecord)
  wanted = range(chosen.num_samples)
  missing = {
    item.id: [j for j in wanted if (item.id, j) not in done]
    for task in loaded_tasks
    for item in task.items
  }
  if not any(missing.values()):
    begin({})  # the model need not even be there any more
    return
  opened = Opened.of(chosen) if open_model is None else open_model()
  jobs = [Job(chosen, opened, task) for task in loaded_tasks]
  begin(opened.digests)
  params, place = devices.place(opened.loaded.params, chosen.model_parallel)
  for task in loaded_tasks:
    own = task.items if is_alone else processes.share(task.items)
    kept = {item.id for item in own}
    for item in task.items:
      if item.id not in kept:
        del missing[item.id]
  total = sum(map(len, missing.values()))
  with tqdm.tqdm(total=total, unit=' samples', dynamic_ncols=True) as bar:
    for job in jobs:
      bar.set_description(job.task.name)
      job.draw(workdir, params, place, missing, bar)


class Opened(NamedTuple):
  """What a run reads from: a model, and verifiers by their names."""

  loaded: models.Loaded
  tokenizer: models.Tokenizer
  digests: dict[str, str]
  verifiers: Mapping[str, Verifier] = types.MappingProxyType({})
  max_steps: int = 1  # of a response, as verifiers see it

  @classmethod
  def of(
    cls,
    chosen: EvaluateOptions,
    verifiers: Mapping[str, Verifier] = types.MappingProxyType({}),
    max_steps: int = 1,
  ) -> 'Opened':
    """Loads the model.

    Raises:
      ValueError: if it has no tokenizer, or does not fit the devices.
    """
    rounded = chosen.quantization
    loaded = models.load(
      fetched(chosen.model),
      dtype=chosen.dtype,
      quantization=None if rounded == 'none' else rounded,
      mesh=devices.local_mesh(chosen.model_parallel),
    )
    tokenizer = loaded.tokenizer
    if tokenizer is None:
      raise ValueError(f'{chosen.model} has no tokenizer')
    devices.check_parallel(chosen.model_parallel, loaded.config.num_kv_heads)
    ids = range(loaded.config.vocab_size)
    vocabulary = (tokenizer.decode([i]) for i in ids)
    digests = {
      'weights': loaded.sha,
      'tokenizer': runs.hash_texts(*vocabulary, str(tokenizer.eos_ids)),
    }
    digests |= {f'verifier {name}': v.digest for name, v in verifiers.items()}
    return cls(loaded, tokenizer, digests, verifiers, max_steps)


class Job:
  """One task on one model: encoded and checked, then drawn."""

  def __init__(
    self, chosen: EvaluateOptions, opened: Opened, task: tasks.TextTask
  ):
    """Encodes every prompt.

    Raises:
      ValueError: if one does not fit into the model's context.
    """
    loaded, tokenizer = opened.loaded, opened.tokenizer
    self.chosen, self.task, self.tokenizer = chosen, task, tokenizer
    self.loaded = loaded
    self.model = models.transformer(loaded.config, chosen.sparse_attention)
    self.capacity = chosen.max_new_tokens or task.max_new_tokens
    self.prompts = {
      item.id: search.prompt_tokens(tokenizer, task, item)
      for item in task.items
    }
    room = self.model.max_length - self.capacity
    for name, tokens in self.prompts.items():
      if not 1 <= len(tokens) <= room:
        raise ValueError(
          f'the prompt of {name} has {len(tokens)} tokens; 1 to {room} fit '
          f'beside {self.capacity} new ones'
        )
    num_params = models.num_params(loaded.params)
    self.shape = costs.model_shape(loaded.config, num_params)
    asked = Asked(
      tokenizer,
      list(self.prompts.values()),
      [item.question for item in task.items],
      task.stop,
      self.capacity,
      opened.max_steps,
    )
    self.flops_per_call = {
      name: verifier.flops_per_call(self.capacity)
      for name, verifier in opened.verifiers.items()
    }
    self.score_fns = {
      name: verifier.score_fn_of(asked)
      for name, verifier in opened.verifiers.items()
    }
    self.verifier_params = {
      name: verifier.params for name, verifier in opened.verifiers.items()
    }
    self._score = jax.jit(
      lambda params, *args: {
        name: make(params[name])(*args) for name, make in self.score_fns.items()
      }
    )

  def draw(self, workdir, params, place, missing, bar) -> None:
    """Draws what is missing and appends each item as it is finished."""
    chosen = self.chosen
    items = [item for item in self.task.items if missing.get(item.id)]
    problems = [
      sampling.Request(
        self.prompts[item.id],
        evaluation.problem_key(chosen.seed, item.id),
        missing[item.id],
      )
      for item in items
    ]
    tokens, began = 0, time.perf_counter()
    for index, generation, _ in sampling.decode_stream(
      params,
      problems,
      model=self.model,
      capacity=self.capacity,
      stop=sampling.stop_at_texts(
        self.tokenizer, self.model.vocab_size, self.task.stop
      ),
      num_slots=chosen.batch_size,
      num_rows=chosen.num_rows or None,
      sampling=chosen.sampling,
      front=self.tokenizer.prompt(self.task.front) if self.task.front else (),
      place=place,
    ):
      ids = problems[index].sample_ids
      said = self.verify(problems[index].tokens, generation)
      records = self.to_records(items[index], ids, generation, said)
      journal.append_records(
        workdir,
        records,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
      )
      tokens += sum(record.completion_tokens for record in records)
      rate = tokens / (time.perf_counter() - began)
      bar.set_postfix_str(f'{rate:.0f} tokens/s')
      bar.update(len(records))

  def verify(
    self, prompt: Sequence[int], generation: Generation
  ) -> dict[str, np.ndarray]:
    """What each verifier says of an item's responses, `[N]`."""
    if not self.score_fns:
      return {}
    width = max(map(len, self.prompts.values()))
    tokens = np.zeros((1, width), np.int32)
    tokens[0, : len(prompt)] = prompt
    wanted = len(generation.lengths)
    more = self.chosen.num_samples - wanted  # one program for any number
    full = lambda x: jnp.asarray(
      np.pad(x, [(0, more)] + [(0, 0)] * (x.ndim - 1))[None]
    )
    said = self._score(
      self.verifier_params,
      Prompt(jnp.asarray(tokens), jnp.array([len(prompt)])),
      jax.tree.map(full, generation),
    )
    return {name: np.asarray(x)[0, :wanted] for name, x in said.items()}

  def to_records(
    self,
    item: tasks.Item,
    ids: Sequence[int],
    generation: Generation,
    said: Mapping[str, np.ndarray],
  ) -> list[SampleRecord]:
    """One record for each sample of an item; `generation` is `[N, ...]`."""
    prompt = self.prompts[item.id]
    flops = self.decode_flops(len(prompt), generation.lengths)
    prompt_hash = hash_prompt(prompt)
    records = []
    for n, sample_id in enumerate(ids):
      length = int(generation.lengths[n])
      text = sampling.response_text(
        self.tokenizer,
        generation.tokens[n, :length],
        generation.finish_reasons[n],
        self.task.stop,
      )
      log_prob = float(generation.log_probs[n, :length].sum())
      seed = evaluation.sample_seed(self.chosen.seed, item.id, int(sample_id))
      records.append(
        SampleRecord(
          item_id=item.id,
          sample_idx=int(sample_id),
          seed=seed,
          prompt_hash=prompt_hash,
          prompt_tokens=len(prompt),
          completion_tokens=length,
          completion=text,
          finish_reason=REASONS[int(generation.finish_reasons[n])],  # type: ignore[arg-type]
          sum_logprob=log_prob,
          mean_logprob=log_prob / max(length, 1),
          verifier_scores={name: float(x[n]) for name, x in said.items()}
          or None,
          flops_est=float(flops[n]),
          kv_bytes_est=float(self.shape.kv_bytes_per_token * length),
          meta={'flops_per_call': self.flops_per_call} if said else None,
        )
      )
    return records

  def decode_flops(self, prompt_length, lengths):
    """FLOPs of each response, with the attention of the configuration."""
    chosen = self.chosen
    if chosen.sparse_attention is None:
      prompts = np.array([prompt_length], np.int32)
      flops = costs.decode_flops(self.shape, prompts, lengths[None])
      return flops[0]
    return kinetics.sparse_cost(
      self.shape,
      prompt_length,
      lengths,
      chosen.kv_budget + chosen.block_size,
      block_size=chosen.block_size,
    ).flops


def hash_prompt(prompt: Sequence[int]) -> str:
  """SHA-256 of a prompt's tokens, in hexadecimal."""
  data = np.asarray(prompt, '<i4').tobytes()
  return hashlib.sha256(data).hexdigest()
