//! The laws, on random workflows in a random world.

use proptest::{
    prelude::*,
    test_runner::{FileFailurePersistence, RngAlgorithm, TestRng, TestRunner},
};

use super::{drive::World, generate::flows, worker::Choices};

/// Cases unless `PROPTEST_CASES` asks for more: enough that each bug of `PLANTED.md` is found, few enough to be run always.
const CASES: u32 = 2_500;

fn config() -> ProptestConfig {
    let asked = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok());
    let usual = ProptestConfig::default();
    // There is none when `PROPTEST_DISABLE_FAILURE_PERSISTENCE` is set.
    let failure_persistence = usual
        .failure_persistence
        .as_ref()
        .map(|_| Box::new(FileFailurePersistence::SourceParallel("proptest-regressions")) as Box<_>);
    ProptestConfig { cases: asked.unwrap_or(CASES), failure_persistence, source_file: Some(file!()), ..usual }
}

/// The number that all the randomness of one run comes from: that of `LEVERET_LAWS_SEED`, to have the same run again,
/// else another one each time.
fn seed() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    let given =
        std::env::var("LEVERET_LAWS_SEED").ok().map(|seed| seed.parse().expect("LEVERET_LAWS_SEED is a number"));
    given.unwrap_or_else(|| RandomState::new().hash_one(0_u8))
}

/// After every step the machine waits for just the work and the timers that the book waits for, what leaves sees what
/// its branch should see, and a replay of the stored facts gives the run again. Reports that are repeated, late or no
/// news change nothing; no key is sent twice; every run ends once, as the book says.
#[test]
#[expect(clippy::print_stderr, reason = "a run is had again by its seed")]
fn a_run_obeys_its_workflow() {
    let (seed, config) = (seed(), config());
    eprintln!("{} random workflows, LEVERET_LAWS_SEED={seed}", config.cases);
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    let strategy = (flows(), 1usize..9, prop::collection::vec(any::<u16>(), 0..300));
    let result = runner.run(&strategy, |(flow, flights_max, choices)| {
        World::new(&flow, flights_max).play(Choices(choices));
        Ok(())
    });
    if let Err(failure) = result {
        panic!("{failure}\nLEVERET_LAWS_SEED={seed}");
    }
}
