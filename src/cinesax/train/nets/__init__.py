"""Networks: each a readable function of a small frozen config.

A network is a config (a frozen dataclass with `classes` and `factor`) and a function `(config, *, size) -> keras.Model`
that maps images (batch, row, column, 1), float32, 0 to 1, to probabilities (batch, row, column, classes), float32.
Normalisation and softmax are inside; there are no custom layers, so that every exporter knows them all. A new network
is a file of this package and a line in `NETWORKS`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Protocol, runtime_checkable

import keras

from cinesax.core.errors import InputError
from cinesax.files.typed_json import Json, JsonObject, plain, typed
from cinesax.train.nets.fcn import FCNConfig, fcn
from cinesax.train.nets.slim import SlimConfig, slim
from cinesax.train.nets.unet import UNetConfig, unet

__all__ = [
    "NETWORKS",
    "FCNConfig",
    "Network",
    "NetworkConfig",
    "SlimConfig",
    "UNetConfig",
    "build",
    "fcn",
    "from_dict",
    "slim",
    "to_dict",
    "unet",
]


@runtime_checkable
class NetworkConfig(Protocol):
    """What every network's config has."""

    @property
    def classes(self) -> int:
        """Classes of the output, background included."""

    @property
    def factor(self) -> int:
        """Rows and columns of an image are multiples of this."""


@dataclass(frozen=True, slots=True)
class Network:
    """A kind of network: the type of its config, and the function that builds it."""

    config: type
    build: Callable[..., keras.Model]


NETWORKS: Mapping[str, Network] = {
    "unet": Network(UNetConfig, unet),
    "fcn": Network(FCNConfig, fcn),
    "slim": Network(SlimConfig, slim),
}


def _name(config: NetworkConfig) -> str:
    return next(name for name, network in NETWORKS.items() if type(config) is network.config)


def build(config: NetworkConfig, *, size: int | None = None) -> keras.Model:
    """Build the network of a config.

    Args:
        config: a config of one of `NETWORKS`.
        size: rows and columns; None: any multiple of `config.factor`.
    """
    return NETWORKS[_name(config)].build(config, size=size)


def to_dict(config: NetworkConfig) -> dict[str, Json]:
    """The config as plain values for JSON; "network" is its kind."""
    return {"network": _name(config), **plain(config)}


def from_dict(values: JsonObject) -> NetworkConfig:
    """The config from the values of `to_dict`; without a kind (early runs and bundles) it is a U-Net.

    Raises:
        InputError: a kind or a setting that this version does not know.
    """
    name = str(values.get("network", "unet"))
    if name not in NETWORKS:
        raise InputError(f"this version has no network {name!r}; it knows {', '.join(NETWORKS)}")
    kind = NETWORKS[name].config
    known = {field.name for field in fields(kind)}
    unknown = sorted(set(values) - known - {"network"})
    if unknown:
        raise InputError(
            f"this version's network {name!r} has no setting {unknown[0]!r}; it has {', '.join(sorted(known))}"
        )
    try:
        config: NetworkConfig = typed({key: value for key, value in values.items() if key in known}, kind)
    except ValueError as error:
        raise InputError(f"settings of the network {name!r} are damaged: {error}") from None
    return config
