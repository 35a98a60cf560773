# Sourced by the scripts in this folder: --help, and refusal of words that a script does not know.

# Print the comment at the head of the calling script.
print_help() {
  sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"
}

# accept "OPTION..." WORD...: for --help or -h anywhere, print the help and exit; exit with 2 for a word that is no OPTION.
accept() {
  local options=" $1 " word
  shift
  for word in "$@"; do
    [ "$word" != --help ] && [ "$word" != -h ] || { print_help; exit 0; }
  done
  for word in "$@"; do
    [[ $options == *" $word "* ]] || { echo "${0##*/}: '$word' is no option of ${0##*/}; see --help" >&2; exit 2; }
  done
}
