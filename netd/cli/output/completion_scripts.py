"""Completion scripts for the shells.  Each passes the command line to ``netctl __complete`` and offers its output."""

from __future__ import annotations

# bash itself splits words at = and :, so this script splits the line at blanks and removes the part of a candidate up
# to the last = or :, which bash keeps.
_BASH = r"""
# bash completion for netctl; load it with:  source <(netctl completion bash)
_netctl() {
    local line=${COMP_LINE:0:COMP_POINT} candidate head
    local -a words
    read -ra words <<<"$line"
    [[ $line == *[[:space:]] ]] && words+=("")
    local last=${words[-1]}
    head=${last%"${last##*[=:]}"}
    COMPREPLY=()
    while IFS= read -r candidate; do
        case $candidate in
            :file) compopt -o default; return ;;
            :dir) compopt -o dirnames -o nospace; return ;;
        esac
        candidate=${candidate%%$'\t'*}
        [[ $candidate == *[=:] ]] && compopt -o nospace
        COMPREPLY+=("${candidate#"$head"}")
    done < <("${words[0]}" __complete "${words[@]:1}" 2>/dev/null)
}
complete -F _netctl netctl
"""

_ZSH = r"""
#compdef netctl
# zsh completion for netctl; load it with:  source <(netctl completion zsh)
_netctl() {
    local line name
    local -a shown unfinished
    for line in "${(@f)$(${words[1]} __complete "${(@)words[2,CURRENT]}" 2>/dev/null)}"; do
        case $line in
            :file) _files; return ;;
            :dir) _files -/; return ;;
            "") continue ;;
        esac
        name=${line%%$'\t'*}
        if [[ $name == *[=:] ]]; then
            unfinished+=("$name")
        elif [[ $line == *$'\t'* ]]; then
            shown+=("${name//:/\\:}:${line#*$'\t'}")
        else
            shown+=("${name//:/\\:}")
        fi
    done
    (( $#unfinished )) && compadd -S '' -a unfinished
    (( $#shown )) && _describe netctl shown
}
if [ "$funcstack[1]" = "_netctl" ]; then _netctl "$@"; else compdef _netctl netctl; fi
"""

_FISH = r"""
# fish completion for netctl; load it with:  netctl completion fish | source
function __netctl_complete
    set -l words (commandline -opc)
    set -l last (commandline -ct)
    for line in ($words[1] __complete $words[2..-1] $last 2>/dev/null)
        switch $line
            case :file
                __fish_complete_path $last
            case :dir
                __fish_complete_directories $last
            case '*'
                echo $line
        end
    end
end
complete -c netctl -f -a '(__netctl_complete)'
"""

SCRIPTS = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}
