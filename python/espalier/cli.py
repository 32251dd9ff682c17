"""The command line: arguments only. What a command does is in `espalier.commands`, imported when it is called."""

from __future__ import annotations

import os
import signal
import sys
import threading
from importlib import metadata
from pathlib import Path
from typing import Annotated

import typer
from typer.core import TyperGroup

from .core.errors import EspalierError, InvalidInputError


class _Commands(TyperGroup):
    """Turns errors that a user can cause into one line and exit code 2."""

    def invoke(self, ctx):
        try:
            return super().invoke(ctx)
        except EspalierError as error:
            _fail(str(error))
        except BrokenPipeError:
            raise
        except OSError as error:
            _fail(f"{error.filename}: {error.strerror}" if error.filename else str(error))


def _fail(message: str) -> None:
    sys.stderr.write(f"espalier: error: {' '.join(message.split())}\n")
    raise typer.Exit(2)


app = typer.Typer(
    cls=_Commands,
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

BUNDLED = "mcifarnet, mcifarnet-gated, resnet8-int8"
Model = Annotated[
    Path,
    typer.Argument(
        metavar="MODEL.onnx", help=f"The network, an ONNX file or one that is bundled: {BUNDLED}.", show_default=False
    ),
]
Folder = Annotated[
    Path, typer.Argument(metavar="OUT", help="A folder that `espalier compile` wrote.", show_default=False)
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")]
Shapes = Annotated[
    list[str] | None,
    typer.Option("--shape", metavar="NAME=SIZES", help="Shape of an input that is open: x=1,3,224,224."),
]
PlanFile = Annotated[Path | None, typer.Option("--plan", metavar="PLAN.json", help="Settings by layer.")]
Density = Annotated[float | None, typer.Option(help="Kept fraction of the channels of each layer, in (0, 1].")]
Granularity = Annotated[int | None, typer.Option(help="Channels kept or dropped together: 1, 4, 8 or 16.")]
Placement = Annotated[str | None, typer.Option(help="What to gate at a residual add: inner, branch or sum.")]
Weights = Annotated[
    str | None,
    typer.Option(
        metavar="FORMAT",
        help="Number format of the weights: float32, bfloat16, float16 or tfloat32 (GPUs only), binary, or with its "
        "bits (in quotes, for the shell) "
        "'uniform<8>', 'shift<4>', 'focused<5>', 'codebook<4>', 'fixed<8,6>'.",
    ),
]
Activations = Annotated[
    str | None,
    typer.Option(
        metavar="FORMAT",
        help="Number format of the activations: as the weights if those are floats, else 'uniform<2>' to "
        "'uniform<8>', which is the default.",
    ),
]
Sparsity = Annotated[float | None, typer.Option(help="Fraction of the weights of each layer set to zero, in [0, 1).")]
Winograd = Annotated[
    bool | None,
    typer.Option(
        "--winograd/--no-winograd", help="Allow Winograd's transforms, which round more coarsely (default: yes)."
    ),
]
Calibration = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="What `espalier calibrate` wrote, or inputs to calibrate on (.npy, .npz)."),
]
TargetText = Annotated[
    str, typer.Option(help='What to compile for: "llvm", "fpga_hls/pynq-z2" or a JSON object, see `espalier targets`.')
]
RecordPath = Annotated[Path, typer.Argument(metavar="RECORDS", help="A file of tuning records.", show_default=False)]
Limit = Annotated[float, typer.Option(metavar="SECONDS", min=1, help="Stop the tool after so long.")]
SimulationLimit = Annotated[
    float, typer.Option("--limit", metavar="SECONDS", min=1, help="With --simulate: stop each tool after so long.")
]
Seed = Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Of what is drawn.")]
Threads = Annotated[int, typer.Option(help="Threads to compute with, at most the cores there are.")]


def _finish(outcome, as_json: bool) -> None:
    from .commands.output import show

    show(outcome, as_json)
    if outcome.exit_code:
        raise typer.Exit(outcome.exit_code)


def _print_version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"espalier {metadata.version('espalier')}\n")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Compile a trained network so that it computes only the channels an input needs."""


@app.command()
def demo(
    threads: Threads = 1,
    rounds: Annotated[int, typer.Option(min=1, help="Times each contender is measured.")] = 30,
    as_json: Json = False,
) -> None:
    """Compare the bundled network with ONNX Runtime."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", str(threads))  # numpy's; read when it is first imported
    from .commands import demo as command

    _finish(command.run(threads, rounds), as_json)


