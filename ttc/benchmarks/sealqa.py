"""SealQA: questions on which web searches contradict each other (2506.01062).

Pham et al., "SealQA: Raising the Bar for Reasoning in Search-Augmented Language
Models": seal_0 (111), seal_hard (254). An autorater says CORRECT, INCORRECT or
NOT_ATTEMPTED; the headline is the share of all that are correct, as the paper
counts. Without a judge (`sealqa_match`) a normalised match takes its place, a
lower bound. Live search is not done here. Records carry a canary: items hold no
more of them than a prompt and a grade need, and nothing here is printed.
"""

from collections.abc import Mapping, Sequence

from ttc.benchmarks import judges
from ttc.benchmarks.benchmark import Benchmark, GradeFn, Verdict
from ttc.benchmarks.judges import JudgeFn
from ttc.benchmarks.schema import Field, Record, from_records
from ttc.benchmarks.text_overlap import normalize
from ttc.tasks import Item
from ttc.tasks.graders import reply

SCHEMA = (
  Field('question'),
  Field('answer'),
  Field('urls', list, of=str, optional=True),
  Field('freshness', optional=True),
  Field('question_types', list, of=str, optional=True),
  Field('effective_year', object, optional=True),
  Field('search_results', allowed=('conflicting', 'unhelpful'), optional=True),
  Field('topic', optional=True),
  Field('canary', optional=True),
)
GRADES = ('CORRECT', 'INCORRECT', 'NOT_ATTEMPTED')
_REFUSALS = ('i do not know', 'i dont know', 'unknown', 'not sure', 'i cannot')


def sealqa() -> Benchmark:
  """Makes the benchmark with a judge."""
  return _benchmark('sealqa', grade_by_judge)


def sealqa_match() -> Benchmark:
  """Makes the benchmark without a judge."""
  return _benchmark('sealqa_match', grade_by_match)


def _benchmark(name: str, grade: GradeFn) -> Benchmark:
  return Benchmark(
    name=name,
    title='SealQA: Raising the Bar for Reasoning in Search-Augmented LMs',
    paper='2506.01062',
    metric='correct',
    schema=SCHEMA,
    load=from_records(SCHEMA, _to_item),
    prompt=lambda item: f'{item.question}\nAnswer briefly.',
    grade=grade,
    aggregate=attempted_accuracy,
    categories=lambda item: {
      name: item.meta[name]
      for name in ('search_results', 'freshness', 'topic')
      if item.meta[name]
    },
    max_new_tokens=256,
  )


def attempted_accuracy(
  items: Sequence[Item], verdicts: Sequence[Sequence[Verdict]]
) -> Mapping[str, float]:
  """Correct of all; correct of those attempted; their harmonic mean."""
  correct, attempted = (
    sum(sum(v.parts.get(part, 0.0) for v in row) / len(row) for row in verdicts)
    for part in ('correct', 'attempted')
  )
  of_all = correct / len(items)
  of_attempted = correct / attempted if attempted else 0.0
  both = of_all + of_attempted
  return {
    'correct': of_all,
    'attempted': attempted / len(items),
    'correct of attempted': of_attempted,
    'F': 2 * of_all * of_attempted / both if both else 0.0,
  }


def grade_by_judge(item: Item, completion: str, judge: JudgeFn) -> Verdict:
  """CORRECT, INCORRECT or NOT_ATTEMPTED by a judge; no other word counts."""
  said = reply(completion).strip()
  if not said:
    return to_verdict('NOT_ATTEMPTED', said, 'empty')
  prompt = (
    f'Question: {item.question}\nGold answer: {item.answer}\n'
    f'Predicted answer: {said}\n\nIs the predicted answer CORRECT (it says all '
    'of the gold answer and nothing against it), INCORRECT (it contradicts the '
    'gold answer, hedged or not), or NOT_ATTEMPTED (it neither says the gold '
    'answer nor contradicts it)? Reply with one of these words.'
  )
  answer = judges.ask(judge, prompt)
  grade = next((g for g in GRADES if judges.says(answer, g)), 'INCORRECT')
  return to_verdict(grade, said, 'judge')


def grade_by_match(item: Item, completion: str, judge: JudgeFn) -> Verdict:
  """Correct if the words of the gold answer stand in the reply."""
  del judge
  said = reply(completion).strip()
  text = normalize(said)
  if not text or any(refusal in text for refusal in _REFUSALS):
    return to_verdict('NOT_ATTEMPTED', said, 'match')
  found = f' {normalize(item.answer)} ' in f' {text} '
  return to_verdict('CORRECT' if found else 'INCORRECT', said, 'match')


def to_verdict(grade: str, said: str, detail: str) -> Verdict:
  """The verdict of one of `GRADES`."""
  right = float(grade == 'CORRECT')
  parts = {'correct': right, 'attempted': float(grade != 'NOT_ATTEMPTED')}
  return Verdict(right, said or None, f'{detail}: {grade}', parts)


def _to_item(record: Record) -> Item:
  meta = {
    name: record.get(name) for name in ('search_results', 'freshness', 'topic')
  }
  return Item(record['question'], record['question'], record['answer'], meta)
