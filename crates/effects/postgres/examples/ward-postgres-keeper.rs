//! `ward-postgres-keeper keeper`: the keeper as a program of its own, for the tests.

fn main() -> std::process::ExitCode {
    ward_engine::keeper::main()
}
