"""Settings for one command: what its options say, else environment, file and defaults."""

from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from rotoscope.errors import OperatorError
from rotoscope.settings import Settings

Host = Annotated[str | None, typer.Option(help="Address to listen on.", show_default=False)]
Port = Annotated[
    int | None, typer.Option(help="Port to listen on; 0 takes a free one.", show_default=False)
]
Anonymous = Annotated[
    bool | None,
    typer.Option("--anonymous", help="Answer requests without a key; on loopback only."),
]
DataDir = Annotated[
    Path | None,
    typer.Option(help="Folder of the job table, keys, files, checkpoints.", show_default=False),
]
CheckpointName = Annotated[
    str | None, typer.Option(help="The checkpoint to open.", show_default=False)
]


def read_settings(**options: Any) -> Settings:
    """The settings; an option that was not given is None.

    Raises:
        OperatorError: A value does not fit; the sentence names the setting.
    """
    try:
        return Settings(**given(options))
    except ValidationError as error:
        wrong = "; ".join(
            f"{'.'.join(str(part) for part in problem['loc'])}: {problem['msg']}"
            for problem in error.errors(include_url=False)
        )
        raise OperatorError(f"A setting is wrong: {wrong}.") from None


def as_environment(**options: Any) -> dict[str, str]:
    """The same options for a child process."""
    return {f"ROTOSCOPE_{name.upper()}": str(value) for name, value in given(options).items()}


def given(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}
