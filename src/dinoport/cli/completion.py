"""Scripts that complete commands and their options, made of the same table as the help."""

from collections.abc import Iterable, Sequence

from dinoport.cli.options import Option
from dinoport.cli.parsing import Command, unknown
from dinoport.request import option_of

SHELLS = ("bash", "zsh", "fish")

BASH = """\
_dinoport() {
  local word="${COMP_WORDS[COMP_CWORD]}" words=""
  case "${COMP_WORDS[1]}:${COMP_WORDS[COMP_CWORD-1]}" in
VALUES
    *) case "$COMP_CWORD:${COMP_WORDS[1]}" in
      1:*) words="NAMES --version --help" ;;
OPTIONS
    esac ;;
  esac
  COMPREPLY=($(compgen -W "$words" -- "$word"))
}
complete -o default -F _dinoport dinoport"""


def script(shell: str, commands: Sequence[Command]) -> str:
    """The script for a shell. Raises UsageError for one that is not known."""
    if shell not in SHELLS:
        refusal = unknown("a shell", shell, SHELLS, "completion")
        refusal.expected = "bash, zsh or fish"
        raise refusal
    if shell == "fish":
        return "\n".join(_fish(commands))
    start = "autoload -U +X compinit bashcompinit && compinit && bashcompinit\n" if shell == "zsh" else ""
    values = [
        f"    {command}:{option_of(option.field)}) words='{_values(option)}' ;;"
        for command, option in _options(commands)
    ]
    flags = {command.name: [*(option_of(option.field) for option in command.options), "--help"] for command in commands}
    options = [f"      *:{name}) words='{' '.join(own)}' ;;" for name, own in flags.items()]
    filled = BASH.replace("NAMES", " ".join(command.name for command in commands))
    return start + filled.replace("VALUES", "\n".join(values)).replace("OPTIONS", "\n".join(options))


def _fish(commands: Sequence[Command]) -> Iterable[str]:
    for command in commands:
        yield f"complete -c dinoport -n __fish_use_subcommand -f -a {command.name} -d {_quoted(command.summary)}"
        for option in command.options:
            values = f" -x -a {_quoted(_values(option))}" if _values(option) else " -r" if option.metavar else ""
            flag, words = option_of(option.field)[2:], _quoted(option.help)
            yield f"complete -c dinoport -n '__fish_seen_subcommand_from {command.name}' -l {flag}{values} -d {words}"


def _options(commands: Sequence[Command]) -> dict[tuple[str, Option], None]:
    """The options that take a value, with the command that they are for: `*` after those that are of one alone."""
    own = [(command.name, option) for command in commands for option in command.own]
    shared = [("*", option) for command in commands for option in command.options if option not in command.own]
    return dict.fromkeys(each for each in (*own, *shared) if each[1].metavar)


def _values(option: Option) -> str:
    """The words that an option takes; none where it takes a file, or anything else."""
    return " ".join(option.metavar.split("|")) if option.metavar == option.metavar.lower() else ""


def _quoted(text: str) -> str:
    return "'" + text.replace("'", r"\'") + "'"
