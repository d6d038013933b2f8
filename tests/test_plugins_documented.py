"""The section that each policy shows in its docstring is one that the server takes, word for word."""

from __future__ import annotations

import inspect
import textwrap
import tomllib
from operator import attrgetter
from pathlib import Path
from typing import Any

import pytest

from sipmesh.decisions import PolicyPlugin
from sipmesh.interfaces import IFederationPolicy, IRoutingPolicy, ISecureServerList
from sipmesh.server.structuring import structure
from sipmesh_plugins.federation_allow import AllowList
from sipmesh_plugins.federation_block import BlockList
from sipmesh_plugins.routing_federated import FederatedDomains
from sipmesh_plugins.routing_registered import RegisteredUsers
from sipmesh_plugins.routing_static import StaticRoutes
from sipmesh_plugins.server_list_file import FileServerList
from sipmesh_plugins.server_list_static import StaticServerList
from twisted.plugins import sipmesh_plugin

SECTIONS = {"server_list": ISecureServerList, "federation": IFederationPolicy, "routing": IRoutingPolicy}
POLICIES: list[type[object]] = [
    StaticServerList,
    FileServerList,
    AllowList,
    BlockList,
    RegisteredUsers,
    FederatedDomains,
    StaticRoutes,
]


def documented(cls: type[object]) -> tuple[str, dict[str, Any]]:
    """The example in a class's docstring: the name of the section, and what stands in it."""
    _, _, example = (inspect.getdoc(cls) or "").partition(".. code-block:: toml\n\n")
    block = textwrap.dedent("".join(line for line in example.splitlines(True) if line[:1] in " \n"))
    [(section, [keys])] = tomllib.loads(block).items()
    return section, keys


@pytest.mark.parametrize("cls", POLICIES, ids=attrgetter("__name__"))
def test_the_documented_section_builds_the_policy(cls: type[object], tmp_path: Path) -> None:
    (tmp_path / "servers.txt").touch()
    section, keys = documented(cls)
    del keys["policy"]
    built = structure(keys, cls, tmp_path / "sipmesh.toml", section)
    assert all(hasattr(built, key) for key in keys)


@pytest.mark.parametrize("cls", POLICIES, ids=attrgetter("__name__"))
def test_the_documented_name_is_the_installed_one(cls: type[object]) -> None:
    section, keys = documented(cls)
    installed = {p.name: p for p in vars(sipmesh_plugin).values() if isinstance(p, PolicyPlugin)}
    plugin = installed[keys["policy"]]
    assert plugin.target == f"{cls.__module__}:{cls.__qualname__}"
    assert plugin.interface is SECTIONS[section]
    assert plugin.interface.implementedBy(cls)
