"""Who answers the questions of graders, and where the replies are kept.

A judge is a model of ours or a file of recorded judgements. Every call is a
line of judgements.jsonl, {key, judge, seed, vote, prompt, reply}, with the key
of (prompt, judge, seed, vote); a second run makes no call, and the file is
itself a judge for others.
"""

import dataclasses
import hashlib
import json
from collections.abc import Sequence

from ttc import tasks
from ttc.benchmarks import judges
from ttc.benchmarks.judges import AnswerFn, Question
from ttc.drivers import journal
from ttc.drivers.benchmark_options import BenchmarkOptions
from ttc.drivers.draw_samples import draw_samples
from ttc.evaluation import SampleRecord
from ttc.io import files
from ttc.io.paths import AnyPath, as_path, fetched

NAME = 'judgements.jsonl'


def make_judge(chosen: BenchmarkOptions, workdir: AnyPath) -> AnswerFn | None:
  """The judge of a run, with its replies kept; None for none.

  Args:
    chosen: by the user.
    workdir: of the run.

  Raises:
    ValueError: at a record that is no judgement.
    OSError: if there is no such file.
  """
  if not chosen.judge:
    return None
  is_path = '/' in chosen.judge or chosen.judge.endswith('.gguf')
  if is_path and not as_path(chosen.judge).exists():
    raise FileNotFoundError(2, 'there is no judge', chosen.judge)
  if chosen.judge.endswith(('.jsonl', '.jsonl.gz')):
    answer = judges.read_recorded(fetched(chosen.judge))
  else:
    answer = by_model(chosen, workdir / 'judge')
  return cached(answer, workdir / NAME, chosen.judge, chosen.judge_seed)


def cached(
  answer: AnswerFn, path: files.Path, judge_id: str, seed: int
) -> AnswerFn:
  """Asks only what has not been asked, and keeps what is replied.

  Args:
    answer: is asked.
    path: of the file of judgements.
    judge_id: names the judge for good.
    seed: of the judge.
  """
  kept: dict[str, str] = {}
  for number, text in enumerate(files.read_lines(path), start=1):
    try:
      line = json.loads(text)
      kept[line['key']] = line['reply']
    except (ValueError, KeyError, TypeError):
      raise ValueError(f'{path}:{number}: not a judgement') from None

  def answer_all(questions: Sequence[Question]) -> list[str]:
    keys = [judges.key_of(q, judge_id, seed) for q in questions]
    new = [q for q, key in zip(questions, keys, strict=True) if key not in kept]
    new = list(dict.fromkeys(new))
    replies = answer(new) if new else []
    lines = []
    for question, reply in zip(new, replies, strict=True):
      key = judges.key_of(question, judge_id, seed)
      kept[key] = reply
      line = {'key': key, 'judge': judge_id, 'seed': seed, 'reply': reply}
      lines.append(files.to_json(line | question._asdict()))
    files.append_lines(path, lines)
    return [kept[key] for key in keys]

  return answer_all


def by_model(chosen: BenchmarkOptions, workdir: AnyPath) -> AnswerFn:
  """A model of ours as a judge: a vote is a sample.

  Args:
    chosen: names model, seed, temperature and length.
    workdir: where its samples are kept.
  """

  def answer(questions: Sequence[Question]) -> list[str]:
    votes: dict[str, int] = {}
    for question in questions:
      most = max(votes.get(question.prompt, 0), question.vote + 1)
      votes[question.prompt] = most
    for count in sorted(set(votes.values())):
      items = [
        tasks.Item(_id(prompt), prompt, '', {})
        for prompt, most in votes.items()
        if most == count
      ]
      options = dataclasses.replace(
        chosen,
        model=chosen.judge,
        seed=chosen.judge_seed,
        num_samples=count,
        temperature=chosen.judge_temperature,
        max_new_tokens=chosen.judge_max_new_tokens,
      )
      draw_samples(
        options,
        workdir,
        [_as_task(items)],
        lambda inputs: None,
        is_alone=True,  # only the first process grades
      )
    said = {r.key: r for r in journal.read_records(workdir, SampleRecord)}
    return [said[_id(q.prompt), q.vote].completion for q in questions]

  return answer


def _id(prompt: str) -> str:
  return hashlib.sha256(prompt.encode('utf-8', 'surrogatepass')).hexdigest()


def _as_task(items: list[tasks.Item]) -> tasks.TextTask:
  return tasks.TextTask(
    name='judge',
    items=items,
    prompt=lambda item: item.question,
    stop=(),
    max_new_tokens=16,
    grade=lambda item, completion: tasks.Grade(0.0, completion, ''),
    is_chat=True,
  )
