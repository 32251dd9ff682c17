"""From a command to a front that is built, in miniature: a supernet that was never trained, two networks, one board."""

from __future__ import annotations

import contextlib
import dataclasses
import html
import json
import pickle
import re
import shlex
import socket
from pathlib import Path

import numpy as np
import pytest
import tvm

torch = pytest.importorskip("torch")
pytest.importorskip("optuna")

from command_line import assert_refused, call, json_of  # noqa: E402
from fake_ray import use_fake_ray  # noqa: E402
from shown_studies import study  # noqa: E402
from supernets import untrained_supernet  # noqa: E402

import espalier  # noqa: E402
from espalier.commands.search import _built_table  # noqa: E402
from espalier.core.architecture import architecture_space  # noqa: E402
from espalier.core.choice_space import ChoiceSpace  # noqa: E402
from espalier.core.errors import InfeasibleDesignError, InvalidInputError  # noqa: E402
from espalier.tuning.nas import built_front  # noqa: E402
from espalier.tuning.nas.built_front import RESULT  # noqa: E402
from espalier.tuning.nas.finished import query  # noqa: E402
from espalier.tuning.nas.joint_space import JointSpace  # noqa: E402
from espalier.tuning.nas.problem import Limit, Value, objectives_of  # noqa: E402
from espalier.tuning.nas.search import problem_of  # noqa: E402
from espalier.tuning.nas.study import Search  # noqa: E402
from espalier.tuning.nas.supernet_networks import Split, SupernetNetworks  # noqa: E402

SMALL = """architectures = resnet-cifar
stage1.depth = 1
stage1.width = 8
stage2.depth = 1
stage2.width = 16
stage2.expansion = 0.5
stage3.depth = 1
stage3.width = 32
stage3.expansion = 0.5 | 1.0
stage1.weights = uniform<8>
stage2.weights = uniform<8>
stage3.weights = uniform<8>
"""
BOARD = "fpga_hls/pynq-z2"


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """A folder with weights of a supernet and the file of a small space."""
    folder = tmp_path_factory.mktemp("nas")
    untrained_supernet(folder / "supernet.pt")
    (folder / "small.txt").write_text(SMALL + "frames_per_s = 0\n")
    (folder / "cpu.txt").write_text(SMALL.replace("0.5 | 1.0", "0.5"))
    return folder


@pytest.fixture(scope="module")
def searched(here):
    """A finished study for a board."""
    words = ("--target", BOARD, "--objectives", "accuracy,cycles", "--budget", "20trials", "--sampler", "random")
    found = call(
        "search", "--space", here / "small.txt", "--supernet", here / "supernet.pt", *words, "-o", here / "st", "--json"
    )
    assert found.exit_code == 0, found.output
    return json.loads(found.stdout)["studies"][0]


def test_a_front_is_built_and_runs(here, searched):
    assert searched["evaluated"] == 2
    assert searched["end"] == "every point of the space is evaluated"
    for one in searched["front"]:
        folder = here / "st" / "front" / one["artifact"]
        artifact = espalier.load(folder)
        assert artifact(np.zeros((1, 3, 32, 32), np.float32)).shape == (1, 10)
        assert espalier.Plan.load(folder / "plan.json").layer("stem").weights == "uniform<8>"
        assert one["values"]["cycles"]["number"] == one["measured"]["cycles"]["number"]
        assert 0 <= one["measured"]["accuracy"]["number"] <= 1
        for value in (*one["values"].values(), *one["measured"].values()):
            assert value["how"]


def test_a_finished_study_answers_questions(here, searched):
    kept = sorted((here / "st").rglob("*"))
    fewest = min(one["measured"]["cycles"]["number"] for one in searched["front"])
    found = json_of("search", "-o", here / "st", "--accuracy", ">=0%", "--minimize", "cycles")
    assert found["measured"]["cycles"]["number"] == fewest
    assert_refused(
        ("search", "-o", here / "st", "--accuracy", ">=101%", "--minimize", "cycles"), "nearest", kept=here / "st"
    )
    assert_refused(("search", "-o", here / "st", "--minimize", "size"), "was not evaluated", kept=here / "st")
    assert sorted((here / "st").rglob("*")) == kept


