//! What holds for every plan, every family and every year.

use plans_model::compare::{Goal, Request};
use plans_model::cost::{self, Assumptions, Usage};
use plans_model::money::Cents;
use plans_model::plan::{Coverage, Employee, Plan, Tiers};
use plans_model::{csv, import};
use proptest::collection::vec;
use proptest::prelude::*;

fn tiers(most: i64) -> impl Strategy<Value = Tiers> {
    (0..=most, 0..=most).prop_map(|(one, more)| Tiers {
        single: Cents(one),
        family: Cents(one + more),
    })
}

prop_compose! {
    fn plan()(
        premium in tiers(200_000),
        deductible in tiers(1_000_000),
        room in tiers(1_000_000),
        employer_percent in 0..=100_u8,
        coinsurance_percent in 0..=100_u8,
        account in 0..=200_000_i64,
    ) -> Plan {
        Plan {
            code: "P".into(), name: "Plan".into(), premium, employer_percent, deductible, coinsurance_percent,
            out_of_pocket: Tiers {
                single: deductible.single + room.single,
                family: deductible.family + room.family,
            },
            account: Cents(account),
        }
    }
}

fn usage() -> impl Strategy<Value = Usage> {
    prop::sample::select(Usage::ALL.to_vec())
}

prop_compose! {
    fn employee(most: u8)(dependents in 0..=most, usage in usage()) -> Employee {
        Employee { number: "1".into(), name: "Ada".into(), dependents, usage }
    }
}

prop_compose! {
    fn assumptions()(low in 0..=500_000_i64, more in 0..=2_000_000_i64, most in 0..=50_000_000_i64) -> Assumptions {
        Assumptions { low: Cents(low), medium: Cents(low + more), high: Cents(low + more + most) }
    }
}

prop_compose! {
    fn request()(
        plans in vec(plan(), 1..6),
        employees in vec(employee(4), 1..12),
        assumptions in assumptions(),
        goal in prop::sample::select(Goal::ALL.to_vec()),
    ) -> Request {
        let named = |at: usize, plan: Plan| Plan { code: format!("P{at}"), ..plan };
        let numbered = |at: usize, who: Employee| Employee { number: at.to_string(), ..who };
        Request {
            plans: plans.into_iter().enumerate().map(|(at, plan)| named(at, plan)).collect(),
            employees: employees.into_iter().enumerate().map(|(at, who)| numbered(at, who)).collect(),
            assumptions,
            goal,
        }
    }
}

/// The expected cost by writing down each year of each person: slow, and without a formula.
fn written_down(plan: &Plan, employee: &Employee, assumed: Assumptions) -> Cents {
    let chances = employee.usage.chances().map(u128::from);
    let mut years = vec![(1_u128, 0_i64)];
    for _ in 0..employee.covered() {
        let one_more = |(chance, charges): (u128, i64)| {
            let kinds = Usage::ALL.into_iter().zip(chances);
            kinds.map(move |(year, own)| (chance * own, charges + assumed.charges(year).0))
        };
        years = years.into_iter().flat_map(one_more).collect();
    }
    let paid = |charges| {
        cost::bill(plan, employee.coverage(), Cents(charges))
            .employee
            .0 as u128
    };
    let all = 100_u128.pow(employee.covered());
    let sum: u128 = years
        .into_iter()
        .map(|(chance, charges)| chance * paid(charges))
        .sum();
    Cents(((sum + all / 2) / all) as i64)
}

