"""Every setting in one table: name, default, help.

A setting comes from the command line where a command has an option for it, else from the
environment (`ROTOSCOPE_` and the name in capitals; lists are separated by commas), else from the
TOML file that `ROTOSCOPE_CONFIG` names (`rotoscope.toml` in the working folder if unset), else
from the default here. It is read once, in cli.py, and handed to the parts that need it.
"""

import os
import re
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Literal

from platformdirs import user_data_path
from pydantic import AfterValidator, BeforeValidator, Field, SecretStr
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

MIB = 1024 * 1024


def _split(value: object) -> object:
    return (
        [part.strip() for part in value.split(",") if part.strip()]
        if isinstance(value, str)
        else value
    )


Strings = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]
POOL_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
PoolName = Annotated[str, Field(pattern=POOL_NAME)]
Once = Literal["text", "positions", "levels"]
ALL_ONCE: tuple[Once, ...] = ("text", "positions", "levels")
GuidanceBatch = Literal["auto", "together", "apart"]
Profile = Literal["exact", "fast", "turbo"]
Share = Annotated[float, Field(ge=0, le=1)]
Paths = Annotated[tuple[Path, ...], NoDecode, BeforeValidator(_split)]


def _check_rules(rules: tuple[str, ...]) -> tuple[str, ...]:
    for rule in rules:
        what, _, pool = rule.rpartition("=")
        if not what.removeprefix("key:") or not re.match(POOL_NAME, pool):
            raise ValueError(f"{rule!r} is no rule; write MODEL_ID=POOL or key:NAME=POOL.")
    return rules


def _check_interval(levels: tuple[float, float]) -> tuple[float, float]:
    if levels[0] >= levels[1]:
        raise ValueError("the first noise level must be below the second, as in 0.2,0.9.")
    return levels