def test_no_more_of_a_front_is_built_than_was_asked_for(here, tmp_path):
    (tmp_path / "speeds.txt").write_text(SMALL.replace("0.5 | 1.0", "0.5") + "frames_per_s = 0 | 500\n")
    words = ("--space", tmp_path / "speeds.txt", "--supernet", here / "supernet.pt", "--target", BOARD)
    more = ("--objectives", "cycles,luts", "--budget", "2trials", "-o", tmp_path / "st")
    assert len(json_of("search", *words, *more, "--no-build")["studies"][0]["front"]) == 2
    (kept,) = json_of("search", *words, *more, "--points", 1)["studies"][0]["front"]
    assert len([*(tmp_path / "st" / "front").iterdir()]) == 1
    both = json_of("search", *words, *more, "--points", 1, "--also", 0, "--also", 1)["studies"][0]["front"]
    assert len(both) == 2
    assert kept["point"] in [one["point"] for one in both]
    assert {one["number"] for one in both} == {0, 1}
    assert_refused(("search", *words, *more, "--also", 7), "has no network 7", kept=tmp_path / "st")
    assert_refused(("search", *words, *more, "--also", 0, "--no-build"), "got --no-build", kept=tmp_path / "st")


def test_a_network_that_cannot_be_built_is_left_out_of_the_front(here, tmp_path, monkeypatch):
    (tmp_path / "speeds.txt").write_text(SMALL.replace("0.5 | 1.0", "0.5") + "frames_per_s = 0 | 500\n")
    words = ("search", "--space", tmp_path / "speeds.txt", "--supernet", here / "supernet.pt", "--target", BOARD)
    more = ("--objectives", "cycles,luts", "--budget", "2trials", "-o", tmp_path / "st")
    assert len(json_of(*words, *more)["studies"][0]["front"]) == 2
    build, too_slow = built_front._built, [500]

    def built(point, *rest):
        if point.point["frames_per_s"] in too_slow:
            raise InfeasibleDesignError("board: too small")
        return build(point, *rest)

    monkeypatch.setattr(built_front, "_built", built)
    found = call(*words, *more, "--json")
    (one,) = json.loads(found.stdout)["studies"][0]["front"]
    assert one["point"]["frames_per_s"] == 0
    assert found.stderr.endswith("left out of the front (board: too small)\n")
    assert [folder.name for folder in (tmp_path / "st" / "front").iterdir()] == [one["artifact"]]
    too_slow.append(0)
    assert_refused((*words, *more), "board: too small", kept=tmp_path / "st")


def test_a_front_that_is_not_built_to_its_end_leaves_the_earlier_one(here, tmp_path, monkeypatch):
    (tmp_path / "speeds.txt").write_text(SMALL.replace("0.5 | 1.0", "0.5") + "frames_per_s = 0 | 500\n")
    words = ("search", "--space", tmp_path / "speeds.txt", "--supernet", here / "supernet.pt", "--target", BOARD)
    more = ("--objectives", "cycles,luts", "--budget", "2trials", "-o", tmp_path / "st")
    front, result = tmp_path / "st" / "front", tmp_path / "st" / RESULT
    json_of(*words, *more)
    kept = {path: path.stat().st_mtime_ns for path in (result, *front.rglob("*"))}
    build, left = built_front._built, [1]

    def built(*parts):
        if not left:
            raise KeyboardInterrupt
        left.pop()
        return build(*parts)

    with monkeypatch.context() as patch:
        patch.setattr(built_front, "_built", built)
        assert call(*words, *more).exit_code != 0
    assert {path: path.stat().st_mtime_ns for path in (result, *front.rglob("*"))} == kept
    json_of(*words, *more)
    assert all(path.stat().st_mtime_ns > kept[path] for path in (result, *front.glob("*/plan.json")))
    assert not (tmp_path / "st" / built_front.NEXT).exists()


