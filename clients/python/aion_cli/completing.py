"""The command `completion`: a script by which a shell completes commands, options and the words that they take.

The scripts are made of the command line's own definition and are complete in themselves: pressing tab starts no program.
That definition is of classes which typer took from click and carries along since; none of them is named here.
"""

import enum
import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, get_args

import typer

from aion_cli.session import Session

PROGRAM = "aion"


class Shell(enum.StrEnum):
    """What scripts there are for."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Option:
    """`names`: `-n`, `--namespace`. `words`: those it takes, if it takes no others; `is_flag`: it takes none at all."""

    names: Sequence[str]
    about: str
    is_flag: bool
    words: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Command:
    """`words`: what its argument may be, if nothing else; `takes_files`: whether its argument is a path."""

    name: str
    about: str
    options: Sequence[_Option]
    words: Sequence[str]
    takes_files: bool


def completion(
    session: Session,
    shell: Annotated[Shell, typer.Argument(metavar="bash|zsh|fish")],
) -> None:
    """Print the script by which a shell completes `aion`.

    Examples:

      eval "$(aion completion bash)"

      aion completion zsh > ~/.zfunc/_aion

      aion completion fish > ~/.config/fish/completions/aion.fish
    """
    common = _options(session.program)
    commands = [_command(name, definition) for name, definition in sorted(session.program.commands.items())]
    lines = {Shell.BASH: _bash, Shell.ZSH: _zsh, Shell.FISH: _fish}[shell](common, commands)
    script = "\n".join(lines)
    session.output.answer({"shell": shell.value, "script": script}, lambda out: out.text(script))


def _command(name: str, command: Any) -> _Command:
    taken = _taken_by(command)
    arguments = [parameter.name for parameter in command.params if parameter.param_type_name == "argument"]
    return _Command(
        name=name,
        about=_sentence(command.help),
        options=_options(command),
        words=[word for argument in arguments for word in _words(taken[argument])],
        takes_files=any(issubclass(taken[argument], Path) for argument in arguments),
    )


def _options(command: Any) -> list[_Option]:
    taken = _taken_by(command)
    found = [
        _Option(
            names=[*option.opts, *option.secondary_opts],
            about=_sentence(option.help),
            is_flag=option.is_flag,
            words=_words(taken[option.name]),
        )
        for option in command.params
        if option.param_type_name == "option"
    ]
    return [*found, _Option(names=["-h", "--help"], about="Show what it does.", is_flag=True, words=())]


def _taken_by(command: Any) -> Mapping[str, type]:
    """The type of each parameter, or of each of its values: as the command's function says it."""
    return {name: _plain(parameter.annotation) for name, parameter in inspect.signature(command.callback).parameters.items()}


def _plain(annotation: Any) -> type:
    """`X` of `Annotated[X | None, ...]` and of `list[X]`."""
    while inner := [part for part in get_args(annotation) if part is not type(None)]:
        annotation = inner[0]
    return annotation if isinstance(annotation, type) else object


def _words(taken: type) -> list[str]:
    """The words that a parameter takes: enums have them, others take any."""
    return [str(member.value) for member in taken] if issubclass(taken, enum.Enum) else []


def _sentence(text: str | None) -> str:
    """The first sentence, on one line."""
    return " ".join((text or "").split()).split(". ", maxsplit=1)[0].removesuffix(".")


def _names(options: Sequence[_Option]) -> str:
    return " ".join(name for option in options for name in option.names)


def _with_words(options: Sequence[_Option]) -> Iterator[tuple[str, str]]:
    for option in options:
        if option.words:
            yield "|".join(option.names), " ".join(option.words)


def _with_value(options: Sequence[_Option]) -> str:
    return "|".join(name for option in options if not option.is_flag for name in option.names)


def _bash(common: Sequence[_Option], commands: Sequence[_Command]) -> Iterator[str]:
    names = " ".join(command.name for command in commands)
    yield f"# Completion of `{PROGRAM}` for bash."
    yield f"_{PROGRAM}() {{"
    yield '    local word current="${COMP_WORDS[COMP_CWORD]}" previous="${COMP_WORDS[COMP_CWORD-1]}" command="" skip=""'
    yield '    for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do'
    yield '        if [[ -n "$skip" ]]; then skip=""; continue; fi'
    yield '        case "$word" in'
    yield f"            {_with_value(common)}) skip=1 ;;"
    yield "            -*) ;;"
    yield '            *) command="$word"; break ;;'
    yield "        esac"
    yield "    done"
    yield "    COMPREPLY=()"
    yield '    case "$command" in'
    yield f'        "") {_bash_words(common, names, takes_files=False)}'
    for command in commands:
        words = " ".join(command.words)
        yield f"        {command.name}) {_bash_words(command.options, words, takes_files=command.takes_files)}"
    yield "    esac"
    yield "}"
    yield f"complete -o bashdefault -F _{PROGRAM} {PROGRAM}"


