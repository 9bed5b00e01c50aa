"""The agent server's settings, validated once at start."""

from pathlib import Path
from typing import Annotated, Literal, Self

from ocmt_common.loopback import is_loopback
from ocmt_common.openclaw import default_image
from ocmt_common.settings import Settings
from pydantic import AfterValidator, AnyHttpUrl, Field, SecretStr, field_validator, model_validator

Port = Annotated[int, Field(ge=1, le=65535)]
# At most a century, since longer times are mistakes and overflow dates.
Milliseconds = Annotated[int, Field(ge=1, le=3_155_760_000_000)]
# Resolved to an absolute path, since the engine and the gateways have other working folders.
Place = Annotated[Path, AfterValidator(Path.absolute)]


class AgentSettings(Settings):
    auth_token: SecretStr = Field(
        min_length=32,
        description="token that callers send as x-auth-token; at least 32 characters, e.g. from "
        "`openssl rand -hex 32`",
    )
    data_dir: Place = Field(description="folder of the agents' state and the server's database")
    host: str = Field(
        "127.0.0.1",
        min_length=1,
        description="address of this machine that the API listens on, in plain http",
    )
    port: Port = Field(4000, description="port of the API")
    tls_dir: Place | None = Field(
        None,
        description="folder of this host's certificate, CA and tokens, made by `./ocmt setup`; "
        "needed when management is on another host",
    )
    tls_host: str = Field(
        "0.0.0.0",  # noqa: S104 (only certificates of the installation's CA get in)
        min_length=1,
        description="address the API listens on for management on another host, with TLS_DIR",
    )
    tls_port: Port = Field(4443, description="port of the API for management on another host")
    relay_host: str | None = Field(
        None,
        description="address at which agents reach the relay; default: that of the ocmt bridge "
        "with Docker, 127.0.0.1 with processes",
    )
    relay_port: Port = Field(4001, description="port of the relay")
    management_url: AnyHttpUrl = Field(
        AnyHttpUrl("http://127.0.0.1:3000"),
        description="address of management, to which the relay forwards /llm and /mcp; https:// "
        "unless it is this machine",
    )
    runtime: Literal["auto", "docker", "process"] = Field(
        "auto",
        description="the runtime; auto is Docker where an engine has the agents' image, else "
        "processes, and keeps to what it first chose",
    )
    openclaw_image: str = Field(
        default_factory=default_image, min_length=1, description="image of the agents' containers"
    )
    openclaw_dir: Place | None = Field(
        None, description="folder that contains node_modules/openclaw (process runtime)"
    )
    node_binary: Place | None = Field(
        None, description="the Node.js that runs OpenClaw (process runtime)"
    )
    pause_after_ms: Milliseconds = Field(
        1_800_000, description="idle time after which an agent is paused, in milliseconds"
    )
    stop_after_ms: Milliseconds = Field(
        14_400_000,
        description="time paused after which an agent is stopped, in milliseconds; unless it is "
        "set, one that sleeps in swap on disk is stopped only when swap gets short",
    )
    hibernation_check_interval: Milliseconds = Field(
        60_000, description="time between two sweeps over all agents, in milliseconds"
    )
    wake_timeout_ms: Milliseconds = Field(
        120_000, description="time limit of a wake, in milliseconds"
    )
    agent_memory_mb: int = Field(
        2048, ge=256, le=2**24, description="memory limit of one agent, in MB"
    )
    agent_cpus: float = Field(2.0, gt=0, le=4096, description="CPU limit of one agent, in cores")
    agent_pids: int = Field(
        512, ge=64, le=2**22, description="process and thread limit of one agent"
    )
    agent_disk_mb: int = Field(
        10_240,
        ge=64,
        le=2**31,
        description="disk that one agent may use, in MB, and 64 files for each of them; an agent "
        "over it is stopped at twice as much, or when the host's disk is nearly full",
    )
    spare_agents: int = Field(
        5,
        ge=0,
        le=100,
        description="most agents that are made beforehand for new users, and as many again for "
        "stopped agents, on a host with swap on disk; 0: none",
    )
    max_body_bytes: int = Field(
        26_214_400, ge=1024, le=2**40, description="largest request body accepted, in bytes"
    )
    max_frame_bytes: int = Field(
        26_214_400,
        ge=1024,
        le=2**31,
        description="largest WebSocket message accepted from a client, in bytes; less refuses "
        "files that people attach to messages",
    )
    stop_agents_on_exit: bool = Field(
        False,
        description="stop all agents when the server stops; otherwise they keep running and the "
        "next start finds them",
    )

    @property
    def stop_by_need(self) -> bool:
        """Whether agents asleep in swap are stopped by need: STOP_AFTER_MS was not set."""
        return "stop_after_ms" not in self.model_fields_set

    @field_validator("auth_token")
    @classmethod
    def _not_guessable(cls, token: SecretStr) -> SecretStr:
        text = token.get_secret_value()
        if len(set(text)) < 10 or not text.isascii() or not text.isprintable() or " " in text:
            raise ValueError(
                "use random printable ASCII characters without spaces, e.g. from "
                "`openssl rand -hex 32`"
            )
        return token

    @field_validator("host")
    @classmethod
    def _this_machine_only(cls, host: str) -> str:
        if not is_loopback(host):
            raise ValueError(
                "must be 127.0.0.1 or ::1, since this port is plain http and the token would "
                "travel in the clear; management on another host connects to TLS_PORT, which "
                "`./ocmt setup` prepares"
            )
        return host

    @field_validator("management_url")
    @classmethod
    def _only_an_address(cls, url: AnyHttpUrl) -> AnyHttpUrl:
        if url.username or url.password or url.query or url.fragment:
            raise ValueError("must contain only a scheme, a host, a port and an optional path")
        if url.scheme == "http" and not is_loopback(url.host):
            raise ValueError(
                "must be https:// unless management is on this machine, since agents' tokens and "
                "conversations would travel in the clear; use management's TLS_PORT and TLS_DIR, "
                "which `./ocmt setup` prepares"
            )
        return url

    @model_validator(mode="after")
    def _ports_differ(self) -> Self:
        if self.port == self.relay_port:
            raise ValueError("PORT and RELAY_PORT must differ; change one of them")
        if self.tls_dir is not None and self.tls_port in (self.port, self.relay_port):
            raise ValueError("TLS_PORT must differ from PORT and RELAY_PORT; change one of them")
        return self
