"""The verbs. Heavy imports stand inside each, so that help is instant."""

from __future__ import annotations

import json
import os
import sys
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated

import typer

from efface import __version__
from efface.errors import InputError, one_line
from efface.ledger.commands import app as ledger
from efface.memory import keep_freed_memory

SPIN = "3000"
"""How long an idle OpenMP thread spins before it sleeps; read when torch is loaded. With the library's default, two
busy processes on two cores wait for each other's spinning threads: training is then over ten times slower instead of
twice (alone it is a tenth faster)."""

UsageError: type[typer.BadParameter] = typer.BadParameter.__bases__[0]
"""Of the command line itself: an unknown option, a missing argument."""

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Make a trained face model forget someone, and show what that did to everyone else.",
)

app.add_typer(ledger, name="ledger")

Out = Annotated[Path, typer.Option("--out", help="Folder for the results; interrupted runs resume in it.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")]
Pictures = Annotated[bool, typer.Option(help="A report with the faces of people, or without.")]
Threads = Annotated[int, typer.Option(help="CPU threads; part of what makes a result repeatable.")]
Skip = Annotated[bool, typer.Option("--skip-unreadable", help="Leave out and list photos that cannot be used.")]
Arch = Annotated[str | None, typer.Option(help='"module:function" that makes the network of these weights: it is run.')]
FaceSize = Annotated[
    tuple[int, int] | None, typer.Option(help="Width and height of the network's faces, where its file says none.")
]
Precision = Annotated[
    str | None, typer.Option(help="What is trained computes with: fp32 (if left out), bf16, fp16, auto.")
]
PlanFile = Annotated[Path, typer.Argument(metavar="PLAN", help="A TOML file; see plans/.")]


@app.callback(invoke_without_command=True)
def _version(
    context: typer.Context, version: Annotated[bool, typer.Option("--version", help="Show the version.")] = False
) -> None:
    if version or context.invoked_subcommand is None:
        typer.echo(__version__ if version else context.get_help())
        raise typer.Exit


@app.command()
def demo(out: Out = Path("runs/demo"), device: Device = "auto", threads: Threads = 2) -> None:
    """Run the built-in example on synthetic faces and print the path of its report."""
    from importlib.resources import files

    run(Path(str(files("efface") / "demo.toml")), out, device, jobs=1, threads=threads)


@app.command()
def run(
    plan: PlanFile,
    out: Out,
    device: Device = "auto",
    jobs: Annotated[
        int | None, typer.Option(help="Processes, one thread each; as many as cores and memory allow if left out.")
    ] = None,
    cluster: Annotated[
        str | None, typer.Option(help="slurm or local: --jobs are jobs of it, through submitit.")
    ] = None,
    slurm: Annotated[list[str] | None, typer.Option(help="Of these jobs, such as slurm_partition=cpu.")] = None,
    threads: Annotated[int | None, typer.Option(help="CPU threads of one process, instead of --jobs.")] = None,
    pictures: Pictures = True,
) -> None:
    """Run a plan: train, forget, measure, report. Modules that the plan names are imported and run."""
    from efface.experiment.finished import is_finished, remember, state_before
    from efface.plan.file import read_plan

    plans = read_plan(plan)
    before = state_before(plans, {"device": device, "jobs": jobs, "cluster": cluster, "threads": threads})
    if is_finished(out, before):
        typer.echo(out / "report.html")
        return

    from efface.distributed import launched_after_first, several_launched
    from efface.experiment.run import run as run_plan
    from efface.experiment.workers import jobs_of
    from efface.progress import show_progress
    from efface.training.environment import device_named

    if jobs is None:
        jobs = 1 if threads is not None or several_launched() else jobs_of(device_named(device))
    if threads is None:
        threads = 1 if jobs > 1 or cluster or several_launched() else 2
    options = dict(one.partition("=")[::2] for one in slurm or [])
    with show_progress() as progress:
        run_plan(
            plans,
            out,
            device=device,
            threads=threads,
            jobs=jobs,
            cluster=cluster,
            cluster_options=options,
            progress=progress,
            with_faces=pictures,
        )
    if not launched_after_first():
        remember(out, before)
        typer.echo(out / "report.html")


