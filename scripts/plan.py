r"""Says before a slice is rented what fits on it, how fast, and at what price.

  python scripts/plan.py --model=Qwen3-8B --slice=v5e-8 --context=4096 \
      --samples=64 --new_tokens=4096
  python scripts/plan.py --model=Llama-3.1-70B --slice=h100-8 --problems=16 \
      --out=plan.png
  python scripts/plan.py --slice=v5e-8 --compile  # minutes
  python scripts/plan.py --check  # this machine, predicted and measured

A line for each way to split the devices: copies of the model, and devices of
each copy. Weights and cache are what one device holds, the next four columns
what it does in a step in the middle of the responses, by the cost model of
Kinetics (arXiv 2506.05333) and the peaks of data sheets: a bound that a real
slice approaches from below. --compile has the compiler of TPUs make the program
of the best layout, without a device, and prints what it needs beside that.
--check measures the bandwidth and the rate of matrix products of this machine
and says how far off the law is here.

Slices: v5e-8, v6e-8, v5p-8 (four chips, named by cores), h100-8, h200-8,
b200-8 and so on. Prices are list prices; --price=USD is yours.
"""

from absl import flags

from ttc.drivers import command, plan, plan_check
from ttc.models.published import PUBLISHED
from ttc.scaling.slices import Work

_MODEL = flags.DEFINE_string(
  'model',
  'Qwen3-8B',
  f'One of {", ".join(PUBLISHED)}, or a Hugging Face directory.',
)
_SLICE = flags.DEFINE_string('slice', 'v5e-8', 'KIND-COUNT.')
_CONTEXT = flags.DEFINE_integer('context', 2048, 'Tokens of a prompt.', 1)
_SAMPLES = flags.DEFINE_integer('samples', 16, 'Responses to each prompt.', 1)
_NEW_TOKENS = flags.DEFINE_integer('new_tokens', 1024, 'Of a response.', 1)
_PROBLEMS = flags.DEFINE_integer('problems', 8, 'Decoded together.', 1)
_KV_BUDGET = flags.DEFINE_integer(
  'kv_budget', None, 'Tokens that a head attends to; all if not given.', 1
)
_BLOCK_SIZE = flags.DEFINE_integer('block_size', 16, 'Of a budget.', 1)
_BYTES = flags.DEFINE_float('bytes_per_param', 2.0, 'Of the weights.', 0.1, 8)
_COMBINE = flags.DEFINE_enum(
  'combine', 'sum', ['sum', 'max'], 'Reading and computing add up, or overlap.'
)
_PRICE = flags.DEFINE_float('price', None, 'USD for an hour of a device.', 0)
_OUT = flags.DEFINE_string('out', None, 'PNG: slices of other sizes beside it.')
_COMPILE = flags.DEFINE_bool(
  'compile', False, 'Compile it too, for TPUs; extra kernels-aot.'
)
_LAYOUT = flags.DEFINE_string(
  'layout', None, 'COPIESxDEVICES to compile; the best if not given.'
)
_CHECK = flags.DEFINE_bool(
  'check', False, 'Predict SmolLM2 on this machine, then measure it.'
)


def main():
  """Predicts, or checks a prediction."""
  if _CHECK.value:
    plan_check.check_here()
    return
  plan.plan(
    plan.Plan(
      _MODEL.value,
      _SLICE.value,
      Work(
        _CONTEXT.value,
        _NEW_TOKENS.value,
        _SAMPLES.value,
        _PROBLEMS.value,
        _KV_BUDGET.value,
        _BLOCK_SIZE.value,
      ),
      _BYTES.value,
      _COMBINE.value,
      _PRICE.value,
      _OUT.value,
      _COMPILE.value,
      _LAYOUT.value,
    )
  )


if __name__ == '__main__':
  command.run('plan', main, cache=False)
