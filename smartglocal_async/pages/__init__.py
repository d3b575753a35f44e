"""What the HTML pages share: their base template here, and in `serving` how they are served."""

import secrets
from typing import TYPE_CHECKING, Any, Final

from ..errors import Misuse

if TYPE_CHECKING:
    import jinja2

_PACKAGE: Final = "smartglocal_async.pages"


def environment(package: str, subject: str, extra: str) -> "jinja2.Environment":
    """Return an environment with the templates of a package and those of the base.

    Values are escaped, and an unknown name is an error. The templates of ``package`` are in the
    package itself, or in its folder ``templates`` under the prefix ``templates/``. A template
    extends ``base.html.j2`` and imports its macros from ``macros.html.j2``.

    Raises:
        Misuse: Jinja2 isn't installed; says that ``subject``, such as ``an HTML report``, needs
            it, and which extra of this package has it.

    """
    try:
        import jinja2  # noqa: PLC0415  # an optional extra
    except ImportError:
        needs = f"{subject} needs Jinja2: pip install 'smartglocal-async[{extra}]'"
        raise Misuse(needs) from None
    made = jinja2.Environment(
        loader=jinja2.ChoiceLoader(
            [jinja2.PackageLoader(package, ""), jinja2.PackageLoader(_PACKAGE)]
        ),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # A page in a file has neither; a page that is served sets both.
    names: dict[str, Any] = {"nonce": None, "events": None}
    made.globals.update(names)
    return made


def new_nonce() -> str:
    """Return the random value by which a page's own style and script are recognised."""
    return secrets.token_urlsafe(16)