def test_what_another_process_builds_meanwhile_is_waited_for_and_taken(here, tmp_path, monkeypatch):
    """If it is the same front: else it is built when the other one is done."""
    (tmp_path / "speeds.txt").write_text(SMALL.replace("0.5 | 1.0", "0.5") + "frames_per_s = 0 | 500\n")
    words = ("search", "--space", tmp_path / "speeds.txt", "--supernet", here / "supernet.pt", "--target", BOARD)
    more = ("--objectives", "cycles,luts", "--budget", "2trials", "-o", tmp_path / "st")
    json_of(*words, *more)
    result = tmp_path / "st" / RESULT
    content = json.loads(result.read_text())
    for one in content["front"]:
        one["remark"] = "of another process"
    result.write_text(json.dumps(content))
    monkeypatch.setattr(built_front, "claimed", lambda path, waits=False: contextlib.nullcontext(waits))
    for asked, remarks in ((), ["of another process"] * 2), (("--points", 1), [""]):
        (found,) = json_of(*words, *more, *asked)["studies"]
        assert [one["remark"] for one in found["front"]] == remarks


def test_a_question_leaves_out_what_was_not_measured():
    one = study(True)
    latency = {name: Value(number, "measured") for name, number in (("latency", 1e-3), ("throughput", 1e3))}
    one.front[1] = dataclasses.replace(one.front[1], measured=one.front[1].measured | latency)
    (found, *limits) = objectives_of(["throughput", "accuracy"])
    assert query(one, (), found, is_maximized=True) is one.front[1]
    assert query(one, (Limit.parse("throughput>=1"),), limits[0], is_maximized=True) is one.front[1]
    with pytest.raises(InvalidInputError, match="no point is within throughput>=2000"):
        query(one, (Limit.parse("throughput>=2000"),), limits[0])
    with pytest.raises(InvalidInputError, match="size was not evaluated, accepted are accuracy, latency, throughput"):
        query(one, (Limit.parse("size<=1kB"),), found)
    one.front[0] = dataclasses.replace(one.front[0], measured={"cycles": Value(9.0, "model")})
    with pytest.raises(InvalidInputError, match="throughput with cycles was not evaluated"):
        query(one, (Limit.parse("cycles<=10"),), found)


def test_the_table_of_a_front_has_gaps_where_values_are_missing():
    one = study(True).front
    one[1] = dataclasses.replace(one[1], measured={"latency": Value(1e-3, "measured")})
    one[0] = dataclasses.replace(one[0], point=dataclasses.replace(one[0].point, values={}))
    columns = [list(column.cells) for column in _built_table(one, ["accuracy", "latency"]).columns[2:]]
    assert columns == [["-", "80 %"], ["-", "1 ms"], ["85 %", "-"], ["-", "1 ms"]]


def test_a_study_has_a_report(here, searched):
    found = json_of("report", here / "st", "-o", here / "report.html")
    text = (here / "report.html").read_text()
    assert found["bytes"] == len(text.encode())
    assert "Search of resnet-cifar for pynq-z2" in text
    assert text.count('class="built"') >= 1


def test_a_cpu_is_measured_then_an_unreachable_limit_is_told(here):
    words = ("--space", here / "cpu.txt", "--supernet", here / "supernet.pt", "--budget", "1trials")
    found = call("search", *words, "--accuracy", ">=99%", "-o", here / "cpu", "--json")
    assert found.exit_code == 0, found.output
    (one,) = json.loads(found.stdout)["studies"][0]["front"]
    assert one["values"]["latency"]["how"].startswith("measured")
    assert one["measured"]["latency"]["number"] > 0
    again = call("search", *words, "--accuracy", ">=99%", "--no-build", "-o", here / "cpu")
    assert "No network is within accuracy>=99%; this is the nearest one" in again.stdout


