"""Completion for bash, zsh and fish: verbs, flags, choices, files, and directories where a run is meant.

shtab knows bash and zsh, not fish, and wants all verbs in one parser; argcomplete starts Python at each TAB and in each
sweep. So each shell has one template, filled from the same facts as the help: nothing of ours runs when TAB is pressed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ckptkit.manual.verb_facts import Option, VerbPage

Shell = Literal["bash", "zsh", "fish"]
NAMES: tuple[Shell, ...] = ("bash", "zsh", "fish")


def script(shell: Shell, pages: Sequence[VerbPage], verbs: Mapping[str, str], scripts: str = "") -> str:
    """The text that a shell reads once.

    pages: of all verbs. verbs: {verb: half a line on it}. scripts: the directory of bin/'s scripts, "" without.
    """
    return {"bash": bash, "zsh": zsh, "fish": fish}[shell](pages, verbs, scripts)


# --- bash ------------------------------------------------------------------------------------------------------------

BASH = """\
# bash completion for ckptkit; to use it now: eval "$(ckptkit completion bash)"
_ckptkit() {
  local verb=$1 current=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]} flags='' values='' arguments=''
  COMPREPLY=()
  # bash makes `--level=full` three words.
  [[ $current == = ]] && current=
  [[ $before == = ]] && before=${COMP_WORDS[COMP_CWORD - 2]}
  case $verb in
@VERBS@
  esac
  case $verb:$before in
