#!/bin/sh
# The gate of the stage `test`: an employer that is imported and compared gets a recommendation there.
set -eu

ask() { # METHOD PATH TYPE BODY
    curl --fail --silent --show-error --request "$1" --header "content-type: $3" --data-binary "$4" \
        "${WARD_ADDRESSES%% *}$2"
}
field() { # NAME, of the JSON that comes in
    sed -n "s/.*\"$1\":\"\{0,1\}\([^\",}]*\).*/\1/p"
}

curl --fail --silent --show-error "${WARD_ADDRESSES%% *}/healthz" > /dev/null
name="Smoke test $(date +%s%N)"
employer=$(ask POST /api/employers application/json "{\"name\": \"$name\"}" | field id)
for list in plans employees; do
    file=$(curl --fail --silent --show-error "${WARD_ADDRESSES%% *}/examples/$list.csv")
    ask PUT "/api/employers/$employer/$list" text/csv "$file" > /dev/null
done
comparison=$(ask POST "/api/employers/$employer/comparisons" application/json '{}' | field id)
for _ in $(seq 100); do
    answer=$(curl --fail --silent --show-error "${WARD_ADDRESSES%% *}/api/comparisons/$comparison")
    case "$answer" in
        *'"state":"done"'*) echo "comparison $comparison recommends $(echo "$answer" | field recommended)"; exit 0 ;;
        *'"state":"failed"'*) echo "$answer"; exit 1 ;;
    esac
    sleep 0.2
done
echo "no recommendation within 20 s: $answer"
exit 1
