"""Commands as classes: the fields of a class are the options; a function elsewhere does the work.

The function is imported when the command runs, so that help and completion stay fast.
"""

import inspect
from collections.abc import Callable, Mapping
from importlib import import_module  # noqa: TID251 - the whole cli is one layer
from typing import Any, Final, TypeVar, cast, dataclass_transform

import attrs
import typer
from attrs import frozen
from typer.core import TyperCommand, TyperGroup

from .errors import explained, interruptible

T = TypeVar("T")
_NO_OPTIONS: Final[Mapping[str, str]] = {}


@dataclass_transform(frozen_default=True, kw_only_default=True)
def command(  # noqa: PLR0913 - what there is to say of a command
    group: typer.Typer,
    name: str,
    work: str,
    *,
    fields: Mapping[str, str] = _NO_OPTIONS,
    error_event: str | None = None,
    cls: "type[Command] | None" = None,
    epilog: str | None = None,
) -> Callable[[type[T]], type[T]]:
    """Return a decorator that adds a command to a group; its class has the options as fields.

    The docstring of the class is the help. ``work`` is ``module:function`` below this package: the
    function takes the options and returns an exit code, or None for 0. ``fields`` has the option
    behind each field that an `InvalidRequest` may name. With ``error_event`` an error is written
    to the JSON output as an event of this name.
    """

    def add(options: type[T]) -> type[T]:
        # Without a repr: options may hold personal data, which a log must not show.
        record: Any = frozen(kw_only=True, repr=False)(options)

        def run(given: Mapping[str, Any]) -> None:
            with explained(as_json=given["as_json"], event=error_event, fields=fields):
                code = load(work)(record(**given))
            if code:
                raise typer.Exit(code)

        add_command(
            group,
            name,
            run,
            help_text=record.__doc__,
            parameters={
                field.name: (
                    field.type,
                    inspect.Parameter.empty if field.default is attrs.NOTHING else field.default,
                )
                # The help lists the command's own options first.
                for field in sorted(attrs.fields(record), key=lambda field: field.inherited)
            },
            cls=cls,
            epilog=epilog,
        )
        return cast("type[T]", record)

    return add


def load(work: str) -> Callable[..., Any]:
    """Import and return a function, named ``module:function`` below this package."""
    module, _, function = work.partition(":")
    found: Callable[..., Any] = getattr(import_module(f".{module}", __package__), function)
    return found


def add_command(  # noqa: PLR0913 - what there is to say of a command
    group: typer.Typer,
    name: str,
    run: Callable[[Mapping[str, Any]], None],
    *,
    help_text: str,
    parameters: Mapping[str, tuple[Any, Any]],
    cls: "type[Command] | None" = None,
    epilog: str | None = None,
) -> None:
    """Add a command to a group; ``parameters`` has the annotation and the default of each."""

    def called(**given: Any) -> None:  # noqa: ANN401 - as its signature has it
        run(given)

    called.__doc__ = help_text
    called.__annotations__ = {name: annotation for name, (annotation, _) in parameters.items()}
    called.__dict__["__signature__"] = inspect.Signature(
        [
            inspect.Parameter(
                name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation
            )
            for name, (annotation, default) in parameters.items()
        ]
    )
    _ = group.command(name, cls=cls or Command, epilog=epilog)(called)


class Command(TyperCommand):
    """A command that refuses an option given twice: one of the values would be dropped.

    Options that take several values keep them all, and may be repeated.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401 - Typer's own
        """Parse as usual, unless an option is repeated."""
        if ctx.resilient_parsing:  # A shell asks for completions of a line that isn't finished.
            return super().parse_args(ctx, args)
        _, _, order = self.make_parser(ctx).parse_args(args=list(args))
        options = [
            param.opts[0]
            for param in order
            if param.param_type_name == "option" and not getattr(param, "multiple", False)
        ]
        for name in options:
            if options.count(name) > 1:
                ctx.fail(f"{name} is given more than once")
        return super().parse_args(ctx, args)


class Commands(TyperGroup):
    """The tree of commands; reports an interrupt at any point, also while arguments are read."""

    def make_context(self, *arguments: Any, **extra: Any) -> Any:  # noqa: ANN401 - Typer's own
        """Read the arguments."""
        with interruptible():
            return super().make_context(*arguments, **extra)

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 - Typer's own
        """Run the command."""
        with interruptible():
            return super().invoke(ctx)
