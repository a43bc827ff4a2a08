"""The stage of an evaluation for methods that steer decoding themselves.

Each (item, method, budget) is a search of its own, on `search.Setting`s that
`search.text_setting_fn` makes. What it did is one line of searches.jsonl. Items
are searched in batches that depend on nothing that is done already: one of
which a line is missing is run again whole, so that a killed run ends with the
same records to the last bit.
"""

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tqdm

from ttc import evaluation, sampling, search, tasks, verifiers
from ttc.drivers import devices, journal, processes
from ttc.drivers.draw_samples import Job, Opened, hash_prompt
from ttc.drivers.evaluate_options import METHODS, Choice, SearchOptions
from ttc.drivers.outcomes import compiled
from ttc.evaluation import SearchRecord
from ttc.io.paths import AnyPath
from ttc.types import FinishReason, Leaves, Prompt, Selection


def draw_searches(
  chosen: SearchOptions,
  choices: Sequence[Choice],
  workdir: AnyPath,
  loaded_tasks: Sequence[tasks.TextTask],
  grader_version: str,
  begin: Callable[[dict[str, str]], None],
  open_jobs: Callable[[], tuple[Opened, dict[str, 'SearchJob']]],
) -> None:
  """Runs the searches that the workdir lacks, with a bar.

  Args:
    chosen: by the user.
    choices: the methods; those that choose among samples are left out.
    workdir: where the records are.
    loaded_tasks: the tasks.
    grader_version: of all grades.
    begin: called if nothing is missing; raises if this is another run.
    open_jobs: called if something is; begins with the model's digests and
      gives it with what searches each task.

  Raises:
    ValueError: if records are of another grader.
  """
  known = journal.read_records(workdir, SearchRecord)
  for record in known:
    if record.grader_version != grader_version:
      raise ValueError(
        f'{workdir}/searches.jsonl was graded by version '
        f'{record.grader_version}, now {grader_version}; remove it, and '
        'everything is searched again'
      )
  done = {record.key for record in known}
  wanted = [
    (task, choice, n)
    for task in loaded_tasks
    for choice in choices
    if choice.decodes
    for n in chosen.budgets
  ]
  if all(
    (item.id, choice.name, n) in done
    for task, choice, n in wanted
    for item in task.items
  ):
    begin({})  # the model need not even be there any more
    return
  opened, jobs = open_jobs()
  params, place = devices.place(opened.loaded.params, chosen.model_parallel)
  total = sum(len(task.items) for task, _, _ in wanted)
  with tqdm.tqdm(total=total, unit=' searches', dynamic_ncols=True) as bar:
    for task, choice, n in wanted:
      bar.set_description(f'{task.name} {choice.name} {n}')
      job = jobs[task.name]
      for records in job.search(params, place, choice, n, done, bar):
        journal.append_records(
          workdir,
          records,
          process_index=jax.process_index(),
          process_count=jax.process_count(),
        )