@VALUES@
  esac
  case ${values:-${current:0:1}} in
    none) return ;;
    choices:*) COMPREPLY=($(compgen -W "${values#*:}" -- "$current")) ;;
    directory) _ckptkit_names -d "$current" ;;
    file) _ckptkit_names -f "$current" ;;
    -) COMPREPLY=($(compgen -W "$flags" -- "$current")) ;;
    *)
      case $arguments in
        choices:*) COMPREPLY=($(compgen -W "${arguments#*:}" -- "$current")) ;;
        directory) _ckptkit_names -d "$current" ;;
        file) _ckptkit_names -f "$current" ;;
      esac
      ;;
  esac
}
_ckptkit_names() {
  local name
  while IFS= read -r name; do COMPREPLY+=("$name"); done < <(compgen "$1" -- "$2")
  compopt -o filenames 2>/dev/null
}
_ckptkit_command() {
  if ((COMP_CWORD == 1)); then
    COMPREPLY=($(compgen -W '@NAMES@ --help --version' -- "${COMP_WORDS[1]}"))
  elif [[ ${COMP_WORDS[1]} == help ]]; then
    COMPREPLY=($(compgen -W '@NAMES@' -- "${COMP_WORDS[COMP_CWORD]}"))
  else
    _ckptkit "${COMP_WORDS[1]}"
  fi
}
complete -F _ckptkit_command ckptkit
"""
BASH_SCRIPTS = """\
# The scripts of a checkout, and no other program that has the name of one.
_ckptkit_script() {
  local path
  path=$(type -P -- "$1") && path=$(readlink -f -- "$path")
  [[ $path == @SCRIPTS@/* ]] && _ckptkit "${1##*/}"
}
complete -o bashdefault -o default -F _ckptkit_script @NAMES@
"""


def bash(pages: Sequence[VerbPage], verbs: Mapping[str, str], scripts: str) -> str:
    """For bash, with or without the package bash-completion."""
    lines, values = [], []
    for page in pages:
        flags = " ".join(name for flag in page.flags for name in flag.names)
        lines.append(f"    {page.verb}) flags='{flags}' arguments='{_bash_value(page.arguments[:1])}' ;;")
        for flag in page.flags:
            if flag.value:
                patterns = "|".join(f"{page.verb}:{name}" for name in flag.names)
                values.append(f"    {patterns}) values='{_bash_value([flag]) or 'none'}' ;;")
    words = {"VERBS": "\n".join(lines), "VALUES": "\n".join(values), "NAMES": " ".join(verbs)}
    return _filled(BASH + (BASH_SCRIPTS if scripts else ""), **words, SCRIPTS=_quoted(scripts))


def _bash_value(flags: Sequence[Option]) -> str:
    """What completes the value of a flag, or the first argument."""
    takes = flags[0].takes if flags else ""
    return f"choices:{' '.join(flags[0].choices)}" if takes == "choices" else takes


# --- zsh -------------------------------------------------------------------------------------------------------------

ZSH = """\
#compdef ckptkit
# zsh completion for ckptkit; to use it now: eval "$(ckptkit completion zsh)"
_ckptkit() {
  local curcontext=$curcontext state line
  case $1 in
@VERBS@
  esac
}
_ckptkit_command() {
  local -a verbs=(
@NAMES@
  )
  if ((CURRENT == 2)); then
    _describe verb verbs
    compadd -- --help --version
  elif [[ $words[2] == help ]]; then
    _describe verb verbs
  else
    local verb=$words[2]
    shift words
    ((CURRENT--))
    _ckptkit $verb
  fi
}
"""
ZSH_SCRIPTS = """\
# The scripts of a checkout, and no other program that has the name of one.
_ckptkit_script() {
  local program=${(Q)words[1]}
  program=${~program}
  [[ $program == */* ]] || program=$commands[$program]
  if [[ ${program:A:h} == @SCRIPTS@ ]]; then _ckptkit ${program:t}; else _default; fi
}
"""
ZSH_END = """\
if [[ $funcstack[1] == _ckptkit ]]; then
  _ckptkit_command "$@"
else
  compdef _ckptkit_command ckptkit
fi
"""
ZSH_END_SCRIPTS = "compdef _ckptkit_command ckptkit\ncompdef _ckptkit_script @NAMES@\n"


def zsh(pages: Sequence[VerbPage], verbs: Mapping[str, str], scripts: str) -> str:
    """For zsh: a file _ckptkit in $fpath, or eval after compinit."""
    lines = []
    for page in pages:
        words = [_zsh_flag(flag) for flag in page.flags] + [_zsh_argument(flag) for flag in page.arguments]
        lines.append(f"    {page.verb}) _arguments -s \\\n      " + " \\\n      ".join(words) + " ;;")
    names = "\n".join("    " + _quoted(f"{name}:{_plain(what)}") for name, what in verbs.items())
    text = _filled(ZSH, VERBS="\n".join(lines), NAMES=names)
    if not scripts:
        return text + ZSH_END
    return text + _filled(ZSH_SCRIPTS + ZSH_END_SCRIPTS, NAMES=" ".join(verbs), SCRIPTS=_quoted(scripts))


def _zsh_flag(flag: Option) -> str:
    """`'(-n --dry-run)'{-n,--dry-run}'[help]'`, with what its value is; any flag may be repeated."""
    value = f":value:{_zsh_value(flag)}" if flag.value else ""
    text = _quoted(f"[{_plain(flag.help)}]{value}")
    names = [f"{name}=" if value and name.startswith("--") else name for name in flag.names]
    return f"'*'{names[0]}{text}" if len(names) == 1 else f"'*'{{{','.join(names)}}}{text}"


def _zsh_argument(flag: Option) -> str:
    many = "*" if "..." in flag.value else ""
    return _quoted(f"{many}:{_plain(flag.value)}:{_zsh_value(flag)}")


def _zsh_value(flag: Option) -> str:
    if flag.choices:
        return f"({' '.join(flag.choices)})"
    return {"directory": "_files -/", "file": "_files"}.get(flag.takes, " ")


def _plain(text: str) -> str:
    """Without what zsh's _arguments and _describe take for their own."""
    for mark in "\\:[]":
        text = text.replace(mark, "\\" + mark)
    return text


# --- fish ------------------------------------------------------------------------------------------------------------

FISH = """\
# fish completion for ckptkit; to use it now: ckptkit completion fish | source
complete -c ckptkit -f
complete -c ckptkit -n __fish_use_subcommand -l help -d 'show the verbs'
complete -c ckptkit -n __fish_use_subcommand -l version -d 'show the version'
@VERBS@
"""
FISH_SCRIPTS = """\
# The scripts of a checkout, and no other program that has the name of one.
function __ckptkit_script
    set -l words (commandline -opc)
    set -l program (command -s -- $words[1]; or echo $words[1])
    test (realpath -- $program) = @SCRIPTS@/$argv[1]
end
@VERBS@
"""


def fish(pages: Sequence[VerbPage], verbs: Mapping[str, str], scripts: str) -> str:
    """For fish 3."""
    lines = [f"complete -c ckptkit -n __fish_use_subcommand -a {name} -d {_fish(what)}" for name, what in verbs.items()]
    lines.append(f"complete -c ckptkit -n '__fish_seen_subcommand_from help' -a {_fish(' '.join(verbs))}")
    for page in pages:
        lines += _fish_verb(page, f"complete -c ckptkit -n '__fish_seen_subcommand_from {page.verb}'")
    text = _filled(FISH, VERBS="\n".join(lines))
    if not scripts:
        return text
    lines = []
    for page in pages:
        lines += _fish_verb(page, f"complete -c {page.verb} -n '__ckptkit_script {page.verb}'")
    return text + _filled(FISH_SCRIPTS, VERBS="\n".join(lines), SCRIPTS=_fish(scripts))


def _fish_verb(page: VerbPage, start: str) -> Iterable[str]:
    for flag in page.flags:
        names = " ".join(f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}" for name in flag.names)
        yield f"{start} {names}{_fish_value(flag)} -d {_fish(flag.help)}"
    if page.arguments:
        argument = page.arguments[0]
        yield start + (_fish_value(argument).replace(" -x", " -f", 1).replace(" -r", "", 1) or " -f")


def _fish_value(flag: Option) -> str:
    if not flag.value:
        return ""
    if flag.choices:
        return f" -x -a {_fish(' '.join(flag.choices))}"
    return {"directory": " -x -a '(__fish_complete_directories)'", "file": " -r -F"}.get(flag.takes, " -x")


def _fish(text: str) -> str:
    """In single quotes, as fish escapes in them."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


# --- all -------------------------------------------------------------------------------------------------------------


def _quoted(text: str) -> str:
    """In single quotes, as bash and zsh escape in them."""
    return "'" + text.replace("'", "'\\''") + "'"


def _filled(template: str, **words: str) -> str:
    for name, text in words.items():
        template = template.replace(f"@{name}@", text)
    return template
