"""Reasoning Gym's hundred generators and verifiers, graded right or wrong.

Stojanovski et al., "Reasoning Gym", arXiv 2505.24760. Its `score_answer` gives
partial credit in many data sets (0.05 for a wrong countdown, `len(gold) /
len(answer)` for a sentence with the gold in it). A mean of such scores is not
an accuracy, so a score here is 1 only where the verifier gives full marks; its
own score stands in the detail. Some of its verifiers hand the answer to sympy's
parser, which evaluates Python: grade untrusted models in a sandbox.
"""

import re
from collections.abc import Mapping
from typing import Any

from ttc.tasks import text_task

_INSTRUCTION = (
  'Think step by step. Give the final answer, and nothing else, between '
  '<answer> and </answer>.'
)
_FULL_MARKS = 1 - 1e-9


def reasoning_gym(
  dataset: str,
  *,
  num_items: int = 100,
  seed: int = 0,
  config: Mapping[str, Any] | None = None,
) -> text_task.TextTask:
  """Generates a data set.

  Some entries have many right answers and no gold; their `answer` is ''. In
  version 0.1.25 `propositional_logic` is such a set, and its verifier refuses
  its own reference.

  Args:
    dataset: its name there, such as 'chain_sum'.
    num_items: how many.
    seed: which ones.
    config: further arguments of that data set, such as {'max_terms': 3}.
  """
  try:
    import reasoning_gym as library
  except ImportError as error:
    raise ImportError(
      "reasoning-gym is needed: pip install 'ttc-jax[eval]'"
    ) from error
  entries = library.create_dataset(
    dataset, size=num_items, seed=seed, **(config or {})
  )
  name = f'reasoning_gym/{dataset}'
  items = [
    text_task.Item(
      id=f'{name}/{seed}/{index}',
      question=entry['question'],
      answer=entry['answer'] or '',
      meta=entry,
    )
    for index, entry in enumerate(entries)
  ]

  def grade(item: text_task.Item, completion: str) -> text_task.Grade:
    extracted = extract(completion)
    try:
      score = float(entries.score_answer(extracted, entry=item.meta))
    except Exception:
      return text_task.Grade(0.0, extracted, text_task.GRADER_ERROR)
    return text_task.Grade(
      float(score >= _FULL_MARKS), extracted, f'raw={score:.6g}'
    )

  return text_task.TextTask(
    name=name,
    items=items,
    prompt=lambda item: f'{item.question}\n\n{_INSTRUCTION}',
    stop=(),
    max_new_tokens=1024,
    grade=grade,
    is_chat=True,
  )


def extract(completion: str) -> str | None:
  """Returns the last `<answer>` of a completion, else all of it, stripped."""
  found = re.findall(r'<answer>(.*?)</answer>', completion, re.DOTALL)
  return (found[-1] if found else completion).strip() or None
