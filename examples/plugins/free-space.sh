#!/bin/sh
# A plugin of Leveret in POSIX shell: how full the file system is that holds the path given as an argument.
#
# A shell cannot read JSON, so what this needs comes as an argument, and the request is not looked at. What it answers is
# numbers only, as a shell cannot quote for JSON either.
set -eu

cat >/dev/null

fail() {
    printf '{"status": "failed", "error": {"code": "%s", "message": "%s"}}\n' "$1" "$2"
    exit 0
}

[ $# -eq 1 ] || fail argument_missing "give one path as an argument"
[ -e "$1" ] || fail path_missing "the path does not exist"
echo "asking df" >&2
line=$(df -Pk -- "$1" | tail -n 1)
# The second column from the right is the share in use, the third what is free, in units of 1,024 bytes.
free=$(printf '%s\n' "$line" | awk '{ print $(NF - 2) }')
used=$(printf '%s\n' "$line" | awk '{ sub("%", "", $(NF - 1)); print $(NF - 1) }')
case $free$used in
*[!0-9]* | '') fail df_unreadable "df said something unexpected" ;;
esac
printf '{"status": "succeeded", "result": {"free_kib": %s, "used_percent": %s}}\n' "$free" "$used"
