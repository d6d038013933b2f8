"""How the documentation is built. What can be read from the code is: see ``extensions/``."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "extensions"))

from sipmesh import __version__

project = "SipMesh"
author = "the SipMesh authors"
project_copyright = f"2026, {author}"
release = __version__

extensions = [
    "sphinx.ext.autodoc",
    "command_help",
    "configuration_keys",
    "shipped_policies",
    "transaction_machines",
    "zope_interfaces",
]
exclude_patterns = ["_build", "extensions"]
default_role = "code"
nitpicky = False

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_class_signature = "mixed"
python_use_unqualified_type_names = True

html_theme = "furo"
html_title = f"SipMesh {release}"
html_static_path = ["static"]
html_css_files = ["sipmesh.css"]
html_copy_source = False
