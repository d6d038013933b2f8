"""Which policies are installed: found as ``twistd`` finds its commands. A broken package spoils no other."""

from __future__ import annotations

import traceback
from importlib.metadata import packages_distributions
from importlib.util import find_spec
from pathlib import Path

from attrs import frozen
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from twisted.plugin import getPlugins
from zope.interface import provider

from ..decisions import PolicyPlugin
from ..interfaces import IPolicyPlugin


@frozen
class Installed:
    """What a look into ``twisted.plugins`` found.

    :ivar policies: by name.
    :ivar warnings: a sentence for each plug-in module that is broken.
    """

    policies: tuple[PolicyPlugin, ...]
    warnings: tuple[str, ...] = ()


def installed_policies() -> Installed:
    """Find all installed policies. Imports their light modules, not the policies. Blocks on files.

    Twisted keeps what it found in a ``dropin.cache`` beside the modules; where it may not write that (a
    package installed by the system) it looks at the modules anew each time, and nothing else differs.
    """
    warnings: list[str] = []

    @provider(ILogObserver)
    def observe(event: LogEvent) -> None:
        failure = event.get("failure")  # twisted.plugin logs in the old style
        if failure is not None:
            warnings.append(_complaint(failure.value))

    # twisted.plugin has no other way than the log to say which module failed.
    globalLogPublisher.addObserver(observe)
    try:
        found = [plugin for plugin in getPlugins(IPolicyPlugin) if isinstance(plugin, PolicyPlugin)]
    finally:
        globalLogPublisher.removeObserver(observe)
    return Installed(tuple(sorted(found, key=lambda plugin: plugin.name)), tuple(warnings))


def _complaint(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    files = [f.filename for f in frames if Path(f.filename).parent.parts[-2:] == ("twisted", "plugins")]
    culprit = error.filename if isinstance(error, SyntaxError) else next(iter(files), None)
    return f"a plug-in module can't be used: {culprit or 'unknown'}: {type(error).__name__}: {error}"


def origin(plugin: PolicyPlugin) -> str:
    """Where a policy comes from: the distribution, and the file of its module."""
    module = plugin.target.partition(":")[0]
    try:
        spec = find_spec(module)
    except (ImportError, ValueError):
        spec = None
    file = spec.origin if spec is not None and spec.origin else f"{module} (not found)"
    distributions = packages_distributions().get(module.partition(".")[0], [])
    return f"{', '.join(sorted(set(distributions)))}: {file}" if distributions else file
