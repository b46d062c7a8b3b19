//! One return: its items, its history, and what can be done next.

use axum::extract::State as Shared;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use maud::{Markup, html};
use returns_domain::attachment::Attachment;
use returns_domain::entry::{self, FieldErrors, ItemInput, Reason};
use returns_domain::money::Cents;
use returns_domain::prices::{self, Price};
use returns_domain::returns::{self, Change, Detail, Item, Valuation};
use returns_domain::state::{State, Step};
use returns_domain::valuation;
use serde::Deserialize;

use super::PageFailure;
use super::layout::{self, Field, Place, chip, count, day, moment, plural, summary};
use crate::api::today;
use crate::failure::Failure;
use crate::form::{Fields, Named, ReturnId, Within};
use crate::serve::App;

/// What a page shows besides the return: a refusal, and input that is still to be mended.
#[derive(Default)]
struct Draft {
    refused: Option<String>,
    item: ItemInput,
    item_errors: FieldErrors,
    note: String,
    note_errors: FieldErrors,
    price: Option<(i64, String, String)>,
}

/// The fields beside a step.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct StepForm {
    note: String,
    back: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct PriceForm {
    price: String,
}

/// `GET /returns/{id}`
pub(super) async fn page(
    Shared(app): Shared<App>,
    ReturnId(id): ReturnId,
) -> Result<Response, PageFailure> {
    show(&app, id, StatusCode::OK, Draft::default()).await
}

/// `POST /returns/{id}/items`
pub(super) async fn add_item(
    Shared(app): Shared<App>,
    ReturnId(id): ReturnId,
    Fields(item): Fields<ItemInput>,
) -> Result<Response, PageFailure> {
    let checked = match item.check(today()) {
        Ok(checked) => checked,
        Err(item_errors) => {
            return show(
                &app,
                id,
                StatusCode::UNPROCESSABLE_ENTITY,
                Draft {
                    item,
                    item_errors,
                    ..Draft::default()
                },
            )
            .await;
        }
    };
    let added = returns::add_item(&mut app.pool.get().await?, id, &checked).await;
    let draft = Draft {
        item,
        ..Draft::default()
    };
    finish(
        &app,
        id,
        added.map(drop).map_err(Failure::from),
        draft,
        &format!("/returns/{id}#add"),
    )
    .await
}

/// `POST /returns/{id}/items/{item}/remove`
pub(super) async fn remove_item(
    Shared(app): Shared<App>,
    Within(id, item): Within,
) -> Result<Response, PageFailure> {
    let removed = returns::remove_item(&mut app.pool.get().await?, id, item).await;
    finish(
        &app,
        id,
        removed.map_err(Failure::from),
        Draft::default(),
        &format!("/returns/{id}#items"),
    )
    .await
}

/// `POST /returns/{id}/items/{item}/price`
pub(super) async fn price(
    Shared(app): Shared<App>,
    Within(id, item): Within,
    Fields(form): Fields<PriceForm>,
) -> Result<Response, PageFailure> {
    let price = match Cents::parse_price(&form.price) {
        Ok(price) => price,
        Err(message) => {
            let draft = Draft {
                price: Some((item, form.price, message)),
                ..Draft::default()
            };
            return show(&app, id, StatusCode::UNPROCESSABLE_ENTITY, draft).await;
        }
    };
    let set = valuation::price_by_hand(&mut app.pool.get().await?, id, item, price, today()).await;
    finish(
        &app,
        id,
        set.map_err(Failure::from),
        Draft::default(),
        &format!("/returns/{id}#items"),
    )
    .await
}

