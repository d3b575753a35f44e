"""What a story looks like on the screen: step by step, and both sides' counts at the end."""

from rich.console import Console

from .screen import cell, show, table
from .story import Ending, Line, Step


def show_step(screen: Console, step: Step) -> None:
    """Show a step: what was sent, and what came back."""
    screen.print()
    screen.print(cell(step.title, "bold"))
    for line in step.lines:
        screen.print(_shown(line), soft_wrap=True)


def show_ending(screen: Console, ending: Ending) -> None:
    """Show both sides' counts beside each other, and the verdict."""
    screen.print()
    counts = table()
    counts.add_column("")
    counts.add_column("Client", justify="right")
    counts.add_column("Provider", justify="right")
    for count in ending.counts:
        style = "" if count.agrees else "bold red"
        counts.add_row(count.what, cell(count.client, style), cell(count.provider, style))
    show(screen, counts)
    if ending.is_good:
        screen.print(f"One {ending.story}, paid once.", style="bold green")
        return
    said = f"the client says {ending.paid}, the provider {ending.report.moved}"
    verdict = f"FAILED: paid once, by both sides' counts, was the aim; {said}."
    screen.print(verdict, style="bold red")


def _shown(line: Line) -> object:
    return cell(f"  {'->' if line.is_sent else '<-'} {line.text}", "cyan" if line.is_sent else "")