@app.command()
def check(
    plan: PlanFile,
    trust: Annotated[
        bool, typer.Option("--trust", help="Import the modules that the plan names: it runs them.")
    ] = False,
) -> None:
    """Check every name, setting and path of a plan without doing any work."""
    from efface.plan.file import read_plan
    from efface.plan.tables import user_code

    plans = read_plan(plan)
    named = sorted({one for arm in plans.values() for one in user_code(arm)})
    if named and not trust:
        raise InputError(
            f"plan {plan} names code of its own, {', '.join(named)}: checking it would import and run that; if you "
            "trust whoever wrote it, check it with --trust"
        )
    from efface.experiment.loading import check_paths
    from efface.experiment.resolve import resolve

    for name, arm in plans.items():
        resolved = resolve(arm, f"arm '{name}'" if name else f"plan {plan}")
        check_paths(arm)
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
    skip_unreadable: Skip = False,
    export: Annotated[Path | None, typer.Option(help="Also write BioID-style .pgm and .eye files here.")] = None,
) -> None:
    """Photos in, packed faces out: detect, crop or align, resize, decode once."""
    from efface.datasets import read_photos, reader
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
        "skip_unreadable": skip_unreadable,
    }
    settings = validated(pack, given, "prepare", ("card", "progress", "renew"))
    with show_progress() as progress:
        done = pack(read_photos(source, folder), out, card=source.card, progress=progress.track, **settings)
    if export is not None:
        export_eyes(open_packed(out, verify=False), export)
    typer.echo(done)


@app.command()
def anonymize(
    photos: Annotated[Path, typer.Argument(help="A photo or a folder of photos.")],
    weights: Annotated[Path, typer.Option(help="EyeNet weights of a run (models/*.safetensors).")],
    out: Annotated[Path, typer.Option("--out", help="Folder for the hidden copies.")],
    style: Annotated[str, typer.Option(help="cover, pixelate or blur.")] = "cover",
    skip_unreadable: Skip = False,
) -> None:
    """Hide the eyes on photos, also in deeper folders, where a model of a run finds them."""
    from efface.anonymize.photos import hide
    from efface.data.photos import left_out_line

    def wrote(photo: Path, copy: Path) -> None:
        typer.echo(one_line(f"{photo} -> {copy}"))

    done = hide(photos, weights, out, style, skip_unreadable=skip_unreadable, wrote=wrote)
    if done.replaced:
        typer.echo(f"{done.replaced:,} of them in the place of an earlier copy", err=True)
    if done.left_out:
        typer.echo(left_out_line(done.left_out), err=True)


@app.command()
def quality(
    photos: Annotated[Path, typer.Argument(metavar="PHOTOS", help="A tree of photos, packed faces, or a set (.bin).")],
    out: Annotated[Path, typer.Option("--out", help="Folder for quality.csv and quality.png.")] = Path("quality"),
    weights: Annotated[Path | None, typer.Option(help="A recogniser's weights of a run: adds its measures.")] = None,
    by: Annotated[str | None, typer.Option(help="The measure to sort by, and the plan's `score`.")] = None,
    pairs: Annotated[Path | None, typer.Option(help="LFW's pairs.txt: does a measure foretell errors?")] = None,
    arch: Annotated[
        str | None, typer.Option(help='"module:function" that makes the backbone of these weights: it is run.')
    ] = None,
    skip_unreadable: Skip = False,
) -> None:
    """Score every photo without labels: a table, and a contact sheet from worst to best."""
    from efface.quality import quality as score

    typer.echo(score(photos, out, weights=weights, by=by, pairs=pairs, arch=arch, skip_unreadable=skip_unreadable))


@app.command()
def verify(
    record: Annotated[Path, typer.Argument(metavar="RECORD", help="A record.json.")],
    weights: Annotated[Path | None, typer.Option(help="The model in use now, to be held against the record.")] = None,
    before: Annotated[Path | None, typer.Option(help="The model from before, to be held against the record.")] = None,
    key: Annotated[Path | None, typer.Option(help="The public key (.pub) of whom it must come from.")] = None,
) -> None:
    """Say who signed a record of an erasure and what was done, if nothing of it was changed since."""
    from efface.erasure.signing import verify as verified

    for line in verified(record, weights=weights, before=before, key=key):
        typer.echo(line)


