r"""Says before a slice is rented what fits on it, how fast, and at what price.

  python scripts/plan.py --model=Qwen3-8B --slice=v5e-8 --context=4096 \
      --samples=64 --new_tokens=4096
  python scripts/plan.py --model=Llama-3.1-70B --slice=h100-8 --problems=16 \
      --out=plan.png
  python scripts/plan.py --slice=v5e-8 --compile  # minutes
  python scripts/plan.py --slice=v6e-8 --compile --program=train
  python scripts/plan.py --check  # this machine, predicted and measured

A line for each way to split the devices: copies of the model, and devices of
each copy. Weights and cache are what one device holds, the next four columns
what it does in a step in the middle of the responses, by the cost model of
Kinetics (arXiv 2506.05333) and the peaks of data sheets: a bound that a real
slice approaches from below. --check measures how fast this machine does each
part of a step by itself (products, attention to a cache, the draw from logits,
what is between products), and says how far off the law of those rates is.

--compile has the compiler of TPUs or GPUs make the program of the best layout,
without a device, and prints what it needs beside that. --program makes another:
an update of the model by what it sampled (train), a generation of learned rules
(es), an update of agents (ippo).

Slices: v5e-8, v6e-8, v5p-8 (four chips, named by cores), h100-8, h200-8,
b200-8 and so on. Prices are list prices; --price=USD is yours.
"""

from absl import flags

from ttc.drivers import command, plan, plan_check, plan_options

plan_options.define_flags()
_CHECK = flags.DEFINE_bool(
  'check', False, 'Predict SmolLM2 on this machine, then measure it.'
)


def main():
  """Predicts, or checks a prediction."""
  if _CHECK.value:
    plan_check.check_here()
  else:
    plan.plan(plan_options.asked())


if __name__ == '__main__':
  command.run('plan', main, cache=False)
