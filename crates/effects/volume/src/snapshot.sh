# Copies what a volume holds into a snapshot or a new volume, while instances may go on writing to it.
#
# A file that goes away meanwhile is no failure. While it copies, and behind that, it looks at the disk: one that is full
# would take down everything else on it, so it gives up before that.
export LC_ALL=C
rm -f /tmp/ended

copy() {
    cp --archive --reflink=auto /from/. /to/ 2>/tmp/said
    status=$?
    if [ "$status" -ne 0 ] && ! grep -qv ': No such file or directory$' /tmp/said; then
        status=0
    fi
    [ "$status" -eq 0 ] || said >&2
    sync --file-system /to || status=1
    echo "$status" >/tmp/ending && mv /tmp/ending /tmp/ended
}

# A path may be 4 KiB long, and there may be as many as there are files.
said() {
    head -n 10 /tmp/said | sed -E 's/^(.{150}).{20,}(.{80})$/\1...\2/'
}

must_have_room() {
    # shellcheck disable=SC2046 # two numbers
    set -- $(stat --file-system --format='%a %S' /to)
    if [ $(($1 * $2)) -lt "$WARD_RESERVE" ]; then
        echo "the disk is nearly full: less than $((WARD_RESERVE >> 20)) MiB are free; it is given up before others suffer" >&2
        exit 4
    fi
}

find /to -mindepth 1 -delete || exit 1
copy &
until [ -e /tmp/ended ]; do
    must_have_room
    sleep 0.05
done
must_have_room
# Behind the last that was read: nothing of it was removed before it got this mode.
if [ "$(stat --format=%a /from)" = "$WARD_REMOVED" ]; then
    echo "what is copied was being removed meanwhile" >&2
    exit 5
fi
exit "$(cat /tmp/ended)"
