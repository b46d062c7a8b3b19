-- Photos and papers that came with a return. The fingerprint is always kept, the bytes only where few.

create table attachment (
    id           bigint generated always as identity primary key,
    return_id    bigint not null references product_return on delete cascade,
    file_name    text not null check (char_length(file_name) between 1 and 200),
    content_type text not null check (char_length(content_type) between 1 and 100),
    size         bigint not null check (size >= 0),
    sha256       text not null check (sha256 ~ '^[0-9a-f]{64}$'),
    bytes        bytea check (octet_length(bytes) <= 32768),
    created_at   timestamptz not null default now()
);
create index attachment_return on attachment (return_id, id);
