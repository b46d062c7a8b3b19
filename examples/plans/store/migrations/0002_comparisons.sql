-- What was asked, as it was at that moment, and what came out: a later import changes neither.
create table comparison (
    id bigint generated always as identity primary key,
    employer_id bigint not null references employer on delete cascade,
    goal text not null,
    request text not null,
    state text not null default 'queued' check (state in ('queued', 'running', 'done', 'failed')),
    attempts integer not null default 0,
    -- A worker that has not said anything until then is taken to be gone.
    lease_until timestamptz,
    recommended text,
    result text,
    report text,
    problem text,
    asked_at timestamptz not null default now(),
    ended_at timestamptz
);

create index comparison_of_employer on comparison (employer_id, id desc);
create index comparison_to_do on comparison (id) where state in ('queued', 'running');
