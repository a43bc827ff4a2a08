"""Generated tests: what they are worth, how to choose and how to mend them.

`testgeneval`, `testbench`, `text_to_testcase` and `utfix_benchmark` have the
benchmarks; `cat_lm` packs files and filters samples, `utfix` mends tests in a
loop with `slices`, `methods2test` says which method a test tests.
"""

from ttc.benchmarks.generated_tests.ladder import (
  LadderRates,
  ladder_rates,
  pass_at_k,
  rung,
)
from ttc.benchmarks.generated_tests.rule_repair import (
  code_of,
  repair_java,
  repair_python,
)

__all__ = [
  'LadderRates',
  'code_of',
  'ladder_rates',
  'pass_at_k',
  'repair_java',
  'repair_python',
  'rung',
]
