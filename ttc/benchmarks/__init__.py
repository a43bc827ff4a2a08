"""Published benchmarks and protocols: loader, prompt, official scorer.

One benchmark, one file; `timeqa` is the one to read first. All of them are in
`BENCHMARKS`.
"""

from ttc.benchmarks.amo_bench import amo_bench
from ttc.benchmarks.bar_exam import bar_exam
from ttc.benchmarks.benchmark import MISSING, Benchmark, Verdict, as_task
from ttc.benchmarks.catalog import BENCHMARKS, find
from ttc.benchmarks.chronomagic import chronomagic
from ttc.benchmarks.coffe import coffe
from ttc.benchmarks.critpt import critpt
from ttc.benchmarks.decontamination import (
  DETECTORS,
  decontaminate,
  hashed_embedding,
  judged_same,
)
from ttc.benchmarks.dyval import dyval
from ttc.benchmarks.generated_tests.testbench import testbench
from ttc.benchmarks.generated_tests.testgeneval import testgeneval
from ttc.benchmarks.generated_tests.text_to_testcase import text_to_testcase
from ttc.benchmarks.generated_tests.utfix_benchmark import utfix
from ttc.benchmarks.golden_thread import golden_thread, golden_thread_match
from ttc.benchmarks.longseal import longseal
from ttc.benchmarks.m1_medical import m1_medical
from ttc.benchmarks.meta_critique import meta_critique, meta_critique_match
from ttc.benchmarks.meta_probing import meta_probing, probe
from ttc.benchmarks.mr_gsm8k import mr_gsm8k
from ttc.benchmarks.perception_test import perception_test
from ttc.benchmarks.quicker import quicker
from ttc.benchmarks.schema import Field, from_records
from ttc.benchmarks.sealqa import sealqa, sealqa_match
from ttc.benchmarks.timeqa import timeqa
from ttc.benchmarks.ts_guessing import ts_guessing, ts_guessing_question
from ttc.benchmarks.widesearch import widesearch
from ttc.benchmarks.yourbench import yourbench

__all__ = [
  'BENCHMARKS',
  'DETECTORS',
  'MISSING',
  'Benchmark',
  'Field',
  'Verdict',
  'amo_bench',
  'as_task',
  'bar_exam',
  'chronomagic',
  'coffe',
  'critpt',
  'decontaminate',
  'dyval',
  'find',
  'from_records',
  'golden_thread',
  'golden_thread_match',
  'hashed_embedding',
  'judged_same',
  'longseal',
  'm1_medical',
  'meta_critique',
  'meta_critique_match',
  'meta_probing',
  'mr_gsm8k',
  'perception_test',
  'probe',
  'quicker',
  'sealqa',
  'sealqa_match',
  'testbench',
  'testgeneval',
  'text_to_testcase',
  'timeqa',
  'ts_guessing',
  'ts_guessing_question',
  'utfix',
  'widesearch',
  'yourbench',
]