def test_a_built_network_is_built_again_by_the_command_of_the_report(here, searched, monkeypatch):
    """With the supernet, the target and the space that the first search had, in a study of its own."""
    monkeypatch.chdir(here)
    one = searched["front"][-1]
    page = Path("again.html")
    json_of("report", "st", "-o", page)
    commands = re.findall(r"<pre>(espalier search [^<]*)</pre>", page.read_text())
    assert len(commands) == len(searched["front"])
    (found,) = json_of(*shlex.split(html.unescape(commands[-1]))[1:])["studies"][0]["front"]
    assert found["point"] == one["point"]
    assert found["measured"] == one["measured"]
    built = [here / "st" / "front" / one["artifact"], here / f"again-{one['artifact']}" / "front" / "00"]
    image = np.random.default_rng(0).standard_normal((1, 3, 32, 32)).astype(np.float32)
    np.testing.assert_array_equal(*(espalier.load(folder)(image) for folder in built))


def test_a_question_may_ask_for_the_most(here, searched):
    best = max(one["measured"]["accuracy"]["number"] for one in searched["front"])
    found = json_of("search", "-o", here / "st", "--maximize", "accuracy")
    assert found["measured"]["accuracy"]["number"] == best
    words = ("search", "-o", here / "st", "--maximize", "accuracy", "--minimize", "cycles")
    assert_refused(words, "accepted is either", kept=here / "st")


def test_a_gpu_that_is_not_here_is_predicted_and_built_for(here, tmp_path):
    text = SMALL.replace("uniform<8>", "float16 | uniform<8>").replace("0.5 | 1.0", "0.5") + "batch = 8\n"
    (tmp_path / "gpu.txt").write_text(text.replace("float16 | ", "", 2))
    words = ("--space", tmp_path / "gpu.txt", "--supernet", here / "supernet.pt", "--target", "nvidia/nvidia-h100")
    objectives = ("--objectives", "accuracy,throughput,energy", "--budget", "1trials", "--sampler", "random")
    (one,) = json_of("search", *words, *objectives, "-o", tmp_path / "st")["studies"][0]["front"]
    assert one["values"]["throughput"]["how"].startswith("predicted by the analytic rule")
    assert one["values"]["energy"]["how"].startswith("estimate: energies of operations")
    assert one["measured"]["accuracy"]["how"].startswith("compiled for this CPU")
    assert espalier.load(tmp_path / "st" / "front" / one["artifact"]).inputs[0].shape == (8, 3, 32, 32)
    if not tvm.cuda(0).exist:
        assert one["remark"].startswith("not measured here: ")
        assert "throughput" not in one["measured"]
    json_of("report", tmp_path / "st", "-o", tmp_path / "report.html")
    assert ("not measured here" in (tmp_path / "report.html").read_text()) is bool(one["remark"])


def test_gates_and_activations_are_searched_where_a_space_has_them(here, tmp_path):
    gates = "stage3.density = 0.5\nstage3.granularity = 8\nstage2.activations = uniform<4>\n"
    finer = "stage1.0.conv2.weights = uniform<4>\nstage2.0.weights = uniform<6>\nstage2.0.density = 1.0\n"
    (tmp_path / "gates.txt").write_text(SMALL.replace("0.5 | 1.0", "1.0") + "frames_per_s = 500\n" + gates + finer)
    words = ("--space", tmp_path / "gates.txt", "--supernet", here / "supernet.pt", "--target", BOARD)
    objectives = ("--objectives", "accuracy,energy", "--budget", "1trials")
    (one,) = json_of("search", *words, *objectives, "-o", tmp_path / "st")["studies"][0]["front"]
    assert one["values"]["accuracy"]["how"].startswith("supernet, compiled, ")
    assert one["values"]["energy"]["number"] > 0
    artifact = espalier.load(tmp_path / "st" / "front" / one["artifact"])
    gated = {layer.name: layer for layer in artifact.layers if layer.gate != "none"}
    assert gated
    assert all(name.startswith("stage3") and one.granularity == 8 for name, one in gated.items())
    assert {layer.activation_bits for layer in artifact.layers if layer.name.startswith("stage2")} >= {4}
    own = {layer.name: layer.weights for layer in artifact.layers if layer.weights != "uniform<8>"}
    stage2 = dict.fromkeys(("stage2.0.conv1", "stage2.0.conv2", "stage2.0.downsample"), "uniform<6>")
    assert own == {"stage1.0.conv2": "uniform<4>", **stage2}
    assert "stage2.weights" not in one["point"]
    assert json_of("search", "-o", tmp_path / "st", "--maximize", "accuracy")["point"] == one["point"]
    json_of("report", tmp_path / "st", "-o", tmp_path / "report.html")
    shown = (tmp_path / "report.html").read_text()
    assert "<td>stage2.0.weights</td><td>uniform&lt;6&gt; (1)</td>" in shown
    assert "<td>stage2.weights</td>" not in shown


