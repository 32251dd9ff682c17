"""`python -m espalier.training RECIPE --data PATH`: arguments and progress only."""

from __future__ import annotations

import dataclasses
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from ..core.errors import EspalierError
from .recipe import INCREMENTS, RECIPES

LINE_EVERY_S = 60
"""How often progress is written where there is no terminal."""


def main(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help=", ".join(RECIPES))],
    data: Annotated[
        Path, typer.Option(help="CIFAR-10: cifar-10-python.tar.gz, or a folder with it or with sheets of WebP.")
    ],
    output: Annotated[
        Path | None, typer.Option(help="Where to keep the checkpoint (default: the recipe's name).")
    ] = None,
    start: Annotated[
        Path | None, typer.Option(help="The weights to begin with, or their folder (default: --data).")
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="How long to train.")] = None,
    density: Annotated[float | None, typer.Option(help="Kept fraction of the channels, in (0, 1].")] = None,
    granularity: Annotated[int | None, typer.Option(help="Channels kept or dropped together: 1, 4, 8 or 16.")] = None,
    placement: Annotated[str | None, typer.Option(help="What to gate at a residual add.")] = None,
    weights: Annotated[str | None, typer.Option(help="Number format of the weights, such as focused<5>.")] = None,
    activations: Annotated[str | None, typer.Option(help="Number format of quantized layers' inputs.")] = None,
    pruning: Annotated[float | None, typer.Option(help="Share of the weights that become 0.")] = None,
    incremental: Annotated[
        bool, typer.Option(help="Fix quantized weights a part at a time: 25, 50, 75, 87.5, 100 %.")
    ] = False,
    learning_rate: Annotated[float | None, typer.Option(help="The highest one.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, max=2**32 - 1, help="Of everything that is drawn.")] = None,
    bfloat16: Annotated[bool | None, typer.Option(help="Compute products in bfloat16.")] = None,
    compiled: Annotated[bool | None, typer.Option(help="Train what torch.compile makes of the network.")] = None,
    threads: Annotated[int | None, typer.Option(help="Threads to compute with (default: all cores).")] = None,
) -> None:
    """Train a network; a second call continues where the first was stopped."""
    try:
        plan = {"density": density, "granularity": granularity, "placement": placement}
        plan |= {"weights": weights, "activations": activations}
        settings = {"epochs": epochs, "learning_rate": learning_rate, "seed": seed, "bfloat16": bfloat16}
        settings |= {"pruning": pruning, "compiled": compiled, "incremental": INCREMENTS if incremental else None}
        _train(recipe, _given(plan), _given(settings), data, start or data, output, threads)
    except EspalierError as error:
        sys.stderr.write(f"espalier.training: error: {' '.join(str(error).split())}\n")
        raise typer.Exit(2) from None


def _given(options: dict) -> dict:
    return {name: value for name, value in options.items() if value is not None}


def _train(name: str, plan: dict, settings: dict, data: Path, start: Path, output: Path | None, threads) -> None:
    from ..frontend.torch import require_torch
    from .recipe import recipe

    torch = require_torch()
    chosen = recipe(name)
    chosen = dataclasses.replace(chosen, plan=dataclasses.replace(chosen.plan, **plan), **settings)
    if threads:
        torch.set_num_threads(threads)

    from . import cifar10
    from .data import Images, default_device
    from .loop import Training
    from .memory import keep_freed_memory
    from .supernet_training import SupernetTraining

    keep_freed_memory()
    train, test = (Images(*load(data), default_device()) for load in (cifar10.load_train, cifar10.load_test))
    training = (SupernetTraining if chosen.space else Training)(chosen, train, test, start, output or Path(name))
    if training.done:
        _say(f"continuing after epoch {len(training.done)} of {chosen.epochs}")
    _show(training)


def _show(training) -> None:
    from rich.console import Console

    console = Console(stderr=True)
    (_with_bar if console.is_terminal else _in_lines)(training)


def _in_lines(training) -> None:
    last = -LINE_EVERY_S

    def on_batch(at) -> None:
        nonlocal last
        if time.monotonic() - last > LINE_EVERY_S:
            last = time.monotonic()
            where = f"epoch {at.epoch}/{at.epochs} batch {at.batch}/{at.batches}"
            _say(f"{where} loss {at.loss:.3f} left {_hours(at.left_s)}")

    for epoch in training.run(on_batch):
        _say(_line(epoch))


def _with_bar(training) -> None:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[left]} left"))
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None, left="")

        def on_batch(at) -> None:
            total, done = at.epochs * at.batches, (at.epoch - 1) * at.batches + at.batch
            text = f"epoch {at.epoch}/{at.epochs}, loss {at.loss:.3f}"
            bar.update(task, total=total, completed=done, description=text, left=_hours(at.left_s))

        for epoch in training.run(on_batch):
            bar.console.print(_line(epoch), highlight=False)


def _line(epoch) -> str:
    return (
        f"epoch {epoch.number}: density {epoch.density:g}, loss {epoch.loss:.4f}, "
        f"top-1 {epoch.top1_percent:.2f} %, {epoch.seconds:.0f} s"
    )


def _hours(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    typer.run(main)