class SearchJob:
  """One task on one model, for any method that steers decoding."""

  def __init__(self, chosen: SearchOptions, job: Job, grader_version: str):
    """Takes prompts and verifiers of the samples' job."""
    self.job, self.grader_version = job, grader_version
    self.answers = search.TextAnswers(job.tokenizer, job.task)
    self.setting_fn = functools.partial(
      search.text_setting_fn,
      job.loaded,
      job.task,
      self.answers,
      model=job.model,
      capacity=job.capacity,
      delimiters=chosen.step_ends,
      max_steps=chosen.max_steps,
      max_step_tokens=chosen.max_step_tokens or None,
      sampling=chosen.sampling,
    )

  def check(self, choices: Sequence[Choice]) -> None:
    """`check_served` for the methods that steer decoding."""
    setting = self.setting_fn()(None, jnp.zeros((1,), jnp.int32))
    asked = [choice.method for choice in choices if choice.decodes]
    check_served(asked, setting, 'config.methods', self.job.task)

  def search(
    self, params, place, choice: Choice, n: int, done, bar
  ) -> Iterator[list[SearchRecord]]:
    """Runs a method at a budget on all items that lack a record."""
    items = processes.share(list(enumerate(self.job.task.items)))
    size = self.job.chosen.batch_size
    lengths = [len(self.job.prompts[item.id]) for _, item in items]
    batches = [
      (width, indices[begin : begin + size])
      for width, indices in sampling.plan_streams(lengths, size)
      for begin in range(0, len(indices), size)
    ]
    self.answers.forget()
    make = self.setting_fn(score_of=self._score_of(choice))
    setting_fn = lambda both, index: make(both[0], index, both[1])
    run = compiled(choice.method, setting_fn, n, with_leaves=True)
    both = params, self.job.verifier_params.get(choice.verifier, ())
    for width, indices in batches:
      rows = [items[i] for i in indices]
      missing = [(item.id, choice.name, n) not in done for _, item in rows]
      if any(missing):
        rows += [rows[0]] * (size - len(rows))
        chosen = jax.device_get(run(both, *place(self._stack(rows, width))))
        of_row = [
          jax.tree.map(lambda x, b=b: x[b], chosen) for b in range(size)
        ]
        yield [
          self.to_record(rows[b], choice, n, of_row[b])
          for b in np.flatnonzero(missing)
        ]
      bar.update(len(indices))

  def to_record(
    self, row: tuple[int, tasks.Item], choice: Choice, n: int, chosen: Selection
  ) -> SearchRecord:
    """What a search of one item leaves behind."""
    (index, item), job = row, self.job
    prompt = job.prompts[item.id]
    answer = self.answers[index, chosen.answer]
    leaves = [
      {name: x for name, x in leaf.items() if name not in ('ids', 'reason')}
      for leaf in read_leaves(self.answers, index, chosen.leaves)
    ]
    lengths = [leaf['tokens'] for leaf in leaves]
    mean = np.array([max(round(np.mean(lengths)), 1) if lengths else 1])
    per_token = float(job.decode_flops(len(prompt), mean)[0]) / int(mean[0])
    calls = int(chosen.verifier_calls)
    return SearchRecord(
      item_id=item.id,
      method=choice.name,
      budget=n,
      seed=evaluation.sample_seed(job.chosen.seed, item.id, 0),
      prompt_hash=hash_prompt(prompt),
      prompt_tokens=len(prompt),
      answer=answer.text,
      score=answer.score,
      grader=job.task.name,
      grader_version=self.grader_version,
      tokens=int(chosen.tokens),
      depth=int(chosen.depth),
      verifier_calls=calls,
      nan_scores=int(chosen.nan_scores),
      flops_est=per_token * int(chosen.tokens),
      verifier_flops_est=job.flops_per_call.get(choice.verifier, 0.0) * calls,
      leaves=leaves,
    )

  def _score_of(self, choice: Choice) -> Callable:
    if choice.verifier == 'exact':
      return lambda index, _: self.answers.exact_fn(index)
    make = self.job.score_fns.get(choice.verifier)
    return lambda _, params: make(params) if make else verifiers.confidence

  def _stack(self, rows, length):
    """Items, prompts and keys of a batch."""
    prompts = [self.job.prompts[item.id] for _, item in rows]
    tokens = np.zeros((len(rows), length), np.int32)
    for row, prompt in zip(tokens, prompts, strict=True):
      row[: len(prompt)] = prompt
    lengths = [len(prompt) for prompt in prompts]
    seed = self.job.chosen.seed
    keys = [evaluation.problem_key(seed, item.id) for _, item in rows]
    index = jnp.array([i for i, _ in rows], jnp.int32)
    return (
      index,
      jnp.stack(keys),
      Prompt(jnp.asarray(tokens), jnp.array(lengths)),
    )


def check_served(
  methods: Sequence[search.Method],
  setting: search.Setting,
  option: str,
  task: tasks.TextTask,
) -> None:
  """Refuses methods that model and task cannot serve.

  Args:
    methods: that are asked for.
    setting: what they are to run on.
    option: that names them.
    task: whose setting it is.

  Raises:
    ValueError: naming one, what it lacks, and those that can be served.
  """
  for method in methods:
    if not setting.serves(method):
      able = [
        m.name for m in METHODS.values() if m.decode and setting.serves(m)
      ]
      raise ValueError(
        f'{option}: {method.name} needs `{method.needs}`, which this model '
        f'does not have on {task.name} (chats of a known layout have it); of '
        f'those that steer decoding it serves {able}'
      )


def read_leaves(
  answers: search.TextAnswers, index: int, leaves: Leaves | None
) -> list[dict[str, Any]]:
  """`leaf_fields` with how each leaf ended, its text and what it answers."""
  found = []
  for fields in leaf_fields(leaves):
    reason = fields['reason']
    text = answers.text_of(fields['ids'], reason)
    number = answers.read(index, text) if reason == FinishReason.STOP else -1
    found.append(
      {
        **fields,
        'finish_reason': FinishReason.NAMES[reason],
        'text': text,
        'answer': answers[index, number].text,
      }
    )
  return found


def leaf_fields(leaves: Leaves | None) -> list[dict[str, Any]]:
  """The leaves of one problem's search, without what is inside of its tree.

  Args:
    leaves: fields `[K, ...]`, on the host; None for a method that tells none.

  Returns:
    For each its node `id`, its `parent` (-1 for the prompt), the `nodes` of its
    steps with `step_scores` and `step_ends` (tokens up to each), its `tokens`,
    `sum_logprob`, token `ids` and finish `reason`.
  """
  if leaves is None:
    return []
  is_cancelled = leaves.finish_reasons == FinishReason.CANCELLED
  real = ~is_cancelled | (leaves.lengths > 0)
  inside: set[int] = set()
  for nodes in leaves.nodes[real]:
    inside |= set(nodes[nodes >= 0][:-1].tolist())
  found = []
  for k in np.flatnonzero(real):
    steps = leaves.nodes[k] >= 0
    nodes = leaves.nodes[k][steps].tolist()
    if not nodes or nodes[-1] in inside:
      continue
    length = int(leaves.lengths[k])
    found.append(
      {
        'id': nodes[-1],
        'parent': int(leaves.parents[k]),
        'nodes': nodes,
        'step_scores': [float(x) for x in leaves.scores[k][steps]],
        'step_ends': leaves.ends[k][steps].tolist(),
        'tokens': length,
        'sum_logprob': float(leaves.log_probs[k]),
        'ids': leaves.tokens[k, :length].tolist(),
        'reason': int(leaves.finish_reasons[k]),
      }
    )
  return found