@pytest.mark.parametrize(("target", "objectives"), [("llvm", "accuracy,size"), (BOARD, "accuracy,cycles")])
def test_mobilenets_are_searched_too(tmp_path, target, objectives):
    space = architecture_space("mobilenet-cifar")
    untrained_supernet(tmp_path / "supernet.pt", "mobilenet-cifar-largest")
    narrow = {name: values[:1] for name, values in space.choices.dimensions.items()}
    narrow |= {"stage1.kernel": (5,)} | {f"stage{number}.weights": ("uniform<8>",) for number in (1, 2, 3)}
    (tmp_path / "space.txt").write_text(f"architectures = mobilenet-cifar\n{ChoiceSpace(narrow)}")
    words = ("--space", tmp_path / "space.txt", "--supernet", tmp_path / "supernet.pt", "--target", target)
    more = ("--objectives", objectives, "--budget", "1trials", "-o", tmp_path / "st")
    (one,) = json_of("search", *words, *more)["studies"][0]["front"]
    assert one["architecture"].startswith("mobilenet(1x16k5e1s1;")
    artifact = espalier.load(tmp_path / "st" / "front" / one["artifact"])
    assert artifact(np.zeros((1, 3, 32, 32), np.float32)).shape == (1, 10)


@pytest.fixture
def on_a_cluster(here, tmp_path):
    """The words of a search of two networks on a Ray cluster, in the folder `tmp_path`."""
    words = ("--space", here / "small.txt", "--supernet", here / "supernet.pt", "--target", BOARD, "--no-build")
    more = ("--objectives", "accuracy,cycles", "--workers", "ray://fake", "--sampler", "random")
    return "search", *words, *more, "-o", tmp_path


def test_a_network_that_kills_its_workers_is_left_out(on_a_cluster, monkeypatch):
    died = pytest.importorskip("ray").exceptions.ActorDiedError
    use_fake_ray(monkeypatch, 1, None, died(), died())
    (found,) = json_of(*on_a_cluster)["studies"]
    assert (found["evaluated"], found["end"]) == (1, "every point of the space is evaluated")
    assert len(found["front"]) == 1


def test_what_was_evaluated_before_a_cluster_was_lost_is_said_to_be_kept(on_a_cluster, monkeypatch, tmp_path):
    use_fake_ray(monkeypatch, 1, None, ConnectionError("gone"))
    result = call(*on_a_cluster)
    assert result.exit_code == 2
    (line,) = [one for one in result.stderr.splitlines() if "error" in one]
    assert "the cluster no longer answers (gone), after 1 networks" in line
    assert f"which are in {tmp_path}; the same command goes on from there" in line
    use_fake_ray(monkeypatch, 1)
    (found,) = json_of(*on_a_cluster)["studies"]
    assert found["evaluated"] == 2


def test_a_budget_too_small_for_anything_is_one_line(here, tmp_path):
    words = ("search", "--space", here / "small.txt", "--supernet", here / "supernet.pt", "--target", BOARD)
    more = ("--objectives", "accuracy,cycles", "--budget", "0.000001s", "-o", tmp_path / "st")
    result = call(*words, *more)
    assert result.exit_code == 2
    assert "not a single network could be built (the budget is too small)" in result.stderr


