-- The price table. Names, codes and prices are illustrative: load your own list before you credit anybody.

create table price (
    ndc              text primary key check (ndc ~ '^[0-9]{11}$'),
    product          text not null,
    form             text not null,
    manufacturer     text not null,
    unit             text not null,
    unit_price_cents bigint not null check (unit_price_cents > 0)
);

insert into price (ndc, product, form, manufacturer, unit, unit_price_cents) values
    ('00093310901', 'Amoxicillin 500 mg',             'capsule',            'Teva',            'bottle of 100',   1185),
    ('00093226301', 'Amoxicillin 875 mg',             'tablet',             'Teva',            'bottle of 100',   2490),
    ('00093717156', 'Azithromycin 250 mg',            'tablet',             'Teva',            'bottle of 30',    2140),
    ('00143992701', 'Ciprofloxacin 500 mg',           'tablet',             'Hikma',           'bottle of 100',   1675),
    ('00143314205', 'Doxycycline hyclate 100 mg',     'capsule',            'Hikma',           'bottle of 500',   9820),
    ('00781185220', 'Amoxicillin-clavulanate 875 mg', 'tablet',             'Sandoz',          'bottle of 20',    1930),
    ('16714029602', 'Cephalexin 500 mg',              'capsule',            'Northstar',       'bottle of 100',   1560),
    ('00071015523', 'Lipitor 10 mg',                  'tablet',             'Viatris',         'bottle of 90',   41250),
    ('00071015723', 'Lipitor 40 mg',                  'tablet',             'Viatris',         'bottle of 90',   58890),
    ('60505257909', 'Atorvastatin 40 mg',             'tablet',             'Apotex',          'bottle of 90',    1345),
    ('68180048101', 'Lisinopril 10 mg',               'tablet',             'Lupin',           'bottle of 100',    480),
    ('68180048003', 'Lisinopril 20 mg',               'tablet',             'Lupin',           'bottle of 1000',  3890),
    ('65862000801', 'Metformin 500 mg',               'tablet',             'Aurobindo',       'bottle of 100',    395),
    ('65862001005', 'Metformin 1000 mg',              'tablet',             'Aurobindo',       'bottle of 500',   2860),
    ('00378180510', 'Levothyroxine 50 mcg',           'tablet',             'Mylan',           'bottle of 1000', 14250),
    ('00074455211', 'Synthroid 50 mcg',               'tablet',             'AbbVie',          'bottle of 90',   13790),
    ('00002871501', 'Humulin R 100 units/mL',         'vial 10 mL',         'Lilly',           'vial',            4460),
    ('00002751001', 'Humalog 100 units/mL',           'vial 10 mL',         'Lilly',           'vial',            6640),
    ('00088222033', 'Lantus 100 units/mL',            'vial 10 mL',         'Sanofi',          'vial',            6445),
    ('00169633910', 'NovoLog FlexPen 100 units/mL',   'pen 3 mL',           'Novo Nordisk',    'box of 5',       13970),
    ('00173068220', 'Ventolin HFA 90 mcg',            'inhaler',            'GSK',             'inhaler',         5480),
    ('00186037020', 'Symbicort 160/4.5 mcg',          'inhaler',            'AstraZeneca',     'inhaler',        31850),
    ('49502050002', 'EpiPen 0.3 mg',                  'auto-injector',      'Mylan Specialty', 'box of 2',       60860),
    ('00409662502', 'Sodium bicarbonate 8.4 %',       'vial 50 mL',         'Hospira',         'vial',            1620),
    ('00409488810', 'Sodium chloride 0.9 %',          'vial 10 mL',         'Hospira',         'vial',             240),
    ('00641614525', 'Ondansetron 2 mg/mL',            'vial 2 mL',          'Hikma',           'box of 25',       3125),
    ('63323026229', 'Heparin 5,000 units/mL',         'vial 1 mL',          'Fresenius Kabi',  'box of 25',       8475),
    ('00006496300', 'Gardasil 9',                     'prefilled syringe',  'Merck',           'box of 10',     268790),
    ('58160082011', 'Engerix-B 20 mcg/mL',            'vial 1 mL',          'GSK',             'box of 10',      63120),
    ('00555902058', 'Norethindrone 0.35 mg',          'tablet',             'Teva',            'blister of 28',   1490),
    ('00781550610', 'Losartan 50 mg',                 'tablet',             'Sandoz',          'bottle of 1000',  6210),
    ('13668000990', 'Amlodipine 5 mg',                'tablet',             'Torrent',         'bottle of 90',     410),
    ('31722070190', 'Gabapentin 300 mg',              'capsule',            'Camber',          'bottle of 90',     985),
    ('59762306301', 'Sertraline 50 mg',               'tablet',             'Greenstone',      'bottle of 30',     720),
    ('00904198261', 'Ibuprofen 200 mg',               'tablet',             'Major',           'bottle of 100',    345),
    ('00904673060', 'Acetaminophen 325 mg',           'tablet',             'Major',           'bottle of 100',    310)
on conflict (ndc) do nothing;
