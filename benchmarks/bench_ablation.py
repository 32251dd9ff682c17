"""What is each ingredient of the training of gates worth?

ResNet-20 with gates at half of its multiply-accumulates, trained from the published weights for a few epochs: once as
the recipe `resnet20-branch` says, once for each ingredient without it, once for each other placement of the gates.
Every row has the same images in the same order. Top-1 on all 10,000 test images, and how much the choice of channels
follows the input: the mean entropy of "group g wins", in bit, over groups and gates (1: every group wins for half of
the inputs).

Each row is recorded when it is finished; the same command goes on where it was stopped.

    python benchmarks/bench_ablation.py [--epochs 3] [--rows recipe "no teacher" ...] [--threads 1]
"""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from support import data_folder
from support.choices import binary_entropy, choices
from support.records import merged_rows, write_record

from espalier.training import cifar10
from espalier.training.data import Images, default_device
from espalier.training.loop import Training
from espalier.training.memory import keep_freed_memory
from espalier.training.recipe import RECIPES, Recipe

LEARNING_RATE = 0.02
"""Less than the recipe's: what suits so few epochs."""

BASE = dataclasses.replace(RECIPES["resnet20-branch"], learning_rate=LEARNING_RATE, bfloat16=True, compiled=True)
VARIANTS: dict[str, dict] = {
    "recipe": {},
    "gates inside of the branches only": {"plan": RECIPES["resnet20-inner"].plan},
    "gates behind the add": {"plan": RECIPES["resnet20-sum"].plan},
    "no teacher": {"distillation": 0.0},
    "gates begin alike (the paper's start)": {"follow": None},
    "the paper's start, density lowered by steps": {"follow": None, "lowering": 0.6},
    "gates begin without following the input": {"follow": 0.0},
    "gates begin following the input fully": {"follow": 1.0},
    "no penalty on saliencies": {"sparsity": 0.0},
    "ten times the penalty": {"sparsity": 1e-7},
    "single channels instead of groups": {"plan": dataclasses.replace(BASE.plan, granularity=1)},
}
"""What differs from the recipe, by the row's name."""

IMAGES = 2000
"""Of the test images, for the entropy."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--rows", nargs="+", choices=VARIANTS, default=list(VARIANTS), metavar="ROW")
    parser.add_argument("--threads", type=int)
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    keep_freed_memory()
    device = default_device()
    train, test = (Images(*load(data_folder()), device) for load in (cifar10.load_train, cifar10.load_test))
    recipes = {name: dataclasses.replace(BASE, epochs=options.epochs, **VARIANTS[name]) for name in VARIANTS}
    rows = recorded(recipes)
    for name in options.rows:
        if name not in rows:
            rows[name] = {"row": name, "epochs": options.epochs, **trained(recipes[name], train, test)}
            write_record("ablation", [rows[one] for one in VARIANTS if one in rows])
            Console().print(table(rows.values()))


def recorded(recipes: dict[str, Recipe]) -> dict[str, dict]:
    """The rows that an earlier run has recorded of the same trainings."""
    rows = {row["row"]: row for row in merged_rows("ablation", [], ("row",))}
    return {name: rows[name] for name, one in recipes.items() if name in rows and rows[name]["recipe"] == one.to_dict()}


def trained(recipe: Recipe, train: Images, test: Images) -> dict:
    """What a training of this recipe gives."""
    with tempfile.TemporaryDirectory() as folder:
        training = Training(recipe, train, test, data_folder(), Path(folder))
        epochs = list(training.run())
        training.model.eval().cpu()
        chosen = choices(training.model, next(test.plain_batches(IMAGES))[0].cpu().numpy())
    bits = float(np.mean(np.concatenate([binary_entropy(active.mean(0)) for active in chosen.values()])))
    return {"top1": epochs[-1].top1_percent, "loss": epochs[-1].loss, "entropy_bits": bits, "recipe": recipe.to_dict()}


def table(rows) -> Table:
    result = Table(title=f"{BASE.network} at half of its MACs, trained gates")
    for heading, justify in (("", "left"), ("top-1, %", "right"), ("entropy, bit", "right"), ("epochs", "right")):
        result.add_column(heading, justify=justify)
    for row in rows:
        result.add_row(row["row"], f"{row['top1']:.2f}", f"{row['entropy_bits']:.3f}", str(row["epochs"]))
    return result


if __name__ == "__main__":
    main()
