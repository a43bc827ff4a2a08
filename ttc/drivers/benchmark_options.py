"""What a run of a benchmark chooses."""

import dataclasses

from ttc.drivers import options
from ttc.drivers.evaluate_options import EvaluateOptions
from ttc.drivers.options import option


@dataclasses.dataclass(frozen=True, kw_only=True)
class BenchmarkOptions(EvaluateOptions):
  """Those of an evaluation, and a judge; configs/benchmark.py explains each."""

  num_items: int = option(options.whole())
  judge: str = option(options.text(empty=True))
  judge_seed: int = option(options.seed())
  judge_temperature: float = option(options.real(0.0))
  judge_max_new_tokens: int = option(options.whole(1))
  grade_seconds: float = option(options.real(0.0, 3600.0, above=True))
  num_workers: int = option(options.whole(0, 1024))
