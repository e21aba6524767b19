//! The cache under many hands: one load per key, its budget, and who goes first.

use std::{
    collections::HashMap,
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use leveret_worker::cache::{Cache, Counters, Loaded};
use proptest::prelude::*;
use tokio::{
    sync::{Notify, Semaphore},
    task::JoinSet,
    time::timeout,
};

type Numbers = Cache<u32, u32, String>;
const DEADLINE: Duration = Duration::from_secs(10);

fn weighing(value: u32, heap_bytes: usize) -> Loaded<u32> {
    Loaded { value, heap_bytes: heap_bytes - Numbers::ENTRY_BYTES }
}

async fn within<T>(work: impl Future<Output = T>) -> T {
    timeout(DEADLINE, work).await.expect("in time")
}

/// Asks without awaiting a load: the value only if it is here.
async fn load(cache: &Numbers, key: u32, heap_bytes: usize) -> u32 {
    cache.get_or_load(&key, async { Ok(weighing(key, heap_bytes)) }).await.expect("loads")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn however_many_ask_one_loads() {
    let cache = Arc::new(Numbers::new(100_000));
    let loads = Arc::new(AtomicUsize::new(0));
    let (begun, gate) = (Arc::new(Notify::new()), Arc::new(Semaphore::new(0)));
    let mut callers = JoinSet::new();
    for _ in 0..64 {
        let (cache, loads, begun, gate) = (cache.clone(), loads.clone(), begun.clone(), gate.clone());
        callers.spawn(async move {
            let load = async {
                loads.fetch_add(1, SeqCst);
                begun.notify_one();
                gate.acquire().await.expect("open").forget();
                Ok(weighing(7, 1_000))
            };
            cache.get_or_load(&1, load).await.expect("loads")
        });
    }
    within(begun.notified()).await;
    gate.add_permits(1);
    assert_eq!(within(callers.join_all()).await, vec![7; 64]);
    assert_eq!(loads.load(SeqCst), 1);
    let counters = cache.counters();
    assert_eq!((counters.hits, counters.misses, counters.entries, counters.heap_bytes), (63, 1, 1, 1_000));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_failure_reaches_all_who_waited_and_is_not_kept() {
    let cache = Arc::new(Numbers::new(100_000));
    let seated = Arc::new(Semaphore::new(0));
    let mut callers = JoinSet::new();
    for _ in 0..16 {
        let (cache, seated) = (cache.clone(), seated.clone());
        callers.spawn(async move {
            let failing = async {
                seated.acquire().await.expect("open").forget();
                Err("no route".to_owned())
            };
            cache.get_or_load(&1, failing).await
        });
    }
    // Each caller either waits for the one that holds the turn or comes after it and fails by its own load.
    seated.add_permits(16);
    for outcome in within(callers.join_all()).await {
        assert_eq!(*outcome.expect_err("fails"), "no route");
    }
    assert_eq!(load(&cache, 1, 1_000).await, 1);
    assert_eq!(cache.counters().entries, 1);
}

#[tokio::test]
async fn one_failing_load_answers_everybody() {
    let cache = Numbers::new(100_000);
    let loads = AtomicUsize::new(0);
    let ask = || {
        cache.get_or_load(&1, async {
            loads.fetch_add(1, SeqCst);
            tokio::task::yield_now().await;
            Err("down".to_owned())
        })
    };
    let (first, second, third) = within(async { tokio::join!(ask(), ask(), ask()) }).await;
    for outcome in [&first, &second, &third] {
        assert!(Arc::ptr_eq(outcome.as_ref().expect_err("down"), first.as_ref().expect_err("down")));
    }
    assert_eq!(loads.load(SeqCst), 1);
}

#[tokio::test]
async fn when_the_loader_is_dropped_the_next_takes_over() {
    let cache = Arc::new(Numbers::new(100_000));
    let begun = Arc::new(Notify::new());
    let mut callers = JoinSet::new();
    let stuck = callers.spawn({
        let (cache, begun) = (cache.clone(), begun.clone());
        async move {
            let never = async {
                begun.notify_one();
                std::future::pending().await
            };
            cache.get_or_load(&1, never).await
        }
    });
    within(begun.notified()).await;
    callers.spawn({
        let cache = cache.clone();
        async move { cache.get_or_load(&1, async { Ok(weighing(2, 1_000)) }).await }
    });
    tokio::task::yield_now().await;
    stuck.abort();
    let mut answers = Vec::new();
    while let Some(answer) = within(callers.join_next()).await {
        answers.extend(answer.ok().map(|value| value.expect("loads")));
    }
    assert_eq!(answers, [2]);
    assert_eq!(cache.counters().misses, 2);
}

#[tokio::test]
async fn a_flight_that_everybody_left_can_begin_anew() {
    let cache = Numbers::new(100_000);
    for _ in 0..3 {
        let gone = timeout(Duration::from_millis(1), cache.get_or_load(&1, std::future::pending()));
        assert!(gone.await.is_err());
        assert_eq!(cache.counters().loading, 0, "no flight is left behind");
    }
    assert_eq!(within(load(&cache, 1, 1_000)).await, 1);
    assert_eq!(cache.counters().loading, 0, "nor one that landed");
}

#[tokio::test]
async fn the_least_recently_used_goes_first() {
    let cache = Numbers::new(3_000);
    for key in [1, 2, 3] {
        load(&cache, key, 1_000).await;
    }
    assert_eq!(cache.get(&1), Some(1));
    load(&cache, 4, 1_000).await;
    assert_eq!([1, 2, 3, 4].map(|key| cache.get(&key)), [Some(1), None, Some(3), Some(4)]);
    load(&cache, 5, 2_000).await;
    assert_eq!([1, 3, 4, 5].map(|key| cache.get(&key)), [None, None, Some(4), Some(5)]);
    assert_eq!(cache.counters().evictions, 3);
}

#[tokio::test]
async fn one_insert_does_not_pay_for_all_hits() {
    let cache = Numbers::new(2_000_000);
    for key in 0..2_000 {
        cache.insert(&key, weighing(key, 1_000));
    }
    for key in 0..2_000 {
        assert_eq!(cache.get(&key), Some(key));
    }
    cache.insert(&2_000, weighing(2_000, 1_000));
    // It looked at a thousand entries that were used since they were filed, and took the next as it was.
    assert_eq!((cache.counters().evictions, cache.get(&1_000)), (1, None));
}

#[tokio::test]
async fn what_exceeds_the_budget_is_handed_out_and_not_kept() {
    let cache = Numbers::new(3_000);
    load(&cache, 1, 1_000).await;
    assert_eq!(load(&cache, 2, 3_001).await, 2);
    assert_eq!(cache.get(&2), None);
    assert_eq!(cache.get(&1), Some(1), "it put nobody out");
    assert_eq!(cache.insert(&1, weighing(9, 1_000)), 9);
    assert_eq!(cache.get(&1), Some(1), "a key means one value");
    let endless = Loaded { value: 3, heap_bytes: usize::MAX };
    assert_eq!(cache.get_or_load(&3, async { Ok(endless) }).await, Ok(3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_hands_keep_the_budget() {
    let cache = Arc::new(Cache::<u32, Arc<u32>, Infallible>::new(40_000));
    let mut hands = JoinSet::new();
    for hand in 0..8_u32 {
        let cache = cache.clone();
        hands.spawn(async move {
            let mut state = hand + 1;
            for _ in 0..5_000 {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let key = (state >> 16) % 200;
                let heap_bytes = 500 + key as usize * 10;
                let made = cache.get_or_load(&key, async { Ok(Loaded { value: Arc::new(key), heap_bytes }) }).await;
                assert_eq!(*made.expect("never fails"), key);
                assert!(cache.counters().heap_bytes <= 40_000);
            }
        });
    }
    within(hands.join_all()).await;
    let Counters { hits, misses, evictions, entries, .. } = cache.counters();
    assert_eq!(hits + misses, 40_000);
    assert_eq!(misses - evictions, entries as u64);
    assert!(hits > 0 && evictions > 0);
}

proptest! {
    /// Against a book that is kept the plain way: a list of keys in the order of their last use.
    #[test]
    fn it_keeps_what_a_plain_list_would_keep(asks in prop::collection::vec((0_u32..12, 1_usize..5), 1..200)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let cache = Numbers::new(10_000);
        let (mut by_use, mut weights) = (Vec::<u32>::new(), HashMap::<u32, usize>::new());
        for (key, weight) in asks {
            runtime.block_on(load(&cache, key, weight * 1_000));
            match by_use.iter().position(|&kept| kept == key) {
                Some(at) => { by_use.remove(at); }
                None => {
                    while by_use.iter().map(|kept| weights[kept]).sum::<usize>() + weight > 10 {
                        by_use.remove(0);
                    }
                    weights.insert(key, weight);
                }
            }
            by_use.push(key);
            let kept = by_use.iter().map(|kept| weights[kept]).sum::<usize>();
            prop_assert_eq!(cache.counters().heap_bytes, kept * 1_000);
            prop_assert_eq!(cache.counters().entries, by_use.len());
        }
        let left = (0..12).filter(|key| cache.get(key).is_some()).collect::<Vec<_>>();
        by_use.sort_unstable();
        prop_assert_eq!(left, by_use);
    }
}
