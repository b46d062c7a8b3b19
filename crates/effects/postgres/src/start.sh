# Makes the data folder if there is none, then becomes postgres. Arguments are postgres's settings.
set -eu
umask 077
folder=$WARD_FOLDER
data=$folder/data
fresh=$folder/data.new

# 1. Alone. PostgreSQL's own lock is a process id, which means nothing across process namespaces. This
#    one is a descriptor that postgres and all its children inherit, so it is free when the last is gone.
exec 9>"$folder/lock"
flock -w 30 9 || {
    echo "another PostgreSQL still uses this data; it did not end within 30 s" >&2
    exit 75
}

# 2. A data folder, made aside: what is called "data" is whole.
if [ ! -e "$data" ]; then
    rm -rf "$fresh"
    printf %s "$WARD_SUPERUSER_PASSWORD" >/tmp/password
    initdb --pgdata="$fresh" --username=ward --pwfile=/tmp/password --auth=scram-sha-256 \
        --encoding=UTF8 --locale=C.UTF-8 --no-sync --no-instructions >/tmp/initdb 2>&1 || {
        cat /tmp/initdb >&2
        exit 1
    }
    rm -f /tmp/password
    # A statement that fails would be logged, and it holds the password: log no statements here.
    postgres --single -F -D "$fresh" -c log_min_error_statement=panic -c log_checkpoints=off \
        postgres >/tmp/setup 2>&1 <<SQL || true
CREATE ROLE "$WARD_ROLE" LOGIN PASSWORD '$PGPASSWORD'
CREATE DATABASE "$PGDATABASE" OWNER "$WARD_ROLE"
REVOKE CONNECT ON DATABASE "$PGDATABASE" FROM PUBLIC
SQL
    if grep -E 'ERROR|FATAL|PANIC' /tmp/setup >&2; then
        exit 1
    fi
    rm -f /tmp/initdb /tmp/setup
    sync -f "$fresh"
    mv "$fresh" "$data"
    sync "$folder"
fi

# 3. With the lock held, a process id that a killed predecessor left behind is nobody's.
rm -f "$data/postmaster.pid"
unset WARD_FOLDER WARD_ROLE WARD_SUPERUSER_PASSWORD PGHOST PGPORT PGUSER PGPASSWORD PGDATABASE
exec postgres -D "$data" "$@"