@app.command()
def compile(
    model: Model,
    output: Annotated[Path | None, typer.Option("-o", "--output", metavar="OUT", help="Folder to save in.")] = None,
    target: TargetText = "llvm",
    plan: PlanFile = None,
    density: Density = None,
    granularity: Granularity = None,
    placement: Placement = None,
    weights: Weights = None,
    activations: Activations = None,
    sparsity: Sparsity = None,
    winograd: Winograd = None,
    calibration: Calibration = None,
    records: Annotated[
        Path | None, typer.Option(metavar="RECORDS", help="What `espalier tune` measured: kernels are chosen by it.")
    ] = None,
    align_density: Annotated[
        bool,
        typer.Option("--align-density", help="Keep as many channels more as take no more time, by prediction."),
    ] = False,
    compress: Annotated[
        bool, typer.Option("--compress", help="Entropy-code the weights in OUT, and show sizes.")
    ] = False,
    shape: Shapes = None,
    list_layers: Annotated[
        bool, typer.Option("--list-layers", help="Only list the layers' names, for a plan.")
    ] = False,
    keep_model: Annotated[bool, typer.Option(help="Save a copy of the model for `espalier bench`.")] = True,
    as_json: Json = False,
) -> None:
    """Compile an ONNX model into a folder."""
    from .commands import compile as command
    from .commands.models import PlanOptions

    if list_layers:
        return _finish(command.list_layers(model, shape or ()), as_json)
    if output is None:
        raise typer.BadParameter("needed unless --list-layers is given", param_hint="-o")
    options = PlanOptions(
        plan, density, granularity, placement, weights, activations, sparsity, winograd, calibration, records
    )
    how = command.CompileOptions(keep_model, compress, align_density)
    return _finish(command.run(model, output, target, options, shape or (), how), as_json)


@app.command()
def tune(
    model: Model,
    target: TargetText = "llvm",
    budget: Annotated[str, typer.Option(metavar="TIME", help="How long: 60s, 10m, 1h or 200trials.")] = "60s",
    records: Annotated[Path, typer.Option(metavar="RECORDS", help="File to read and to append to.")] = Path(
        "espalier-records.db"
    ),
    plan: PlanFile = None,
    density: Density = None,
    granularity: Granularity = None,
    placement: Placement = None,
    weights: Weights = None,
    activations: Activations = None,
    sparsity: Sparsity = None,
    winograd: Winograd = None,
    calibration: Calibration = None,
    shape: Shapes = None,
    cost_model: Annotated[
        str, typer.Option(metavar="NAME|FILE", help="gp, pretrained, xgboost, analytic, random, or a saved one.")
    ] = "gp",
    search: Annotated[str, typer.Option(help="guided, exhaustive or random.")] = "guided",
    tracker: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT/KEY", help="Measure on the machines that wait at TVM's RPC tracker."),
    ] = None,
    save_cost_model: Annotated[Path | None, typer.Option(metavar="FILE", help="Save the trained cost model.")] = None,
    seed: Seed = 0,
    tuner: Annotated[
        str, typer.Option(help="espalier, or metaschedule: TVM's own, to compare with; builds do not use it.")
    ] = "espalier",
    as_json: Json = False,
) -> None:
    """Measure kernels of a model where it gains most, for `espalier compile --records`."""
    from .commands import tune as command
    from .commands.models import PlanOptions

    options = PlanOptions(plan, density, granularity, placement, weights, activations, sparsity, winograd, calibration)
    how = command.TuneOptions(budget, records, cost_model, search, tracker, save_cost_model, seed, tuner)
    _finish(command.run(model, target, options, shape or (), how), as_json)