proptest! {
    #[test]
    fn members_never_pay_more_than_the_charges_or_the_maximum(plan in plan(), charges in 0..100_000_000_i64) {
        for coverage in [Coverage::Single, Coverage::Family] {
            let share = cost::share(&plan, coverage, Cents(charges));
            prop_assert!(share >= Cents(0));
            prop_assert!(share <= Cents(charges).min(plan.out_of_pocket.of(coverage)));
        }
    }

    #[test]
    fn more_care_never_costs_less(plan in plan(), charges in 0..10_000_000_i64, more in 0..10_000_000_i64) {
        let paid = |charges| cost::bill(&plan, Coverage::Family, Cents(charges));
        prop_assert!(paid(charges).employee <= paid(charges + more).employee);
        prop_assert_eq!(paid(charges).employer, paid(charges + more).employer);
    }

    #[test]
    fn every_cent_is_paid_by_somebody(plan in plan(), charges in 0..10_000_000_i64) {
        let share = cost::share(&plan, Coverage::Single, Cents(charges));
        let unused = plan.account - share.min(plan.account);
        let paid = cost::bill(&plan, Coverage::Single, Cents(charges)).together();
        prop_assert_eq!(paid, plan.premium.single.yearly() + share + unused);
    }

    #[test]
    fn the_formula_counts_what_writing_down_counts(
        plan in plan(), employee in employee(4), assumed in assumptions(),
    ) {
        let expected = cost::expected(&plan, &employee, assumed).employee;
        prop_assert_eq!(expected, written_down(&plan, &employee, assumed));
    }

    #[test]
    fn the_expected_year_lies_between_the_lightest_and_the_heaviest(
        plan in plan(), employee in employee(9), assumed in assumptions(),
    ) {
        let expected = cost::expected(&plan, &employee, assumed);
        let year = |year| cost::same_year(&plan, &employee, assumed, year);
        prop_assert!(year(Usage::Low).employee <= expected.employee);
        prop_assert!(expected.employee <= year(Usage::High).employee);
        prop_assert_eq!(expected.employer, year(Usage::Medium).employer);
    }

    #[test]
    fn no_plan_costs_less_than_the_recommended_one(request in request()) {
        let result = request.compare().expect("it is sound");
        let cost = request.goal.of(result.recommended().expected);
        prop_assert!(result.plans.iter().all(|plan| request.goal.of(plan.expected) >= cost));
        prop_assert!(result.pair.iter().all(|pair| request.goal.of(pair.expected) < cost));
        prop_assert!(result.reasons.iter().any(|reason| reason.speaks_for()));
        for (at, plan) in result.plans.iter().enumerate() {
            let column: Cents = result.employees.iter().map(|who| who.costs[at]).sum();
            prop_assert_eq!(column, plan.expected.employee);
        }
    }

    #[test]
    fn the_order_of_plans_decides_nothing(request in request()) {
        let result = request.compare().expect("it is sound");
        let mut turned = request.clone();
        turned.plans.reverse();
        let other = turned.compare().expect("it is sound");
        prop_assert_eq!(&result.recommended().code, &other.recommended().code);
        prop_assert_eq!(result.pair.map(|pair| pair.expected), other.pair.map(|pair| pair.expected));
    }

    #[test]
    fn amounts_are_read_as_they_are_written(cents in 0..=plans_model::money::HIGHEST.0) {
        prop_assert_eq!(Cents::parse(&Cents(cents).to_string()), Ok(Cents(cents)));
    }

    #[test]
    fn cells_come_back_as_they_were(rows in vec(vec("[a-z,;\"\n\r é]{1,8}x", 1..5), 1..5)) {
        let line = |row: &Vec<String>| {
            let cells = row.iter().map(|cell| format!("\"{}\"", cell.replace('"', "\"\"")));
            cells.collect::<Vec<_>>().join(",")
        };
        let text: Vec<String> = rows.iter().map(line).collect();
        let read = csv::read(&text.join("\r\n")).expect("it is quoted");
        prop_assert_eq!(read.into_iter().map(|row| row.cells).collect::<Vec<_>>(), rows);
    }

    #[test]
    fn no_file_is_imported_by_half(text in "(number,name,usage\n)?([0-9]{1,2},[a-z\"]{0,3},(low|high|rare)?,?\n){0,6}") {
        let rows = csv::read(&text).map_or(0, |rows| rows.len());
        match import::employees(text.as_bytes()) {
            Ok(employees) => prop_assert_eq!(employees.len() + 1, rows),
            Err(refused) => prop_assert!(!refused.is_empty()),
        }
    }

    #[test]
    fn whatever_comes_in_is_answered(text in any::<Vec<u8>>(), more in "[\\PC\n,\"]{0,60}") {
        let _ = import::plans(&text);
        let _ = import::plans(format!("{}\n{more}", import::PLAN_COLUMNS.join(",")).as_bytes());
    }
}