@app.command()
def inspect(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A file of weights: safetensors, .pt, .pth, .ckpt.")],
    arch: Arch = None,
    pairs: Annotated[Path | None, typer.Option(help="LFW's pairs.txt, or a set that brings its photos (.bin).")] = None,
    photos: Annotated[Path | None, typer.Option(help="Where the photos lie that pairs.txt names.")] = None,
    people: Annotated[Path | None, typer.Option(help="Instead of pairs: a folder of photos by person.")] = None,
    size: FaceSize = None,
    template: Annotated[str | None, typer.Option(help="arcface, sphereface (96x112) or whole.")] = None,
    mean: Annotated[str | None, typer.Option(help="Taken from pixels 0..255; or 1,2,3 by channel.")] = None,
    std: Annotated[str | None, typer.Option(help="What the rest is divided by.")] = None,
    channels: Annotated[str | None, typer.Option(help="rgb, bgr or grey.")] = None,
    flip: Annotated[bool, typer.Option("--flip", help="Its embeddings are sums with the mirror image's.")] = False,
    detector: Annotated[Path | None, typer.Option(help="YuNet weights (.onnx): photos are aligned by it.")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="A TOML file for the contract.")] = None,
    device: Device = "auto",
    skip_unreadable: Skip = False,
) -> None:
    """Say what a file of weights is and what its network wants to see, and measure whether that is so."""
    from efface.erasure.inspect import inspect as look
    from efface.progress import show_progress

    given = {
        "size": size,
        "template": template,
        "mean": numbers(mean, "--mean"),
        "std": numbers(std, "--std"),
        "channels": channels,
        "flip": flip or None,
    }
    with show_progress() as progress:
        look(
            model,
            arch=arch,
            given={name: value for name, value in given.items() if value is not None},
            pairs=pairs,
            photos=photos,
            people=people,
            detector=detector,
            out=out,
            device=device,
            skip_unreadable=skip_unreadable,
            say=typer.echo,
            track=progress.track,
        )


def numbers(words: str | None, option: str) -> list[float] | None:
    """Numbers between commas. Raises InputError for anything else."""
    if words is None:
        return None
    try:
        return [float(word) for word in words.split(",")]
    except ValueError:
        raise InputError(f"{option} '{words}': expected a number, or several with commas between: 127.5") from None


@app.command()
def find(
    examples: Annotated[Path, typer.Argument(metavar="EXAMPLES", help="Photos of one person: a folder, or one photo.")],
    photos: Annotated[Path, typer.Argument(metavar="PHOTOS", help="Where to look: a folder, deeper ones included.")],
    model: Annotated[Path, typer.Option(help="A recogniser's weights.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for candidates.csv and candidates.png.")] = Path(
        "candidates"
    ),
    arch: Arch = None,
    size: FaceSize = None,
    contract: Annotated[Path | None, typer.Option(help="What efface inspect --out wrote of the model.")] = None,
    detector: Annotated[Path | None, typer.Option(help="YuNet's ONNX file, for photos that are not aligned.")] = None,
    others: Annotated[Path | None, typer.Option(help="Photos of other people: what a stranger's score can be.")] = None,
    skip_unreadable: Skip = False,
) -> None:
    """Find every photo of a person among many: scores and suggestions in a table, for a human to accept."""
    from efface.erasure.find import find as search
    from efface.progress import show_progress

    with show_progress() as progress:
        done = search(
            examples,
            photos,
            out,
            model=model,
            arch=arch,
            size=size,
            contract=contract,
            detector=detector,
            others=others,
            skip_unreadable=skip_unreadable,
            progress=progress,
        )
    typer.echo(done)


