"""completion: the script that lets a shell complete refundcli's command lines."""

from enum import StrEnum
from typing import Annotated

import typer

group = typer.Typer(rich_markup_mode=None, add_completion=False)

_BASH = """\
_refundcli() {
    local IFS=$'\\n'
    COMPREPLY=($(refundcli __complete "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null))
}
complete -o default -F _refundcli refundcli
"""
_ZSH = """\
#compdef refundcli
_refundcli() {
    local -a found
    found=(${(f)"$(refundcli __complete "${(@)words[2,CURRENT]}" 2>/dev/null)"})
    if (( ${#found} )); then compadd -- "${found[@]}"; else _files; fi
}
compdef _refundcli refundcli
"""
_FISH = """\
function __refundcli_complete
    set -l words (commandline -opc) (commandline -ct)
    refundcli __complete $words[2..-1] 2>/dev/null
end
complete -c refundcli -a '(__refundcli_complete)'
"""


class Shell(StrEnum):
    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


_SCRIPTS = {Shell.BASH: _BASH, Shell.ZSH: _ZSH, Shell.FISH: _FISH}


@group.command(epilog="Examples:  refundcli completion bash   ·   refundcli completion fish")
def completion(
    ctx: typer.Context, shell: Annotated[Shell, typer.Argument(metavar="SHELL", help="bash, zsh or fish.")]
) -> None:
    """Print a script that completes commands, options, reasons, states and invoice numbers with Tab.

    In bash and zsh, add `eval "$(refundcli completion SHELL)"` to ~/.bashrc or ~/.zshrc; in fish,
    `refundcli completion fish | source` to ~/.config/fish/config.fish.
    """
    from refundcli.cli.completion import prepare

    typer.echo(_SCRIPTS[shell], nl=False)
    prepare()
