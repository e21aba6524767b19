//! The laws, on random workflows in a random world.

use proptest::prelude::*;

use super::{drive::World, generate::flows, worker::Choices};

/// Enough that each bug of `PLANTED.md` is found, few enough to be run always. `PROPTEST_CASES` raises it.
fn config() -> ProptestConfig {
    let asked = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok());
    ProptestConfig { cases: asked.unwrap_or(2_500), ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    /// After every step the machine waits for just the work and the timers that the book waits for, what leaves sees
    /// what its branch should see, and a replay of the stored facts gives the run again. Reports that are repeated,
    /// late or no news change nothing; no key is sent twice; every run ends once, as the book says.
    #[test]
    fn a_run_obeys_its_workflow(
        flow in flows(),
        flights_max in 1usize..9,
        choices in prop::collection::vec(any::<u16>(), 0..300),
    ) {
        World::new(&flow, flights_max).play(Choices(choices));
    }
}
