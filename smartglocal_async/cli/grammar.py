"""What commands have in common before they run: options given once, and interrupts told."""

from typing import Any

from typer.core import TyperCommand, TyperGroup

from .failures import interruptible


class Command(TyperCommand):
    """A command that refuses an option given twice: one of the values would be dropped.

    Options that take several values keep them all, and may come again.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401 - Typer's own
        """Parse as usual, unless an option comes again."""
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
    """A tree of commands that tells of an interrupt wherever it strikes."""

    def make_context(self, *arguments: Any, **extra: Any) -> Any:  # noqa: ANN401 - Typer's own
        """Read the arguments."""
        with interruptible():
            return super().make_context(*arguments, **extra)

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 - Typer's own
        """Run the command."""
        with interruptible():
            return super().invoke(ctx)