@app.command()
def sweep(
    examples: Annotated[Path, typer.Argument(metavar="EXAMPLES", help="Photos of one person: a folder, or one photo.")],
    stores: Annotated[Path, typer.Option(help="TOML file of the places to look in.")],
    model: Annotated[Path, typer.Option(help="Weights of the recogniser that made the stores' vectors.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for found.csv; with --apply for sweep.json.")] = Path(
        "sweep"
    ),
    apply: Annotated[Path | None, typer.Option(help="found.csv with what you accepted: that is deleted.")] = None,
    by: Annotated[str, typer.Option(help="Who deletes, for the record.")] = "",
    contract: Annotated[Path | None, typer.Option(help="What efface inspect --out wrote of the model.")] = None,
    arch: Arch = None,
    size: FaceSize = None,
    detector: Annotated[Path | None, typer.Option(help="YuNet's ONNX file, for photos that are not aligned.")] = None,
    threshold: Annotated[float | None, typer.Option(help="Cosine from which on a copy is suggested.")] = None,
) -> None:
    """Find every copy of a person in all stores; delete what was accepted, and read the files' bytes for what is left.

    Nothing is changed without --apply. Exit code 3: something accepted is still there.
    """
    from efface.sweep.sweep import FOUND, lines_of
    from efface.sweep.sweep import sweep as look_everywhere

    done = look_everywhere(
        examples,
        stores,
        out,
        model=model,
        apply=apply,
        by=by,
        say=shown,
        contract=contract,
        arch=arch,
        size=size,
        detector=detector,
        least=threshold,
    )
    for line in lines_of(done):
        typer.echo(line)
    if apply is None:
        typer.echo(f"nothing was changed; write yes into accept in {out / FOUND}, then give it as --apply")
    elif not all(one.clean for one in done):
        raise typer.Exit(3)


@app.command("fit-head")
def fit_head(
    out: Annotated[Path, typer.Option("--out", help="Folder of the head: head.safetensors and sums.npz.")],
    photos: Annotated[
        Path | None, typer.Argument(metavar="PHOTOS", help="Manifest, one folder per person, or packed faces.")
    ] = None,
    model: Annotated[Path | None, typer.Option(help="Weights of the network, which stays as it is.")] = None,
    task: Annotated[
        str, typer.Option(help="eyes, classes, attributes, regression (a number, age say) or recognition.")
    ] = "",
    label: Annotated[list[str] | None, typer.Option(help="Column of the manifest to answer; several times.")] = None,
    penalty: Annotated[float, typer.Option(help="Of the ridge regression, above 0.")] = 1.0,
    arch: Arch = None,
    size: FaceSize = None,
    contract: Annotated[Path | None, typer.Option(help="What efface inspect --out wrote of the network.")] = None,
    detector: Annotated[Path | None, typer.Option(help="YuNet's ONNX file, for photos that are not aligned.")] = None,
    keep_features: Annotated[
        bool, typer.Option("--keep-features", help="Keep every photo's features: people leave without their photos.")
    ] = False,
    forget: Annotated[
        list[str] | None, typer.Option(help="A person to take out of the head in --out, exactly; several times.")
    ] = None,
    skip_unreadable: Skip = False,
) -> None:
    """Fit a head on a network of your own from which people can be taken out again, exactly; or take them out."""
    from efface.erasure.fit_head import fit_head as fit
    from efface.erasure.fit_head import take_out
    from efface.progress import show_progress

    if forget:
        typer.echo(
            take_out(
                out, forget, photos=photos, model=model, arch=arch, size=size, contract=contract, detector=detector
            )
        )
        return
    if photos is None or model is None or not task:
        raise InputError("a head is fitted with PHOTOS, --model and --task, and people leave it with --forget PERSON")
    with show_progress() as progress:
        done = fit(
            photos,
            out,
            model=model,
            task=task,
            labels=label or [],
            penalty=penalty,
            arch=arch,
            size=size,
            contract=contract,
            detector=detector,
            keep_features=keep_features,
            skip_unreadable=skip_unreadable,
            progress=progress,
        )
    typer.echo(done)


def given_request(context: typer.Context, leave_out: tuple[str, ...]) -> dict[str, object]:
    """Options that were given on the command line, by their names in a request."""
    given = {name: value for name, value in context.params.items() if name not in leave_out}
    return {name: value for name, value in given.items() if value not in (None, False)}