def _bash_words(options: Sequence[_Option], words: str, *, takes_files: bool) -> str:
    """The cases of one command, on one line: after an option with a value, at an option, at an argument."""
    after = [f'{names}) COMPREPLY=($(compgen -W "{taken}" -- "$current")) ;;' for names, taken in _with_words(options)]
    if values := _with_value([option for option in options if not option.words]):
        after.append(f'{values}) COMPREPLY=($(compgen -f -- "$current")) ;;')
    arguments = f'COMPREPLY=($(compgen -W "{words}" -- "$current"))'
    if takes_files:
        arguments = 'COMPREPLY=($(compgen -f -- "$current"))'
    at = f'case "$current" in -*) COMPREPLY=($(compgen -W "{_names(options)}" -- "$current")) ;; *) {arguments} ;; esac'
    return f'case "$previous" in {" ".join(after)} *) {at} ;; esac ;;'


def _zsh(common: Sequence[_Option], commands: Sequence[_Command]) -> Iterator[str]:
    yield f"#compdef {PROGRAM}"
    yield f"# Completion of `{PROGRAM}` for zsh."
    yield f"_{PROGRAM}() {{"
    yield "    local context state line"
    yield "    _arguments -C \\"
    yield from (f"        {spec} \\" for option in common for spec in _zsh_specs(option))
    yield "        '1: :->command' '*:: :->arguments'"
    yield '    case "$state" in'
    yield "    command)"
    yield "        local -a commands=("
    yield from (f"            '{command.name}:{_in_zsh(command.about)}'" for command in commands)
    yield "        )"
    yield "        _describe command commands ;;"
    yield "    arguments)"
    yield '        case "$line[1]" in'
    for command in commands:
        yield f"        {command.name})"
        yield "            _arguments \\"
        yield from (f"                {spec} \\" for option in command.options for spec in _zsh_specs(option))
        yield f"                '*:argument{_zsh_taken(command.words, takes_files=command.takes_files)}' ;;"
    yield "        esac ;;"
    yield "    esac"
    yield "}"
    yield f'if [[ "$funcstack[1]" == _{PROGRAM} ]]; then _{PROGRAM} "$@"; else compdef _{PROGRAM} {PROGRAM}; fi'


def _zsh_specs(option: _Option) -> Iterator[str]:
    taken = "" if option.is_flag else f":value{_zsh_taken(option.words, takes_files=not option.words)}"
    for name in option.names:
        yield f"'{name}[{_in_zsh(option.about)}]{taken}'"


def _zsh_taken(words: Sequence[str], *, takes_files: bool) -> str:
    if words:
        return f":({' '.join(words)})"
    return ":_files" if takes_files else ": "


def _in_zsh(text: str) -> str:
    """Between single quotes, in a description of `_arguments` or `_describe`."""
    return "".join(f"\\{c}" if c in "[]:\\" else c for c in text).replace("'", "'\\''")


def _fish(common: Sequence[_Option], commands: Sequence[_Command]) -> Iterator[str]:
    names = " ".join(command.name for command in commands)
    nothing_yet = f"not __fish_seen_subcommand_from {names}"
    yield f"# Completion of `{PROGRAM}` for fish."
    yield f"complete -c {PROGRAM} -f"
    yield from (f"complete -c {PROGRAM} -n '{nothing_yet}' {_fish_option(option)}" for option in common)
    for command in commands:
        yield f"complete -c {PROGRAM} -n '{nothing_yet}' -a {command.name} -d '{_in_fish(command.about)}'"
        seen = f"-n '__fish_seen_subcommand_from {command.name}'"
        yield from (f"complete -c {PROGRAM} {seen} {_fish_option(option)}" for option in command.options)
        if command.words:
            yield f"complete -c {PROGRAM} {seen} -a '{' '.join(command.words)}'"
        if command.takes_files:
            yield f"complete -c {PROGRAM} {seen} -F"


def _fish_option(option: _Option) -> str:
    named = " ".join(f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}" for name in option.names)
    taken = "" if option.is_flag else " -r -F"
    if option.words:
        taken = f" -x -a '{' '.join(option.words)}'"
    return f"{named}{taken} -d '{_in_fish(option.about)}'"


def _in_fish(text: str) -> str:
    """Between single quotes."""
    return text.replace("\\", "\\\\").replace("'", "\\'")
