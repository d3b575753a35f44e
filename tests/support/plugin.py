"""How a pytest run inside a test loads the package's plugin."""

from importlib.metadata import entry_points

# If the package is installed, its plugin is registered; in a bare checkout it must be named.
PLUGIN = (
    []
    if any(point.name == "smartglocal" for point in entry_points(group="pytest11"))
    else ["-p", "smartglocal_async.testing.plugin"]
)