def test_two_folders_of_one_name_share_a_study_in_a_database_and_are_told_so(here, tmp_path):
    words = (
        "search",
        "--space",
        here / "small.txt",
        "--supernet",
        here / "supernet.pt",
        "--target",
        BOARD,
        "--no-build",
    )
    more = ("--objectives", "accuracy,size", "--sampler", "random", "--storage", f"sqlite:///{tmp_path / 'shared.db'}")
    told = []
    for folder, trials in (("one", 1), ("one", 1), ("two", 2)):
        result = call(*words, *more, "--budget", f"{trials}trials", "-o", tmp_path / folder / "st", "--json")
        assert json.loads(result.stdout)["studies"][0]["evaluated"] == trials
        told.append(result.stderr)
    joins = "espalier: this search joins the study 'espalier st' of the storage, which has 1 networks"
    begun = f"{socket.gethostname()}:{tmp_path / 'one' / 'st'}"
    end = f" and was begun as {begun}; a folder of another name has a study of its own"
    assert told == ["", f"{joins}\n", f"{joins}{end}\n"]
    other = ("--limit", "accuracy>=1%", "--budget", "1trials", "-o", tmp_path / "two" / "st")
    assert_refused((*words, *more, *other), "was begun with limits", kept=tmp_path)


def test_nothing_is_searched_for_one_target_where_the_study_of_another_is_refused(here, tmp_path, monkeypatch):
    words = ("search", "--supernet", here / "supernet.pt", "--objectives", "accuracy,size")
    problem = problem_of(*_space_and_networks(here, BOARD), objectives_of(["accuracy"]), ())
    Search(problem, tmp_path / "fpga_hls-pynq-z2")
    targets = ("--target", "llvm", "--target", BOARD)
    monkeypatch.setattr(Search, "run", None)
    assert_refused((*words, *targets, "-o", tmp_path), "fpga_hls-pynq-z2: was begun with objectives", kept=tmp_path)


def _space_and_networks(here, target):
    space = JointSpace.of("resnet-cifar", target)
    return space, SupernetNetworks(space.architectures, here / "supernet.pt", Split.bundled())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("--space", "vgg"), "accepted are resnet-cifar"),
        (("--space", "mobilenet-cifar"), "no supernet comes with the package"),
        (("--objectives", "speed"), "objectives: got speed"),
        (("--objectives", "accuracy,cycles"), "not known of this target"),
        (("--limit", "accuracy>90"), "limit: got"),
        (("--sampler", "tpe"), "accepted are auto, nsga2"),
        (("--target", "opencl"), "there is no code generator"),
        (("--simulate",), "accepted are fpga_hls/<board>"),
        (("--simulate", "--target", BOARD, "--target", "llvm"), "accepted are fpga_hls/<board>"),
        (("--objectives", "accuracy,cycles", "--target", BOARD, "--target", "llvm"), "not known of this target"),
        (("--workers", "127.0.0.1:10001"), "accepted is such as ray://"),
        (("--storage", "postgresql://127.0.0.1:1/none"), "cannot be opened"),
        (("--budget", "soon"), "budget"),
        (("--target", "llvm", "--target", "llvm"), "each once"),
        (("--data", "nowhere"), "nowhere"),
    ],
)
def test_bad_arguments_are_one_line(here, tmp_path, change, words):
    supernet = () if "mobilenet-cifar" in change else ("--supernet", here / "supernet.pt")
    assert_refused(("search", *supernet, *change, "-o", tmp_path / "st"), words, kept=tmp_path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no dimensions"),
        ("", "space.txt"),
        ("stage1.depth = 1\n", "space.txt: no line says architectures, accepted is `architectures = resnet-cifar` or"),
        ("architectures = vgg\n", "accepted are resnet-cifar"),
        ("architectures = resnet-cifar\nstage1.depth\n", "space.txt: space: got the line 'stage1.depth'"),
        ("architectures = resnet-cifar | mobilenet-cifar\n", "accepted is one"),
        ("architectures = resnet-cifar\nstage1.depth = 9\n", "accepted are some of"),
        ("architectures = resnet-cifar\nstage9.depth = 1\n", "got stage9.depth"),
        ("architectures = resnet-cifar\nstage1.depth =\n", "stage1.depth"),
    ],
)
def test_empty_and_contradictory_spaces_are_one_line(here, tmp_path, text, words):
    (tmp_path / "space.txt").write_text(text)
    arguments = ("search", "--space", tmp_path / "space.txt", "--supernet", here / "supernet.pt", "-o", tmp_path / "st")
    assert_refused(arguments, words, kept=tmp_path)


