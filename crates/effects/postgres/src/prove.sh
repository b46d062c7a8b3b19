# Restores the dump on standard input into a new database, and says how many tables with data there are and how many
# rows they have together. It ends with another status than 0 unless each has as many as the dump.
#
# While it restores it looks at the disk: one that is full would take down the databases of every environment, so it
# ends its own PostgreSQL before that.
set -eu
export LC_ALL=C
work=/tmp/proof

as_ward() {
    PGUSER=ward PGPASSWORD=$WARD_SUPERUSER_PASSWORD \
        psql --no-psqlrc --quiet --no-align --tuples-only --set=ON_ERROR_STOP=1 "$@"
}

# 1. The new PostgreSQL is up.
tries=0
until pg_isready --quiet; do
    tries=$((tries + 1))
    if [ "$tries" -gt 1200 ]; then
        echo "the new PostgreSQL did not come up within two minutes" >&2
        exit 3
    fi
    sleep 0.1
done

# 2. Nothing is left of an attempt that broke off.
as_ward --dbname=postgres --command="DROP DATABASE IF EXISTS \"$PGDATABASE\" WITH (FORCE)" \
    --command="CREATE DATABASE \"$PGDATABASE\" OWNER \"$PGUSER\"" 2>"/tmp/notices" || {
    cat /tmp/notices >&2
    exit 3
}
rm -rf "$work"
mkdir "$work"
mkfifo "$work/dump"

# 3. The dump goes into the database, and beside it to a count of the rows that it holds.
count() {
    { pg_restore --data-only --file=- <"$work/dump" && echo WHOLE; } | awk '
        BEGIN { name = "(\"([^\"]|\"\")+\"|[^\". (]+)" }
        !inside && /^COPY .* FROM stdin;$/ {
            rest = substr($0, 6)
            if (!match(rest, "^" name "\\." name)) exit 1
            table = substr(rest, 1, RLENGTH)
            rows = 0
            inside = 1
            next
        }
        inside && /^\\\.$/ { printf "%.0f\t%s\n", rows, table; inside = 0; next }
        inside { rows++; next }
        /^WHOLE$/ { whole = 1 }
        END { exit (inside || !whole) }' >"$work/rows"
}
restore() {
    status=0
    tee "$work/dump" | pg_restore --no-owner --no-privileges --no-comments --exit-on-error --single-transaction \
        --dbname="$PGDATABASE" || status=$?
    echo "$status" >"$work/ending" && mv "$work/ending" "$work/ended"
}
count &
counting=$!
exec 3<&0
restore <&3 &
exec 3<&-
until [ -e "$work/ended" ]; do
    # shellcheck disable=SC2046 # two numbers
    set -- $(stat --file-system --format='%a %S' "$WARD_FOLDER")
    if [ $(($1 * $2)) -lt "$WARD_RESERVE" ]; then
        echo "the disk is nearly full: less than $((WARD_RESERVE >> 20)) MiB are free; it is given up before other databases suffer" >&2
        pg_ctl --pgdata="$WARD_FOLDER/data" --mode=immediate --no-wait stop >/dev/null
        exit 4
    fi
    sleep 0.1
done
status=$(cat "$work/ended")
if [ "$status" -ne 0 ]; then
    kill "$counting" 2>/dev/null || true
    exit "$status"
fi
wait "$counting" || {
    echo "what the dump holds could not be counted to its end" >&2
    exit 4
}

# 4. Each table has the rows that it should have.
awk -F '\t' '{ print "SELECT CASE WHEN count(*) <> " $1 " THEN count(*) END FROM ONLY " $2 ";" }' "$work/rows" |
    as_ward --dbname="$PGDATABASE" >"$work/other"
paste "$work/rows" "$work/other" | awk -F '\t' '
    $3 != "" { print $2 " has " $1 " rows in the dump, and " $3 " restored" >"/dev/stderr"; bad = 1 }
    { rows += $1; tables++ }
    END { if (bad) exit 5; printf "%.0f %.0f\n", tables, rows }'
rm -rf "$work"