@app.command()
def forget(
    context: typer.Context,
    request: Annotated[Path | None, typer.Argument(metavar="REQUEST", help="A TOML file; options override it.")] = None,
    out: Out = Path("erasure"),
    model: Annotated[Path | None, typer.Option(help="File of weights of your model.")] = None,
    forget: Annotated[
        Path | None, typer.Option(help="Photos of who is to be forgotten: person/photo, a manifest, or candidates.csv.")
    ] = None,
    public: Annotated[Path | None, typer.Option(help="Photos of people the model was not trained on.")] = None,
    retain: Annotated[Path | None, typer.Option(help="Photos of people it must still know, or some of them.")] = None,
    contract: Annotated[Path | None, typer.Option(help="What efface inspect --out wrote.")] = None,
    arch: Arch = None,
    size: FaceSize = None,
    detector: Annotated[Path | None, typer.Option(help="YuNet's ONNX file, for photos that are not aligned.")] = None,
    second: Annotated[
        Path | None, typer.Option(help="Weights of another recogniser that never saw who is to be forgotten.")
    ] = None,
    second_contract: Annotated[Path | None, typer.Option(help="Its contract.")] = None,
    second_arch: Annotated[str | None, typer.Option(help='"module:function" that makes it: it is run.')] = None,
    pairs: Annotated[Path | None, typer.Option(help="LFW's pairs.txt or an insightface set (.bin).")] = None,
    pair_photos: Annotated[Path | None, typer.Option(help="Photos that pairs.txt names.")] = None,
    task: Annotated[str | None, typer.Option(help="recognition, eyes, classes or attributes.")] = None,
    label: Annotated[list[str] | None, typer.Option(help="Column of the manifests to answer; several times.")] = None,
    classes: Annotated[list[str] | None, typer.Option(help="Its values, in the order of the outputs.")] = None,
    at_most_error: Annotated[float | None, typer.Option(help="Error of everybody else that is allowed.")] = None,
    goal: Annotated[
        str | None, typer.Option(help="influence removed, unrecognisable, or removed from the gallery.")
    ] = None,
    threshold: Annotated[float | None, typer.Option(help="Cosine from which on two photos are one person's.")] = None,
    at_most_fmr: Annotated[float | None, typer.Option(help="False match rate that is allowed afterwards.")] = None,
    at_most_fnmr: Annotated[float | None, typer.Option(help="False non-match rate that is allowed.")] = None,
    budget: Annotated[
        str | None, typer.Option(help="Time for all candidates, such as 10min; 4min if left out.")
    ] = None,
    without_evidence: Annotated[
        bool, typer.Option("--without-evidence", help="Change the weights even with no sign of training.")
    ] = False,
    reference: Annotated[
        str | None, typer.Option(help="Weights retrained without them; or train: one is, here.")
    ] = None,
    recipe: Annotated[Path | None, typer.Option(help="How the model was trained, a TOML file.")] = None,
    shadows: Annotated[int | None, typer.Option(help="Shadow models of an attack, trained by the recipe.")] = None,
    precision: Precision = None,
    onnx: Annotated[bool, typer.Option("--onnx", help="Write an ONNX file of the changed model, too.")] = False,
    seed: Annotated[int | None, typer.Option(help="Of who is held back, and of training.")] = None,
    skip_unreadable: Skip = False,
    key: Annotated[Path | None, typer.Option(help="Private key that signs the record.")] = None,
    device: Device = "auto",
    threads: Threads = 2,
) -> None:
    """Make your own model forget people, and judge it; exit code 3: do not ship."""
    from efface.erasure.forget import forget as serve
    from efface.erasure.request import erasure_request

    plain = given_request(context, ("request", "out", "key", "device", "threads"))
    asked = erasure_request(plain, request)
    result = serve(asked, out, device=device, threads=threads, key=key, say=shown)
    told(result.outcome.verdict, result.outcome.reasons, out)