def test_an_artifact_is_no_folder_for_a_study(here, searched, tmp_path):
    artifact = here / "st" / "front" / searched["front"][0]["artifact"]
    for targets in (("--target", BOARD), ("--target", BOARD, "--target", "llvm")):
        words = f"-o {artifact}: is a compiled network, accepted is a new folder or that of a study"
        assert_refused(
            ("search", "--supernet", here / "supernet.pt", *targets, "-o", artifact), words, kept=here / "st"
        )


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_seeds_that_are_none_are_refused(seed, tmp_path):
    result = call("search", "--seed", seed, "-o", tmp_path / "st", "--budget", "1trials")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "Invalid value for '--seed'" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    "options", [("--target", "llvm"), ("--budget", "5m"), ("--seed", 0), ("--no-build",), ("--also", 1)]
)
def test_a_question_refuses_what_it_would_ignore(here, searched, options):
    question = ("search", "-o", here / "st", "--maximize", "accuracy")
    words = f"--maximize: got {'--build' if options[0] == '--no-build' else options[0]} too"
    assert_refused((*question, *options), words, "accepted are limits and --storage", kept=here / "st")


def test_the_studies_of_several_targets_are_named(here, tmp_path):
    words = ("--supernet", here / "supernet.pt", "--objectives", "accuracy,size", "--no-build", "--sampler", "random")
    targets = ("--target", "fpga_hls/pynq-z2", "--target", "fpga_hls/zcu104", "--budget", "1trials")
    for storage in ((), ("--storage", f"sqlite:///{tmp_path / 'all.db'}")):
        folder = tmp_path / ("with" if storage else "without")
        json_of("search", "--space", here / "small.txt", *words, *targets, *storage, "-o", folder)
        named = f"accepted are {folder / 'fpga_hls-pynq-z2'}, {folder / 'fpga_hls-zcu104'}"
        assert_refused(("report", folder, *storage, "-o", tmp_path / "r.html"), named, kept=tmp_path)
        assert_refused(("search", "-o", folder, *storage, "--minimize", "size"), named, kept=tmp_path)
        found = json_of("search", "-o", folder / "fpga_hls-zcu104", *storage, "--minimize", "size")
        assert found["values"].keys() >= {"accuracy", "size"}


def test_another_supernet_is_refused(here, tmp_path):
    (tmp_path / "no.pt").write_bytes(b"x")
    assert_refused(("search", "--supernet", tmp_path / "no.pt", "-o", tmp_path / "st"), "no.pt", kept=tmp_path)


def test_a_folder_without_a_study_is_refused(tmp_path):
    assert_refused(("report", tmp_path, "-o", tmp_path / "r.html"), "study.db", kept=tmp_path)
    assert_refused(("search", "-o", tmp_path, "--minimize", "latency"), "study.db", kept=tmp_path)


def test_an_evaluation_goes_elsewhere_without_what_this_machines_clock_tells(here):
    space, networks = _space_and_networks(here, "llvm")
    one = problem_of(space, networks, objectives_of(["accuracy", "latency", "energy"]), ()).evaluate
    copy, point = pickle.loads(pickle.dumps(one)), space.choices.sample(np.random.default_rng(0))
    assert copy.away(point) == one.away(point)
    assert set(copy.away(point)) == {"accuracy", "energy"}
    assert copy.here(point) == {}
    assert {"latency", "throughput"} == set(one.here(point))


def test_points_become_plans_and_targets():
    space = JointSpace.of("resnet-cifar", BOARD)
    point = {name: values[-1] for name, values in space.choices.dimensions.items()}
    candidate = space.candidate(point)
    assert candidate.architecture == architecture_space("resnet-cifar").largest
    assert candidate.plan.layer("stage3.2.conv2").weights == "uniform<8>"
    assert candidate.target["feature.frames_per_s"] == 2000
    assert "frames_per_s" not in JointSpace.of("resnet-cifar", "llvm").choices.dimensions