/// `POST /returns/{id}/submit`, `receive`, `verify`, `destroy`
pub(super) async fn step(
    Shared(app): Shared<App>,
    Named(id, name): Named,
    Fields(form): Fields<StepForm>,
) -> Result<Response, PageFailure> {
    let step = Step::of_people(&name).ok_or(Failure::Missing("page"))?;
    let note = match entry::step_note(step, &form.note) {
        Ok(note) => note,
        Err(note_errors) => {
            let draft = Draft {
                note: form.note,
                note_errors,
                ..Draft::default()
            };
            return show(&app, id, StatusCode::UNPROCESSABLE_ENTITY, draft).await;
        }
    };
    let taken = returns::take(&mut app.pool.get().await?, id, step, &note).await;
    let next = if form.back == "desk" {
        "/receiving".to_owned()
    } else {
        format!("/returns/{id}")
    };
    let draft = Draft {
        note: form.note,
        ..Draft::default()
    };
    finish(
        &app,
        id,
        taken.map(drop).map_err(Failure::from),
        draft,
        &next,
    )
    .await
}

/// Goes on where it worked; where the state refused, shows the return as it is now, with the reason.
async fn finish(
    app: &App,
    id: i64,
    result: Result<(), Failure>,
    draft: Draft,
    next: &str,
) -> Result<Response, PageFailure> {
    match result {
        Ok(()) => Ok(Redirect::to(next).into_response()),
        Err(failure @ Failure::Conflict(_)) => {
            let draft = Draft {
                refused: Some(failure.message()),
                ..draft
            };
            show(app, id, StatusCode::CONFLICT, draft).await
        }
        Err(failure) => Err(failure.into()),
    }
}

async fn show(
    app: &App,
    id: i64,
    status: StatusCode,
    draft: Draft,
) -> Result<Response, PageFailure> {
    let session = app.pool.get().await?;
    let detail = returns::load(&session, id)
        .await?
        .ok_or(Failure::Missing("return"))?;
    let known = if detail.summary.state == State::Draft {
        prices::list(&session, 500).await?
    } else {
        Vec::new()
    };
    drop(session);
    let title = format!("{} · {}", detail.summary.number, detail.summary.pharmacy);
    Ok(layout::with_status(
        status,
        layout::page(&title, Place::Returns, content(&detail, &draft, &known)),
    ))
}

fn content(detail: &Detail, draft: &Draft, known: &[Price]) -> Markup {
    let head = &detail.summary;
    // A draft is edited by one pharmacy; replacing it under somebody's hands would help nobody.
    let live = (head.state != State::Draft).then(|| head.id.to_string());
    html! {
        nav.crumbs aria-label="Breadcrumb" { a href="/" { "Returns" } span { (head.number) } }
        div data-live=[live] {
            div.heading {
                div {
                    h1 { (head.number) " " (chip(head.state)) }
                    p.lead { (head.pharmacy) @if !head.reference.is_empty() { span.muted { " · " (head.reference) } } }
                }
                a.button.screen href={ "/returns/" (head.id) "/items.csv" } download { "Export CSV" }
            }
            @if let Some(reason) = &draft.refused { div.alert.bad role="alert" { p { (reason) } } }
            (stepper(detail))
            div.split {
                div.body {
                    (items(detail, draft))
                    @if head.state == State::Draft { (add_form(detail, draft, known)) }
                    (attachments(detail))
                }
                aside {
                    (next_step(detail, draft))
                    (facts(detail))
                    (history(&detail.history))
                }
            }
        }
    }
}

fn stepper(detail: &Detail) -> Markup {
    let now = detail.summary.state;
    let last = if now == State::Destroyed {
        State::Destroyed
    } else {
        State::Credited
    };
    let path = [
        State::Draft,
        State::Submitted,
        State::Received,
        State::Verified,
        last,
    ];
    let reached = |state: State| detail.history.iter().rev().find(|c| c.to == state);
    html! {
        ol.stepper aria-label="Progress" {
            @for state in path {
                @let change = reached(state);
                @let class = if state == now { "now" } else if change.is_some() { "done" } else if now == State::Destroyed { "skipped" } else { "open" };
                li class={ (class) " " (state.name()) } aria-current=[(state == now).then_some("step")] {
                    span.dot aria-hidden="true" {}
                    span.name { (state.title()) }
                    span.when { @if let Some(change) = change { (moment(change.at)) } }
                }
            }
        }
    }
}

