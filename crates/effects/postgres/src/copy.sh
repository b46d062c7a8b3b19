# Copies the rows of one database, or of a backup that somebody writes to it, into another database, in one
# transaction: all of them are there, or none.
#
# While it copies it looks at the disk that both are on: a disk that is full would take down the databases of
# every environment, so it gives up before that.
rm -f /tmp/ended /tmp/dumped
[ -z "${WARD_FED:-}" ] || mkfifo /tmp/fed

rows() {
    echo 'BEGIN;'
    # Without its end a dump that broke off in the middle is not committed.
    said && echo 'COMMIT;' && : >/tmp/dumped
}

said() {
    if [ -n "${WARD_FED:-}" ]; then
        pg_restore --file=- --no-owner --no-privileges --no-comments </tmp/fed
    else
        PGPASSWORD=$WARD_FROM_PASSWORD pg_dump --host=from --port="$PGPORT" --username="$WARD_FROM_ROLE" \
            --no-owner --no-privileges --no-comments "$PGDATABASE"
    fi
}

copy() {
    rows | PGPASSWORD=$WARD_TO_PASSWORD psql --host=to --username="$WARD_TO_ROLE" --no-psqlrc --quiet --output=/dev/null \
        --set=ON_ERROR_STOP=1 --dbname="$PGDATABASE"
    status=$?
    [ "$status" -ne 0 ] || [ -e /tmp/dumped ] || status=1
    echo "$status" >/tmp/ending && mv /tmp/ending /tmp/ended
}

looks=0
copy &
until [ -e /tmp/ended ]; do
    # shellcheck disable=SC2046 # two numbers
    set -- $(stat --file-system --format='%a %S' "$WARD_WATCHED")
    if [ $(($1 * $2)) -lt "$WARD_RESERVE" ]; then
        echo "the disk is nearly full: less than $((WARD_RESERVE >> 20)) MiB are free; it is given up before other databases suffer" >&2
        exit 4
    fi
    looks=$((looks + 1))
    if [ -n "${WARD_FED:-}" ] && [ ! -e /tmp/feeding ] && [ "$looks" -gt 600 ]; then
        echo "nobody wrote the backup to it within a minute" >&2
        exit 5
    fi
    sleep 0.1
done
exit "$(cat /tmp/ended)"
