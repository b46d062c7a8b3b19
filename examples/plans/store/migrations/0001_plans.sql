create table employer (
    id bigint generated always as identity primary key,
    name text not null unique check (length(name) between 1 and 80),
    created_at timestamptz not null default now()
);

-- Lists are replaced as a whole by each import; `position` keeps the order of the file.
create table plan (
    employer_id bigint not null references employer on delete cascade,
    position integer not null,
    code text not null,
    name text not null,
    premium_single bigint not null check (premium_single >= 0),
    premium_family bigint not null check (premium_family >= premium_single),
    employer_percent smallint not null check (employer_percent between 0 and 100),
    deductible_single bigint not null check (deductible_single >= 0),
    deductible_family bigint not null check (deductible_family >= deductible_single),
    coinsurance_percent smallint not null check (coinsurance_percent between 0 and 100),
    out_of_pocket_single bigint not null check (out_of_pocket_single >= deductible_single),
    out_of_pocket_family bigint not null check (out_of_pocket_family >= deductible_family),
    account bigint not null check (account >= 0),
    primary key (employer_id, position),
    unique (employer_id, code)
);

create table employee (
    employer_id bigint not null references employer on delete cascade,
    position integer not null,
    number text not null,
    name text not null,
    dependents smallint not null check (dependents between 0 and 9),
    usage text not null check (usage in ('low', 'medium', 'high')),
    primary key (employer_id, position),
    unique (employer_id, number)
);