@app.command()
def audit(
    context: typer.Context,
    before: Annotated[Path, typer.Option(help="File of weights before.")],
    after: Annotated[Path, typer.Option(help="File of weights after, whoever made it.")],
    forget: Annotated[Path, typer.Option(help="Photos of who was to be forgotten.")],
    public: Annotated[Path, typer.Option(help="Photos of people the model was not trained on.")],
    out: Out = Path("audit"),
    retain: Annotated[Path | None, typer.Option(help="Photos of people it must still know.")] = None,
    reference: Annotated[
        str | None, typer.Option(help="Weights retrained without them; or train: one is, here.")
    ] = None,
    recipe: Annotated[Path | None, typer.Option(help="How the model was trained, a TOML file.")] = None,
    shadows: Annotated[int | None, typer.Option(help="Shadow models of an attack, trained by the recipe.")] = None,
    precision: Precision = None,
    contract: Annotated[Path | None, typer.Option(help="What efface inspect --out wrote of the file before.")] = None,
    arch: Arch = None,
    size: FaceSize = None,
    detector: Annotated[Path | None, typer.Option(help="YuNet's ONNX file, for photos that are not aligned.")] = None,
    pairs: Annotated[Path | None, typer.Option(help="LFW's pairs.txt or an insightface set (.bin).")] = None,
    pair_photos: Annotated[Path | None, typer.Option(help="Photos that pairs.txt names.")] = None,
    task: Annotated[str | None, typer.Option(help="recognition, eyes, classes or attributes.")] = None,
    label: Annotated[list[str] | None, typer.Option(help="Column of the manifests to answer; several times.")] = None,
    classes: Annotated[list[str] | None, typer.Option(help="Its values, in the order of the outputs.")] = None,
    at_most_error: Annotated[float | None, typer.Option(help="Error of everybody else that is allowed.")] = None,
    goal: Annotated[str | None, typer.Option(help="influence removed, or unrecognisable.")] = None,
    threshold: Annotated[float | None, typer.Option(help="Cosine from which on two photos are one person's.")] = None,
    at_most_fmr: Annotated[float | None, typer.Option(help="False match rate that is allowed afterwards.")] = None,
    at_most_fnmr: Annotated[float | None, typer.Option(help="False non-match rate that is allowed.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of who is held back.")] = None,
    skip_unreadable: Skip = False,
    device: Device = "auto",
    threads: Threads = 2,
) -> None:
    """Judge anybody's unlearning of a model by its two files; exit code 3: it does not do what was asked."""
    from efface.erasure.audit_files import audit as judge
    from efface.erasure.request import erasure_request

    plain = given_request(context, ("before", "after", "out", "device", "threads"))
    asked = erasure_request(plain | {"model": before})
    result = judge(asked, after, out, device=device, threads=threads, say=shown)
    told(result.outcome.verdict, result.outcome.reasons, out)


def shown(line: str) -> None:
    """A line about what is done, as it is done."""
    typer.echo(one_line(line), err=True)


def told(verdict: str, reasons: list[str], out: Path) -> None:
    """The verdict, why, and where the report is; exit code 3 where nothing may be shipped."""
    typer.echo(f"{verdict}: {one_line('; '.join(reasons))}")
    typer.echo(out / "report.html")
    if verdict == "do not ship":
        raise typer.Exit(3)


@app.command("serve")
def serve_(
    settings: Annotated[Path, typer.Argument(metavar="SETTINGS", help="A request file without forget and [request].")],
    folder: Annotated[Path, typer.Option("--folder", help="Where requests, photos and runs are kept.")],
    port: Annotated[int, typer.Option(min=1024, max=65535)] = 8765,
    arch: Arch = None,
    threads: Threads = 2,
) -> None:
    """Serve a page, on this machine alone, for whoever enters requests and whoever approves them."""
    try:
        from efface.web.app import serve
    except ImportError:
        raise InputError("the page needs more packages: pip install 'efface[serve]'") from None

    serve(folder, settings, port, arch=arch, threads=threads, say=typer.echo)


@app.command()
def schema(what: Annotated[str, typer.Argument(help="results, plan or record.")] = "results") -> None:
    """Print the JSON Schema of results.json, of a plan, or of a record of an erasure."""
    from efface.erasure.record import record_schema
    from efface.plan.tables import Plan
    from efface.results import results_schema

    schemas = {"results": results_schema, "plan": Plan.model_json_schema, "record": record_schema}
    if what not in schemas:
        raise InputError(f"no schema '{what}'; known: {', '.join(sorted(schemas))}")
    typer.echo(json.dumps(schemas[what](), indent=2))


def main() -> None:
    """Run the command line; bad input is one line on stderr and exit code 2."""
    os.environ.setdefault("GOMP_SPINCOUNT", SPIN)
    keep_freed_memory()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a name that the terminal's encoding lacks
    try:
        sys.exit(app(standalone_mode=False))
    except InputError as error:
        print(f"efface: {error}", file=sys.stderr)
    except OSError as error:
        from efface.files import REFUSED_BY_DISK, disk_complaint

        full = error.errno in REFUSED_BY_DISK
        if error.errno is None or not (full or isinstance(error.filename, str)):
            raise
        what = f"{error.filename or 'a file'} cannot be {'written' if full else 'used'}: {disk_complaint(error.errno)}"
        print(f"efface: {one_line(what)}", file=sys.stderr)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # the output may be what has no room, and is flushed once more
    except UsageError as error:
        print(f"efface: {one_line(' '.join(error.format_message().split()))} See --help.", file=sys.stderr)
    except typer.Abort:
        sys.exit(130)
    sys.exit(2)
