"""The verbs. Heavy imports stand inside each, so that help is instant."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from efface import __version__
from efface.errors import InputError

SPIN = "3000"
"""How long an idle OpenMP thread spins before it sleeps; read when torch is loaded. With the library's default, two
busy processes on two cores wait for each other's spinning threads: training is then over ten times slower instead of
twice (alone it is a tenth faster)."""

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Make a trained face model forget someone, and show what that did to everyone else.",
)

Out = Annotated[Path, typer.Option("--out", help="Folder for the results; a run that was cut off goes on in it.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")]
Pictures = Annotated[bool, typer.Option(help="A report with the faces of people, or without.")]
Threads = Annotated[int, typer.Option(min=1, help="CPU threads; part of what makes a result repeatable.")]
PlanFile = Annotated[Path, typer.Argument(metavar="PLAN", help="A TOML file; see plans/.")]


@app.callback(invoke_without_command=True)
def _version(version: Annotated[bool, typer.Option("--version", help="Show the version.")] = False) -> None:
    if version:
        typer.echo(__version__)
        raise typer.Exit


@app.command()
def demo(out: Out = Path("runs/demo"), device: Device = "auto", threads: Threads = 2) -> None:
    """Run the built-in example on synthetic faces and print the path of its report."""
    from importlib.resources import files

    run(Path(str(files("efface") / "demo.toml")), out, device, threads)


@app.command()
def run(plan: PlanFile, out: Out, device: Device = "auto", threads: Threads = 2, pictures: Pictures = True) -> None:
    """Run a plan: train, forget, measure, report. Modules that the plan names are imported and run."""
    from efface.experiment.run import run as run_plan
    from efface.plan.file import read_plan
    from efface.progress import show_progress

    plans = read_plan(plan)
    with show_progress() as progress:
        run_plan(plans, out, device=device, threads=threads, progress=progress, with_faces=pictures)
    typer.echo(out / "report.html")


@app.command()
def check(plan: PlanFile) -> None:
    """Check every name and setting of a plan without doing any work."""
    from efface.experiment.resolve import resolve
    from efface.plan.file import read_plan

    for name, arm in read_plan(plan).items():
        resolved = resolve(arm, f"arm '{name}'" if name else f"plan {plan}")
        rows = ", ".join(["original", "reference", *(stage.name for stage in resolved.stages)])
        typer.echo(f"{name or 'plan'}: {len(arm.seeds)} seed(s) x {rows}")


@app.command("list")
def list_(what: Annotated[str, typer.Argument(help="methods, tasks, datasets, measures, or one name.")] = "") -> None:
    """What there is: methods, tasks, datasets and measures, with settings and sources."""
    from efface.reference import listing

    typer.echo(listing(what))


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of a finished run.")],
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the overview as Markdown instead.")] = False,
    pictures: Pictures = True,
) -> None:
    """Write report.html again from a run's saved results."""
    if markdown:
        from efface.report.markdown import markdown as table
        from efface.report.saved import read

        typer.echo(table(read(folder)))
    else:
        from efface.report import write

        typer.echo(write(folder, with_faces=pictures))


@app.command()
def prepare(
    dataset: Annotated[str, typer.Argument(help="A dataset that is photos on disk; see `efface list datasets`.")],
    folder: Annotated[Path, typer.Argument(metavar="PHOTOS", help="Where its photos lie.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for the packed faces.")],
    size: Annotated[tuple[int, int], typer.Option(help="Width and height of a packed face.")] = (48, 48),
    colour: Annotated[bool, typer.Option("--colour", help="Keep colour (default: grey).")] = False,
    crop: Annotated[str, typer.Option(help="whole, box (around the face) or align (to ArcFace's template).")] = "whole",
    margin: Annotated[float, typer.Option(help="How much larger than the face its box is cut.")] = 0.3,
    jitter: Annotated[float, typer.Option(help="Shift and scale of each crop, as a share of its side.")] = 0.0,
    eyes: Annotated[str, typer.Option(help="annotated, detected or none.")] = "annotated",
    detector: Annotated[Path | None, typer.Option(help="YuNet weights (.onnx).")] = None,
    seed: int = 0,
    export: Annotated[Path | None, typer.Option(help="Also write BioID-style .pgm and .eye files here.")] = None,
) -> None:
    """Photos in, packed faces out: detect, crop or align, resize, decode once."""
    from efface.datasets import reader
    from efface.preparation.packed import open_packed
    from efface.preparation.prepare import export_eyes
    from efface.preparation.prepare import prepare as pack
    from efface.progress import show_progress
    from efface.settings import validated

    source = reader(dataset)
    given = {
        "size": size,
        "colour": colour,
        "crop": crop,
        "margin": margin,
        "jitter": jitter,
        "eyes": eyes,
        "detector": detector,
        "seed": seed,
    }
    settings = validated(pack, given, "prepare", ("card", "progress"))
    with show_progress() as progress:
        done = pack(source.read(folder), out, card=source.card, progress=progress.track, **settings)
    if export is not None:
        export_eyes(open_packed(out), export)
    typer.echo(
        f"{done.folder}: {done.faces:,} faces of {done.people:,} people; {len(done.refused):,} photos refused "
        f"(listed in manifest.json), {done.several_faces:,} with several faces"
    )


@app.command()
def anonymize(
    photos: Annotated[Path, typer.Argument(help="A photo or a folder of photos.")],
    weights: Annotated[Path, typer.Option(help="EyeNet weights of a run (models/*.safetensors).")],
    out: Annotated[Path, typer.Option("--out", help="Folder for the hidden copies.")],
    style: Annotated[str, typer.Option(help="cover, pixelate or blur.")] = "cover",
) -> None:
    """Hide the eyes on photos, where a model of a run finds them."""
    from efface.anonymize.photos import hide

    for line in hide(photos, weights, out, style):
        typer.echo(line)


@app.command()
def quality(
    photos: Annotated[Path, typer.Argument(metavar="PHOTOS", help="A tree of photos, packed faces, or a set (.bin).")],
    out: Annotated[Path, typer.Option("--out", help="Folder for quality.csv and quality.png.")] = Path("quality"),
    weights: Annotated[Path | None, typer.Option(help="A recogniser's weights of a run: adds its measures.")] = None,
    by: Annotated[str | None, typer.Option(help="The measure to sort by, and the plan's `score`.")] = None,
    pairs: Annotated[Path | None, typer.Option(help="LFW's pairs.txt: does a measure foretell errors?")] = None,
) -> None:
    """Score every photo without labels: a table, and a contact sheet from worst to best."""
    from efface.quality import quality as score

    done = score(photos, out, weights=weights, by=by, pairs=pairs)
    curves = f"; {done.curves}" if done.curves else ""
    typer.echo(f"{done.faces:,} photos by {done.by}: {done.table} and {done.sheet} (which shows faces){curves}")


@app.command()
def schema(what: Annotated[str, typer.Argument(help="results or plan.")] = "results") -> None:
    """Print the JSON Schema of results.json or of a plan."""
    from efface.plan.tables import Plan
    from efface.results import results_schema

    if what not in ("results", "plan"):
        raise InputError(f"no schema '{what}'; known: plan, results")
    typer.echo(json.dumps(results_schema() if what == "results" else Plan.model_json_schema(), indent=2))


def main() -> None:
    """Run the command line; bad input is one line on stderr and exit code 2."""
    os.environ.setdefault("GOMP_SPINCOUNT", SPIN)
    sys.path.append(os.getcwd())  # where a plan's "module:function" is looked for
    try:
        app()
    except InputError as error:
        print(f"efface: {error}", file=sys.stderr)
        sys.exit(2)