fn items(detail: &Detail, draft: &Draft) -> Markup {
    let head = &detail.summary;
    let editable = head.state == State::Draft;
    html! {
        section.card.flush #items {
            div.title { h2 { "Items" } span.muted { (plural(head.items, "item", "items")) " · " (plural(head.units, "unit", "units")) } }
            @if detail.lines.is_empty() {
                p.nothing { "No items yet. Add the first one below." }
            } @else {
                table.rows.items {
                    caption.hidden { "Items of " (head.number) }
                    thead { tr {
                        th scope="col" { "Product" } th scope="col" { "Lot" } th scope="col" { "Expiry" } th scope="col" { "Reason" }
                        th.num scope="col" { "Quantity" }
                        @if editable { th { span.hidden { "Remove" } } }
                        @else { th.num scope="col" { "Unit price" } th.num scope="col" { "Credit" } }
                    } }
                    tbody { @for item in &detail.lines { (line(head.id, head.state, item, draft)) } }
                    @if !editable { (totals(detail)) }
                }
            }
        }
    }
}

fn line(id: i64, state: State, item: &Item, draft: &Draft) -> Markup {
    html! {
        tr {
            th scope="row" {
                span.main { @match &item.product { Some(name) => (name), None => span.muted { "Not in the price list" } } }
                span.sub.code { (item.ndc) }
            }
            td.code data-label="Lot" { (item.lot) }
            td data-label="Expiry" { (day(item.expiry)) }
            td data-label="Reason" { span class={ "tag " (item.reason.name()) } { (item.reason.title()) } }
            td.num data-label="Quantity" { (count(i64::from(item.quantity))) }
            @if state != State::Draft { (worth(id, state, item, draft)) } @else {
                td.num.act {
                    form method="post" action={ "/returns/" (id) "/items/" (item.id) "/remove" } {
                        button.plain.danger { "Remove" span.hidden { " " (item.ndc) " lot " (item.lot) } }
                    }
                }
            }
        }
    }
}

/// Unit price and credit: two cells, or one that asks for the price.
fn worth(id: i64, state: State, item: &Item, draft: &Draft) -> Markup {
    let asks = item.valuation == Valuation::Unknown && !state.is_final();
    html! {
        @if asks {
            td.num.ask colspan="2" data-label="Price" { (price_form(id, item, draft)) }
        } @else {
            td.num data-label="Unit price" { @match item.unit_price_cents {
                Some(price) => { (price) @if item.priced_by_hand { span.sub { "by hand" } } },
                None => span.muted { "—" },
            } }
            td.num data-label="Credit" { @match (item.credit_cents, item.credit_percent) {
                (Some(credit), Some(percent)) => { (credit) span.sub { (percent) " %" } },
                _ if item.valuation == Valuation::Pending && !state.is_final() => span.muted { "being valued" },
                _ => span.muted { "—" },
            } }
        }
    }
}

fn price_form(id: i64, item: &Item, draft: &Draft) -> Markup {
    let field = format!("price-{}", item.id);
    let wrong = draft
        .price
        .as_ref()
        .filter(|(wrong, _, _)| *wrong == item.id);
    html! {
        form.inline method="post" action={ "/returns/" (id) "/items/" (item.id) "/price#items" } {
            label.hidden for=(field) { "Unit price of " (item.ndc) " in dollars" }
            input id=(field) name="price" inputmode="decimal" placeholder="Unit price, $" autocomplete="off"
                value=[wrong.map(|(_, value, _)| value)] aria-invalid=[wrong.map(|_| "true")];
            button.button { "Set" }
            @if let Some((_, _, message)) = wrong { p.error role="alert" { (message) } }
        }
    }
}

