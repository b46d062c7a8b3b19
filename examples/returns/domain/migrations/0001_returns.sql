-- Returns, their items, and the history that says who changed what when.

create table product_return (
    id          bigint generated always as identity primary key,
    pharmacy    text not null check (char_length(pharmacy) between 2 and 120),
    contact     text not null default '' check (char_length(contact) <= 120),
    reference   text not null default '' check (char_length(reference) <= 60),
    note        text not null default '' check (char_length(note) <= 1000),
    state       text not null default 'draft'
                check (state in ('draft', 'submitted', 'received', 'verified', 'credited', 'destroyed')),
    created_at  timestamptz not null default now(),
    updated_at  timestamptz not null default now()
);
create index product_return_state on product_return (state, id desc);

create table item (
    id               bigint generated always as identity primary key,
    return_id        bigint not null references product_return on delete cascade,
    ndc              text not null check (ndc ~ '^[0-9]{11}$'),
    lot              text not null check (char_length(lot) between 1 and 20),
    expiry           date not null,
    quantity         integer not null check (quantity between 1 and 10000),
    reason           text not null check (reason in ('expired', 'damaged', 'unused')),
    -- pending: the worker has not looked yet; priced: worth credit_cents; unknown: needs a price by hand
    valuation        text not null default 'pending' check (valuation in ('pending', 'priced', 'unknown')),
    product          text,
    unit_price_cents bigint check (unit_price_cents > 0),
    credit_percent   integer check (credit_percent between 0 and 100),
    credit_cents     bigint check (credit_cents >= 0),
    priced_by_hand   boolean not null default false,
    created_at       timestamptz not null default now(),
    check ((valuation = 'priced') = (credit_cents is not null))
);
create index item_return on item (return_id, id);
create index item_open on item (return_id) where valuation <> 'priced';

create table state_change (
    id          bigint generated always as identity primary key,
    return_id   bigint not null references product_return on delete cascade,
    from_state  text,
    to_state    text not null,
    actor       text not null check (actor in ('pharmacy', 'receiving-desk', 'worker')),
    note        text not null default '' check (char_length(note) <= 500),
    at          timestamptz not null default now()
);
create index state_change_return on state_change (return_id, id);

-- Whoever listens hears of a change when, and only when, it is committed.
create function announce_state_change() returns trigger language plpgsql as $$
begin
    perform pg_notify('state_change', json_build_object(
        'id', new.id, 'return_id', new.return_id, 'from', new.from_state, 'to', new.to_state,
        'actor', new.actor, 'at', to_char(new.at at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'))::text);
    return new;
end $$;
create trigger state_change_announced after insert on state_change
    for each row execute function announce_state_change();
