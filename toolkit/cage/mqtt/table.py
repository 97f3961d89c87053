"""The `[mqtt]` table of a cage's configuration."""

from __future__ import annotations

import re

from pydantic import BaseModel, Field, field_validator, model_validator

from toolkit.cage.config_fields import STRICT, PathBesideFile


class MqttTable(BaseModel):
    """Bouts and the cage's state to an MQTT broker. Off unless it has a host."""

    model_config = STRICT

    host: str | None = Field(default=None, min_length=1)
    """Name or address of the broker."""
    port: int = Field(default=1883, ge=1, le=65535)
    """Port of the broker; 8883 is usual with TLS."""
    tls: bool = False
    """Encrypt, and check the broker's certificate."""
    ca_file: PathBesideFile | None = None
    """Certificates (PEM) that the broker's must come from; needs tls. Without it: the system's."""
    username: str | None = None
    """Name to log in with."""
    password_file: PathBesideFile | None = None
    """File whose only line is the password; needs username."""
    topic_prefix: str = "toolkit"
    """First levels of every topic; the cage's name is the next."""
    keep_days: float = Field(default=7.0, gt=0, le=3650)
    """Days after which bouts that no broker took are no longer sent; the log keeps them."""

    @property
    def broker(self) -> str:
        """Host and port, for messages."""
        return f"{self.host}:{self.port}"

    @field_validator("topic_prefix")
    @classmethod
    def _is_a_topic(cls, value: str) -> str:
        if not re.fullmatch(r"[^/+#\0\s$][^/+#\0\s]*(/[^/+#\0\s]+)*", value):
            raise ValueError(f'expected levels such as "lab/mice" without +, # and spaces, found {value!r}')
        return value

    @model_validator(mode="after")
    def _is_complete(self) -> MqttTable:
        if self.password_file is not None and self.username is None:
            raise ValueError("password_file is set without username. Expected both, or neither")
        if self.ca_file is not None and not self.tls:
            raise ValueError("ca_file is set and tls is not. Expected tls = true, or no ca_file")
        return self
