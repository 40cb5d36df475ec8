"""models: the checkpoints and preprocessors' models that a worker can open, and their files."""

from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.padding import Padding

from rotoscope.cli.configuration import DataDir, read_settings
from rotoscope.generation.weights import CHECKPOINTS, GB, shipped_loras, state_of
from rotoscope.preprocess.weights import WEIGHTS
from rotoscope.preprocess.weights import state_of as preprocessor_state
from rotoscope.schema.input import LORA_SCHEME

models = typer.Typer(help="List models and fetch their files.", invoke_without_command=True)


@models.callback()
def models_or_list(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        list_models()


@models.command("list")
def list_models(data_dir: DataDir = None) -> None:
    """List checkpoints and models of preprocessors, and whether their files are here."""
    settings = read_settings(data_dir=data_dir)
    console = Console(highlight=False)
    for name, checkpoint in CHECKPOINTS.items():
        used = " (used)" if name == settings.checkpoint else ""
        console.print(f"[bold]{name}[/]{used}: {escape(': '.join(state_of(name, settings)))}")
        size = f"{checkpoint.memory_bytes / GB:.1f} GB of memory"
        facts = escape(f"{checkpoint.description} {size}; {checkpoint.licence}.")
        console.print(Padding(facts, (0, 0, 0, 4)))
        if loras := [f"{LORA_SCHEME}{lora}" for lora in shipped_loras(name, settings)]:
            listed = f"LoRAs that come with it: {', '.join(loras)}."
            console.print(Padding(escape(listed), (0, 0, 0, 4)))
    for model in WEIGHTS.values():
        state = escape(": ".join(preprocessor_state(model, settings)))
        console.print(f"[bold]{model.name}[/] (preprocessor {model.kind}): {state}")
        facts = escape(f"{model.description} {model.licence}.")
        console.print(Padding(facts, (0, 0, 0, 4)))


@models.command()
def fetch(
    name: Annotated[str, typer.Argument(help="A name of the list.")],
    *,
    anyway: Annotated[
        bool, typer.Option("--anyway", help="Also where it has too little memory to run.")
    ] = False,
    data_dir: DataDir = None,
) -> None:
    """Download a model's files; a download that stopped goes on where it was."""
    # Here, since it loads torch to know whether the checkpoint would fit.
    from rotoscope.generation.hub import fetch_checkpoint  # noqa: PLC0415
    from rotoscope.preprocess.hub import fetch_weights  # noqa: PLC0415

    settings = read_settings(data_dir=data_dir)
    console = Console(stderr=True, highlight=False)

    def report(line: str) -> None:
        console.print(line, markup=False)

    if name in WEIGHTS:
        typer.echo(fetch_weights(WEIGHTS[name], settings, report))
    else:
        typer.echo(fetch_checkpoint(name, settings, report, anyway=anyway))
