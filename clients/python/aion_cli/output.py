"""Everything that is printed: answers to stdout (tables for people, one JSON document for programs), the rest to stderr."""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from aion_cli.outcome import Trouble
from aion_client.json_text import render

SHORT_HASH_DIGITS = 12
_PIPE_WIDTH = 240


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """`as_json`: stdout and errors are JSON."""

    as_json: bool
    out: Console
    err: Console

    def answer(self, document: object, show: Callable[["Output"], None]) -> None:
        """The answer of the command: the document for programs, or what `show` prints for people."""
        if self.as_json:
            self.out.file.write(_json_lines(document) + "\n")
        else:
            show(self)

    def say(self, text: str) -> None:
        """A line of the answer for people."""
        self.out.print(Text(clean(text)), soft_wrap=True)

    def text(self, text: str) -> None:
        """A whole document, byte by byte."""
        self.out.file.write(text + "\n")

    def note(self, text: str) -> None:
        """What a person should know meanwhile: to stderr, never part of the answer, nothing for programs."""
        if not self.as_json:
            self.err.print(Text(clean(text), style="dim"), soft_wrap=True)

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Rows under headings; nothing is cut off when it is not for a terminal."""
        table = Table(box=None, pad_edge=False, header_style="bold")
        for column in columns:
            table.add_column(column, overflow="fold")
        for row in rows:
            table.add_row(*(Text(clean(cell)) for cell in row))
        self.out.print(table)

    def fields(self, values: Mapping[str, str | None]) -> None:
        """Name and value line by line; what is None is left out."""
        table = Table(box=None, pad_edge=False, show_header=False)
        table.add_column(style="bold", no_wrap=True)
        table.add_column(overflow="fold")
        for name, value in values.items():
            if value is not None:
                table.add_row(Text(name), Text(clean(value)))
        self.out.print(table)

    def trouble(self, trouble: Trouble) -> None:
        """What went wrong and what to do next, to stderr."""
        if self.as_json:
            document = {"code": trouble.code, "detail": trouble.what, "next": list(trouble.next_steps), **trouble.fields}
            self.err.file.write(_json_lines(document) + "\n")
            return
        self.err.print(
            f"[bold red]{escape(clean(trouble.code))}[/]: {escape(clean(trouble.what))}", soft_wrap=True, highlight=False
        )
        for line in (*trouble.details, *trouble.next_steps):
            self.err.print(Text(f"  {clean(line)}"), soft_wrap=True)

    @contextmanager
    def waiting(self, text: str) -> Iterator[None]:
        """Shows that something is awaited: a spinner on a terminal, a line elsewhere, nothing for programs."""
        if self.as_json or not self.err.is_terminal:
            self.note(text)
            yield
            return
        with self.err.status(Text(clean(text))):
            yield

    @contextmanager
    def uploading(self, total_bytes: int) -> Iterator[Callable[[int], None]]:
        """A progress bar on a terminal; gives what must be told how many bytes were sent."""
        if self.as_json or not self.err.is_terminal:
            yield lambda _sent: None
            return
        columns = (TextColumn("uploading"), BarColumn(), DownloadColumn())
        with Progress(*columns, console=self.err, transient=True) as progress:
            upload = progress.add_task("uploading", total=total_bytes)
            yield lambda sent: progress.update(upload, completed=sent)


def open_output(*, as_json: bool) -> Output:
    """The output of this process, as wide as its terminal; without one, wide enough that no line is folded."""
    return Output(as_json=as_json, out=_console(stderr=False), err=_console(stderr=True))


def _console(*, stderr: bool) -> Console:
    stream = sys.stderr if stderr else sys.stdout
    return Console(stderr=stderr, width=None if stream.isatty() else _PIPE_WIDTH, highlight=False)


def clean(text: str) -> str:
    """The text with escape sequences and the like spelt out: what others wrote must not steer the terminal."""
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)


def short(digest: str | None) -> str:
    """The first digits of a hash: enough to tell versions apart, and to name one in a command."""
    return "-" if not digest else digest[:SHORT_HASH_DIGITS]


def moment(ms: int | None) -> str:
    """Milliseconds since the epoch as local time."""
    if ms is None:
        return "-"
    return datetime.fromtimestamp(ms / 1_000).astimezone().strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]


def json_line(value: object) -> str:
    """JSON on one line, numbers as they came."""
    return render(value, comma=", ", colon=": ")


def _json_lines(document: object) -> str:
    return render(document, colon=": ", indent=2)


def byte_size(count: int) -> str:
    """A number of bytes for people."""
    if count < 1024:
        return f"{count} bytes"
    if count < 1024 * 1024:
        return f"{count / 1024:.1f} KiB"
    return f"{count / 1024 / 1024:.1f} MiB"