fn totals(detail: &Detail) -> Markup {
    let head = &detail.summary;
    let open = head.items_pending + head.items_without_price;
    html! {
        tfoot { tr {
            th scope="row" colspan="4" {
                @match head.state {
                    State::Credited => "Credited",
                    State::Destroyed => "Destroyed, no credit",
                    _ => "Expected credit",
                }
                @if open > 0 && !head.state.is_final() { span.sub { (plural(open, "item", "items")) " not valued yet" } }
            }
            td.num data-label="Quantity" { (count(head.units)) }
            td {}
            td.num data-label="Credit" { strong { @if head.state == State::Destroyed { (Cents(0)) } @else { (head.credit_cents) } } }
        } }
    }
}

fn add_form(detail: &Detail, draft: &Draft, known: &[Price]) -> Markup {
    let (input, errors) = (&draft.item, &draft.item_errors);
    let field = |name, label, hint, value| Field {
        name,
        label,
        hint,
        value,
        errors,
    };
    let names = [
        ("ndc", "NDC"),
        ("lot", "Lot"),
        ("expiry", "Expiry date"),
        ("quantity", "Quantity"),
        ("reason", "Reason"),
    ];
    let reasons: Vec<(&str, &str)> = Reason::ALL.iter().map(|r| (r.name(), r.title())).collect();
    html! {
        section #add {
            (summary(errors, &names))
            form.card.form method="post" action={ "/returns/" (detail.summary.id) "/items#add" } novalidate {
                h2.wide { "Add an item" }
                (field("ndc", "NDC", "As printed: 4-4-2, 5-3-2, 5-4-1, or 11 digits.", &input.ndc).text("half", Some("known"), None))
                (field("lot", "Lot", "As printed on the package.", &input.lot).text("quarter", None, None))
                (field("quantity", "Quantity", "1 to 10,000 units.", &input.quantity).text("quarter", None, Some("numeric")))
                (field("expiry", "Expiry date", "YYYY-MM-DD, or YYYY-MM if no day is printed.", &input.expiry).text("half", None, None))
                (field("reason", "Reason", "Why it comes back.", &input.reason).choice("half", &reasons))
                datalist #known { @for price in known { option value=(price.ndc) { (price.product) } } }
                div.actions { button.button.primary { "Add item" } }
            }
        }
    }
}

fn next_step(detail: &Detail, draft: &Draft) -> Markup {
    let head = &detail.summary;
    let button = |step: Step, label: &str, style: &str| {
        html! {
            button class={ "button " (style) } formaction={ "/returns/" (head.id) "/" (step.name()) } { (label) }
        }
    };
    let open = head.items_pending + head.items_without_price;
    html! {
        section class={ "card next " (head.state.name()) } {
            @match head.state {
                State::Draft if detail.lines.is_empty() => {
                    h2 { "Next: add items" }
                    p { "A return can be submitted once it has at least one item." }
                }
                State::Draft => {
                    h2 { "Ready to send?" }
                    p { "After you submit, items can no longer be changed. Print this page and put it into the box." }
                    (step_form(head.id, draft, "Note (optional)", html! { (button(Step::Submit, "Submit return", "primary")) }))
                }
                State::Submitted => {
                    h2 { "On its way" }
                    p { "The receiving desk confirms when the box is here." }
                    (step_form(head.id, draft, "Note (optional)", html! { (button(Step::Receive, "Mark as received", "primary")) }))
                }
                State::Received => {
                    h2 { "Check the contents" }
                    p { "Compare product, lot, expiry date and quantity with the box." }
                    (step_form(head.id, draft, "Note (required to destroy)", html! {
                        (button(Step::Verify, "Verify", "primary")) (button(Step::Destroy, "Destroy", "danger"))
                    }))
                }
                State::Verified if head.items_without_price > 0 => {
                    h2 { "Waiting for a price" }
                    p { (plural(head.items_without_price, "item is", "items are")) " not in the price list. Set the price in the table; the credit follows by itself." }
                    (step_form(head.id, draft, "Note (required to destroy)", html! { (button(Step::Destroy, "Destroy", "danger")) }))
                }
                State::Verified => {
                    h2 { "Credit on its way" }
                    p { @if open > 0 { "The items are being valued. " } "The credit is booked within seconds." }
                }
                State::Credited => {
                    h2 { "Credited " (head.credit_cents) }
                    p { "This return is complete. Nothing can be changed any more." }
                }
                State::Destroyed => {
                    h2 { "Destroyed" }
                    p { "This return is closed without credit. Nothing can be changed any more." }
                }
            }
        }
    }
}