class Settings(BaseSettings):
    """The table. `docs/reference/settings.md` is generated from it."""

    model_config = SettingsConfigDict(env_prefix="ROTOSCOPE_", frozen=True, extra="forbid")

    # Where things are
    data_dir: Path = Field(
        default_factory=lambda: user_data_path("rotoscope"),
        description="Folder of the job table, keys, uploads, outputs and checkpoints.",
    )
    database_url: Annotated[SecretStr | None, BeforeValidator(lambda url: url or None)] = Field(
        None,
        description="The PostgreSQL database of jobs and keys, as "
        "postgresql://USER:PASSWORD@HOST:PORT/DATABASE; unset: SQLite files in data_dir, for one "
        "server process.",
    )
    lora_folders: Paths = Field(
        (), description="Folders whose files may be named as a LoRA's local path."
    )

    # The web process
    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    public_url: str | None = Field(
        None, description="Base of the URLs in answers; unset: taken from each request."
    )
    trusted_proxies: Strings = Field(
        (), description="Addresses or networks of proxies whose forwarded headers are believed."
    )
    anonymous: bool = Field(
        default=False, description="Answer requests without a key; only on a loopback address."
    )
    serve_drain_s: float = Field(
        0,
        ge=0,
        description="Seconds after SIGTERM in which a server answers 503 to submits and to "
        "/readyz, and all else as usual, before it closes; for servers behind a load balancer.",
    )
    max_body_bytes: int = Field(64 * MIB, description="Largest JSON body of a request.")
    max_queue: int = Field(10_000, description="Queued jobs beyond which submits get a 503.")
    upload_hours: float = Field(24, gt=0, description="How long an upload can be used.")

    metrics_open: bool = Field(
        default=False,
        description="Answer /metrics without a key; otherwise it takes a worker's key.",
    )
    log_format: Literal["auto", "console", "json"] = Field(
        "auto",
        description="How log lines look: for people (console), or one JSON object a line (json); "
        "auto is console on a terminal, else json.",
    )

    # Webhooks
    webhook_private_hosts: Strings = Field(
        (),
        description="Host names, addresses or networks that webhooks may go to although they are "
        "not public; plain http is allowed for these too.",
    )
    webhook_timeout_s: float = Field(
        15, gt=0, description="Most seconds until a webhook's receiver must have answered."
    )

    # Files
    storage_url: str | None = Field(
        None,
        description="Where results and uploads are kept: s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or "
        "az://CONTAINER/PREFIX, with the cloud's usual environment variables; unset: in data_dir.",
    )
    storage_urls: Literal["proxied", "presigned"] = Field(
        "proxied",
        description="How a result's URL is answered: by the server itself (proxied), or by "
        "leading on to the object store (presigned), which clients must be able to reach.",
    )
    presigned_s: int = Field(
        3600, ge=1, le=7 * 24 * 3600, description="Seconds that a presigned URL works."
    )
    retention_days: float = Field(
        7, ge=0, description="Days from a job's end until it is forgotten with its files; 0: never."
    )

    # Jobs
    lease_s: float = Field(60, gt=0, description="Seconds without a heartbeat until a job is lost.")
    heartbeat_s: float = Field(15, gt=0, description="Seconds between a worker's heartbeats.")
    max_attempts: int = Field(2, ge=1, description="Attempts before a lost job is failed.")

    pools: Annotated[Strings, AfterValidator(_check_rules)] = Field(
        (),
        description="Which pool a job waits in, the first rule that fits: MODEL_ID=POOL, or "
        "key:NAME=POOL for jobs of the keys of that name; else default. A worker's key of that "
        "name gives work in that pool alone.",
    )

    # The worker
    pool: PoolName = Field("default", description="The pool whose jobs a worker takes.")
    drain_s: float = Field(
        840,
        ge=0,
        description="Seconds that a worker's running job has to end after SIGTERM, before it is "
        "handed back to the queue.",
    )
    server_url: str = Field("http://127.0.0.1:8000", description="The server a worker works for.")
    worker_key: SecretStr | None = Field(None, description="The key a worker presents.")
    checkpoint: str = Field("mini", description="The checkpoint to open, by its registry name.")
    checkpoint_dir: Path | None = Field(
        None, description="A folder with the checkpoint's files; unset: below data_dir."
    )
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="Where the model runs.")
    ranks: int = Field(
        1,
        ge=1,
        le=2,
        description="Processes that a worker computes guidance in: with 2, a helper with the same "
        "checkpoint computes one of a step's guesses, on the second GPU where there are GPUs.",
    )
    sequence_parallel: bool = Field(
        default=False,
        description="With ranks=2: a step with a single guess is computed in both processes too, "
        "each for half of the video. They swap gigabytes a step: for cards joined by NVLink.",
    )
    overlap: bool | None = Field(
        None,
        description="Fetch and read the next job, and encode and store the last one, while a job "
        "is generated; unset: where the model runs on a GPU.",
    )
    max_area: int | None = Field(
        None,
        ge=64 * 64,
        description="Most pixels of a frame with video_size auto; unset: the checkpoint's own.",
    )
    memory: Literal["auto", "resident", "offloaded", "fp8"] = Field(
        "auto",
        description="Where weights wait: all on the device (resident); in the machine's memory "
        "until they are used (offloaded); so, and stored in 8 bits on the device (fp8). "
        "auto takes for each job the first of the three that it fits into.",
    )
    plain_video: Literal["reference", "sdedit"] = Field(
        "reference",
        description="What a source without any IC-LoRA does: the model looks at it (reference), "
        "or starts from it, noised the more the lower video_strength is (sdedit).",
    )
    detailer: Literal["generic", "three-step"] = Field(
        "generic",
        description="How the Detailer runs where it is the only IC-LoRA: as the others do, or in "
        "the three steps at full size, from the source and without guidance, that were published.",
    )
    preview_every: int = Field(
        5,
        ge=0,
        description="Steps from one picture of a running job to the next; 0: none. There are none "
        "where weights are offloaded.",
    )
    stg_scale: float = Field(
        0.0,
        ge=0,
        le=10,
        description="Spatio-temporal guidance of the first pass; 0 is off. It adds a row to each "
        "step, which takes half as long again.",
    )

    profile: Profile = Field(
        "exact",
        description="How much of the exact result is given for time: none (exact); what "
        "docs/performance.md measures, steps left out where they change little (fast); "
        "the distilled model's eight steps without guidance, for a checkpoint that has "
        "its LoRA (turbo).",
    )
    skip_below: float | None = Field(
        None,
        ge=0,
        le=1,
        description="A step is guessed from the two before it where their guesses differ by less "
        "than this share; 0 computes every step; unset: as the profile has it.",
    )
    guidance_interval: Annotated[
        tuple[Share, Share], NoDecode, BeforeValidator(_split), AfterValidator(_check_interval)
    ] = Field(
        (0.0, 1.0),
        description="The lowest and the highest noise level, of 0 to 1, at which steps are guided; "
        "a step at any other computes the prompt's guess alone, in half the time. It changes the "
        "clip.",
    )
    guidance_batch: GuidanceBatch = Field(
        "auto",
        description="Compute a step's guesses in one batch (together), or one after the other in "
        "less memory (apart), which changes roundings; auto takes apart where together would not "
        "fit by the estimate, before it takes a leaner memory plan.",
    )
    decode_tiles: bool = Field(
        default=False,
        description="Decode pictures larger than 512 pixels in overlapping tiles, in less memory, "
        "so that longer clips leave the weights where they are. It changes the picture a little, "
        "which a warning says.",
    )
    compute_once: Annotated[tuple[Once, ...], NoDecode, BeforeValidator(_split)] = Field(
        ALL_ONCE,
        description="What is computed once instead of in every step or for every token: the "
        "text's keys and values (text) and rotary embeddings (positions), which changes no bit; "
        "the modulation of each different noise level (levels), which changes roundings.",
    )
    compile_blocks: bool = Field(
        default=False,
        description="Compile the transformer with torch.compile, which needs a C++ compiler on a "
        "CPU, and Triton on a card. The first job of each shape waits for it, for minutes where "
        "data_dir/compiled has nothing of it. Not with weights in 8 bits.",
    )
    recall_bytes: int = Field(
        256 * MIB,
        ge=0,
        description="Most bytes of prompts' embeddings and clips' latents that a worker keeps in "
        "memory, so that the same prompt or clip again costs nothing; 0 keeps none.",
    )

    # Fetching
    fetch_private_hosts: Strings = Field(
        (),
        description="Host names, addresses or networks that inputs may be fetched from although "
        "they are not public; plain http is allowed for these too.",
    )
    fetch_ca_file: Path | None = Field(
        None, description="Extra certificate authorities for fetching inputs, as a PEM file."
    )
    fetch_timeout_s: float = Field(120, gt=0, description="Most seconds for one download.")
    max_video_bytes: int = Field(100_000_000, description="Largest source video.")
    max_image_bytes: int = Field(50_000_000, description="Largest first-frame image.")
    max_lora_bytes: int = Field(10_000_000_000, description="Largest LoRA file.")
    lora_cache_bytes: int = Field(
        100_000_000_000,
        ge=0,
        description="Most bytes of downloaded LoRAs that are kept; the least recently used go "
        "first, pinned ones and those of running jobs never.",
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        file = Path(os.environ.get("ROTOSCOPE_CONFIG", "rotoscope.toml"))
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, file)

    @property
    def listens_on_loopback(self) -> bool:
        return is_loopback(self.host)


def is_loopback(host: str) -> bool:
    """Whether this name or address can only mean this machine."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
