# Sourced by the scripts beside it: where things are, their -h, and the modules.
# shellcheck shell=bash

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(dirname "$here")

# The comment at the head of a script is its help.
case ${1:-} in
-h | --help)
	awk 'NR > 1 { if (!/^#/) exit; sub(/^# ?/, ""); print }' "$0"
	exit 0
	;;
esac

# modules prints the folders of the workspace's modules, one a line.
modules() {
	GOWORK="$root/go.work" go -C "$root" list -m -f '{{.Dir}}'
}

# house prints the folders of all modules: those of the workspace and the tools.
house() {
	modules && printf '%s\n' "$here/tools"
}