fn step_form(id: i64, draft: &Draft, label: &str, buttons: Markup) -> Markup {
    let field = Field {
        name: "note",
        label,
        hint: "",
        value: &draft.note,
        errors: &draft.note_errors,
    };
    html! {
        form.stack.screen method="post" action={ "/returns/" (id) } novalidate {
            (field.area())
            div.actions { (buttons) }
        }
    }
}

fn facts(detail: &Detail) -> Markup {
    let head = &detail.summary;
    html! {
        section.card {
            h2 { "Details" }
            dl.facts {
                dt { "Pharmacy" } dd { (head.pharmacy) }
                @if !detail.contact.is_empty() { dt { "Contact" } dd { (detail.contact) } }
                @if !head.reference.is_empty() { dt { "Reference" } dd { (head.reference) } }
                dt { "Opened" } dd { (moment(head.created_at)) }
                dt { "Last change" } dd { (moment(head.updated_at)) }
                @if !detail.note.is_empty() { dt { "Note" } dd.note { (detail.note) } }
            }
            details.terms {
                summary { "How credit is worked out" }
                ul {
                    li { "Expired up to 12 months ago: 100 % of the list price; earlier: none." }
                    li { "Unused and in date: 85 %." }
                    li { "Damaged: 40 %." }
                }
            }
        }
    }
}

fn history(changes: &[Change]) -> Markup {
    html! {
        section.card {
            h2 { "History" }
            ol.history {
                @for change in changes.iter().rev() {
                    li class=(change.to.name()) {
                        span.dot aria-hidden="true" {}
                        p.main { (change.to.title()) span.muted { " by " (actor(&change.actor)) } }
                        p.sub { (moment(change.at)) }
                        @if !change.note.is_empty() { p.note { (change.note) } }
                    }
                }
            }
        }
    }
}

fn actor(name: &str) -> &str {
    match name {
        "pharmacy" => "the pharmacy",
        "receiving-desk" => "the receiving desk",
        "worker" => "the system",
        other => other,
    }
}

fn attachments(detail: &Detail) -> Markup {
    let id = detail.summary.id;
    html! {
        section.card #attachments {
            h2 { "Photos and papers" }
            @if !detail.attachments.is_empty() {
                ul.files { @for file in &detail.attachments { (file_line(id, file)) } }
            }
            form.inline.screen method="post" action={ "/returns/" (id) "/attachments" } enctype="multipart/form-data" {
                label for="file" { @if detail.attachments.is_empty() { "Add photos of damaged goods" } @else { "Add another" } }
                input #file name="file" type="file" multiple accept="image/*,application/pdf";
                button.button { "Upload" }
            }
            p.hint.screen { "A SHA-256 fingerprint is kept of every file, the file itself up to 32 KiB." }
        }
    }
}

fn file_line(id: i64, file: &Attachment) -> Markup {
    html! {
        li {
            span.main {
                @if file.kept { a href={ "/returns/" (id) "/attachments/" (file.id) } { (file.file_name) } } @else { (file.file_name) }
            }
            span.sub { (size(file.size)) " · " (file.content_type) " · " (moment(file.created_at)) }
            span.sub.code.hash title="SHA-256" { (file.sha256) }
        }
    }
}

fn size(bytes: i64) -> String {
    match bytes {
        0..=1_023 => plural(bytes, "byte", "bytes"),
        1_024..=1_048_575 => format!("{:.1} KiB", bytes as f64 / 1_024.0),
        _ => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
    }
}