@app.command()
def search(
    context: typer.Context,
    output: Annotated[Path, typer.Option("-o", "--output", metavar="STUDY", help="Folder of the study.")],
    space: Annotated[
        str, typer.Option(metavar="NAME|FILE", help="resnet-cifar, mobilenet-cifar, or a file that narrows one down.")
    ] = "resnet-cifar",
    target: Annotated[list[str] | None, typer.Option(help="What to search for; several make a front each.")] = None,
    objectives: Annotated[
        str,
        typer.Option(help="Any of accuracy,latency,throughput,energy,size; on FPGAs also cycles,luts,dsps,bram_36k."),
    ] = "accuracy,latency",
    budget: Annotated[str, typer.Option(metavar="TIME", help="How long: 60s, 10m, 1h or 200trials.")] = "5m",
    limit: Annotated[
        list[str] | None, typer.Option(metavar="LIMIT", help="What must hold: 'accuracy>=90%', 'latency<=0.2ms'.")
    ] = None,
    accuracy: Annotated[str | None, typer.Option(metavar="LIMIT", help="The same of accuracy: '>=90%'.")] = None,
    latency: Annotated[str | None, typer.Option(metavar="LIMIT", help="The same of latency: '<=0.2ms'.")] = None,
    minimize: Annotated[
        str | None, typer.Option(metavar="NAME", help="Only pick from a finished study what has least of it.")
    ] = None,
    maximize: Annotated[str | None, typer.Option(metavar="NAME", help="The same, what has most of it.")] = None,
    sampler: Annotated[str, typer.Option(help="auto, nsga2, gp, qlognehvi or random.")] = "auto",
    supernet: Annotated[Path | None, typer.Option(metavar="FILE", help="Weights of a supernet, see training.")] = None,
    data: Annotated[
        Path | None, typer.Option(metavar="PATH", help="CIFAR-10 (default: the 1,000 images in the package).")
    ] = None,
    storage: Annotated[
        str | None, typer.Option(metavar="URL", help="An Optuna storage for many workers: postgresql://...")
    ] = None,
    measure: Annotated[bool, typer.Option("--measure", help="Compile and time every network, predict none.")] = False,
    build: Annotated[bool, typer.Option(help="Build and measure the front in the end.")] = True,
    seed: Seed = 0,
    fine_tune: Annotated[
        int | None, typer.Option(metavar="EPOCHS", help="Train each network of the front so long; needs --data.")
    ] = None,
    teacher: Annotated[
        str | None,
        typer.Option(metavar="NETWORK=FILE", help="Who teaches then (default: the supernet's largest network)."),
    ] = None,
    tuned: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="What sample-networks wrote (default: the supernet's name with .json)."),
    ] = None,
    workers: Annotated[
        str | None, typer.Option(metavar="ray://HOST:PORT", help="A Ray cluster that evaluates; times are taken here.")
    ] = None,
    simulate: Annotated[
        bool, typer.Option("--simulate", help="Take cycles of built accelerators from their SystemVerilog.")
    ] = False,
    points: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Build at most so many of the front (default: all of it).")
    ] = None,
    also: Annotated[
        list[int] | None, typer.Option(metavar="NUMBER", help="Build this evaluated network too; may be repeated.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Search networks, number formats and the target's settings together for the best trade-offs."""
    from .commands import search as command

    limits = list(limit or ())
    limits += [f"{name}{text}" for name, text in (("accuracy", accuracy), ("latency", latency)) if text]
    if minimize and maximize:
        raise InvalidInputError("--minimize: got --maximize too, accepted is either")
    if asked := minimize or maximize:
        _refuse_others(context, "--minimize" if minimize else "--maximize")
        return _finish(command.ask(output, tuple(limits), asked, bool(maximize), storage), as_json)
    targets = tuple(target or ("llvm",))
    how = command.SearchOptions(
        space, targets, objectives, budget, tuple(limits), sampler, supernet, data, storage, measure, build, seed,
        fine_tune, teacher, tuned, workers, simulate, points, tuple(also or ()),
    )  # fmt: skip
    return _finish(command.run(output, how), as_json)


QUESTION = ("output", "limit", "accuracy", "latency", "minimize", "maximize", "storage", "as_json")
"""The options of `search` that a question about a finished study makes use of."""


def _refuse_others(context: typer.Context, question: str) -> None:
    """Raise InvalidInputError for options of a search beside a question."""
    for one in context.command.params:
        source = context.get_parameter_source(one.name)
        if one.name not in QUESTION and source is not None and source.name == "COMMANDLINE":
            raise InvalidInputError(
                f"{question}: got {one.opts[0]} too, which a question about a finished study makes no use of; accepted "
                "are limits and --storage"
            )


@app.command()
def sample_networks(
    output: Annotated[Path, typer.Option("-o", "--output", metavar="FOLDER", help="Of the networks and their table.")],
    data: Annotated[Path, typer.Option(metavar="PATH", help="CIFAR-10.", show_default=False)],
    space: Annotated[str, typer.Option(help="resnet-cifar or mobilenet-cifar.")] = "resnet-cifar",
    supernet: Annotated[Path | None, typer.Option(metavar="FILE", help="Weights of a supernet, see training.")] = None,
    networks: Annotated[int, typer.Option(help="How many, from the smallest to the largest.")] = 32,
    fine_tune: Annotated[int, typer.Option(metavar="EPOCHS", help="How long each is trained.")] = 3,
    teacher: Annotated[
        str | None,
        typer.Option(metavar="NETWORK=FILE", help="Who teaches (default: the supernet's largest network)."),
    ] = None,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Fine-tune networks of a supernet, from which `espalier search` learns to predict accuracies."""
    from .commands import sample_networks as command

    how = command.SamplingOptions(space, supernet, networks, fine_tune, teacher, seed)
    _finish(command.run(output, data, how), as_json)


@app.command()
def report(
    study: Annotated[Path, typer.Argument(metavar="STUDY", help="A folder that `espalier search` wrote.")],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="FILE.html", help="The page.")] = Path(
        "report.html"
    ),
    storage: Annotated[str | None, typer.Option(metavar="URL", help="As the search was given, if any.")] = None,
    as_json: Json = False,
) -> None:
    """Show a study as one page that needs nothing else."""
    from .commands import report as command

    _finish(command.run(study, output, storage), as_json)


@app.command()
def calibrate(
    model: Model,
    inputs: Annotated[
        Path, typer.Option(metavar="FILE", help="A few hundred unlabelled inputs (.npy, .npz).", show_default=False)
    ],
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="FILE.npz", help="File to save in.", show_default=False)
    ],
    plan: PlanFile = None,
    density: Density = None,
    granularity: Granularity = None,
    placement: Placement = None,
    weights: Weights = None,
    activations: Activations = None,
    ranges: Annotated[
        str, typer.Option(help="How ranges of activations are chosen: mse, percentile or minmax.")
    ] = "mse",
    gates_from: Annotated[
        Path | None,
        typer.Option(metavar="FILE.npz", help="A calibration whose gates and weights are kept; only ranges are new."),
    ] = None,
    shape: Shapes = None,
    as_json: Json = False,
) -> None:
    """Fit gates to a network that was trained without any, and observe ranges of activations to quantize by."""
    from .commands import calibrate as command
    from .commands.models import PlanOptions

    options = PlanOptions(plan, density, granularity, placement, weights, activations)
    _finish(command.run(model, inputs, output, options, shape or (), ranges, gates_from), as_json)


@app.command()
def run(
    folder: Folder,
    inputs: Annotated[
        Path, typer.Option("--input", metavar="FILE", help="The inputs (.npy, .npz).", show_default=False)
    ],
    output: Annotated[Path | None, typer.Option("-o", "--output", metavar="FILE.npz", help="Save the outputs.")] = None,
    threads: Threads = 1,
    as_json: Json = False,
) -> None:
    """Run a compiled network."""
    from .commands import run as command

    _finish(command.run(folder, inputs, output, threads), as_json)


@app.command()
def bench(
    folders: Annotated[
        list[Path], typer.Argument(metavar="OUT...", help="Folders that `espalier compile` wrote.", show_default=False)
    ],
    against: Annotated[str, typer.Option(metavar="PEERS", help="Any of onnxruntime,openvino,torch.")] = "",
    model: Annotated[
        Path | None, typer.Option(metavar="MODEL.onnx", help="For the peers; else the copy in OUT.")
    ] = None,
    inputs: Annotated[Path | None, typer.Option(metavar="FILE", help="Inputs (.npy, .npz); else random ones.")] = None,
    labels: Annotated[
        Path | None, typer.Option(metavar="FILE", help='Class numbers (.npy); else "labels" among the inputs.')
    ] = None,
    threads: Threads = 1,
    rounds: Annotated[int, typer.Option(min=1, help="Times each contender is measured.")] = 20,
    as_json: Json = False,
) -> None:
    """Time compiled networks against other libraries."""
    from .commands import bench as command

    peers = [name.strip() for name in against.split(",") if name.strip()]
    _finish(command.run(folders, command.BenchOptions(peers, model, inputs, labels, threads, rounds)), as_json)


@app.command()
def profile(
    folder: Folder,
    inputs: Annotated[
        Path | None, typer.Option("--input", metavar="FILE", help="Inputs (.npy, .npz); else random ones.")
    ] = None,
    repeats: Annotated[int, typer.Option(min=1, help="Timed runs.")] = 20,
    threads: Threads = 1,
    simulate: Annotated[
        str | None,
        typer.Option(metavar="hls|rtl", help="Of an accelerator: run the emitted C++ or SystemVerilog, bit for bit."),
    ] = None,
    limit: SimulationLimit = 3600,
    as_json: Json = False,
) -> None:
    """Show time and work of each layer; of an accelerator, cycles of each stage."""
    from .commands import profile as command

    _finish(command.run(folder, inputs, repeats, threads, simulate, limit), as_json)


@app.command()
def synth(
    folder: Folder,
    tool: Annotated[str, typer.Option(help="yosys, nextpnr-ecp5 or vitis.")] = "yosys",
    stage: Annotated[str | None, typer.Option(metavar="NAME", help="Only this stage.")] = None,
    per_stage: Annotated[bool, typer.Option("--per-stage", help="Every stage alone, and the sum of all.")] = False,
    jobs: Annotated[int, typer.Option(min=1, help="With --per-stage: so many stages at the same time.")] = 1,
    limit: Limit = 3600,
    as_json: Json = False,
) -> None:
    """Synthesize an accelerator's emitted project."""
    from .commands import synth as command

    _finish(command.run(folder, tool, stage, per_stage, jobs, limit), as_json)


@app.command()
def doctor(as_json: Json = False) -> None:
    """Check what is installed and what is missing."""
    from .commands import doctor as command

    _finish(command.run(), as_json)


@app.command()
def targets(as_json: Json = False) -> None:
    """List what this machine can compile for and run."""
    from .commands import targets as command

    _finish(command.run(), as_json)


records_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Look after files of tuning records.")
app.add_typer(records_app, name="records")


@records_app.command("list")
def list_records(path: RecordPath, as_json: Json = False) -> None:
    """Show the tasks in a file, and the best choice of each."""
    from .commands import records as command

    _finish(command.list_tasks(path), as_json)


@records_app.command("export")
def export_records(
    path: RecordPath, output: Annotated[Path, typer.Argument(metavar="OUT.jsonl")], as_json: Json = False
) -> None:
    """Write records as JSON lines."""
    from .commands import records as command

    _finish(command.export(path, output), as_json)


@records_app.command("import")
def import_records(
    path: RecordPath, source: Annotated[Path, typer.Argument(metavar="IN.jsonl")], as_json: Json = False
) -> None:
    """Add records from JSON lines."""
    from .commands import records as command

    _finish(command.import_lines(path, source), as_json)


@records_app.command("merge")
def merge_records(
    path: RecordPath, sources: Annotated[list[Path], typer.Argument(metavar="FROM...")], as_json: Json = False
) -> None:
    """Add the records of other files, damaged ones as far as they are readable."""
    from .commands import records as command

    _finish(command.merge(path, sources), as_json)


@records_app.command("prune")
def prune_records(
    path: RecordPath,
    keep: Annotated[int, typer.Option(min=1, help="Latest records of a choice that stay.")] = 3,
    as_json: Json = False,
) -> None:
    """Remove all but the latest records of each choice."""
    from .commands import records as command

    _finish(command.prune(path, keep), as_json)


def main() -> None:
    """The entry point of the command `espalier`."""
    interrupted, ignored = threading.Event(), sys.unraisablehook

    def interrupt(number, frame) -> None:
        interrupted.set()
        raise KeyboardInterrupt

    def interrupt_again(unraisable) -> None:
        """Where Python ignores exceptions, such as the callbacks of its imports, an interruption would be lost."""
        if unraisable.exc_type is KeyboardInterrupt:
            main_thread = threading.main_thread().ident
            threading.Timer(0.1, signal.pthread_kill, (main_thread, signal.SIGINT)).start()
        else:
            ignored(unraisable)

    signal.signal(signal.SIGINT, interrupt)
    sys.unraisablehook = interrupt_again
    try:
        app(prog_name="espalier")
    except RuntimeError:  # which is what TVM makes of an interruption inside a pass
        if not interrupted.is_set():
            raise
        sys.exit(130)
