//! Scenes of how many items travel together.

use leveret_engine::machine::{Command, Input};
use proto::{
    limits::{CHILDREN_MAX, RANGE_BYTES_MAX, RANGE_ITEMS_MAX},
    outcome::{Called, ItemsReport, Listed, Report},
    work::{RunStatus, Status},
};

use super::{
    scenes_of_calls::calling,
    stage::{Stage, acted, done, key_of, listed, set},
};

const ECHO: &str = "tasks: { a: { action: core.echo, with_items: [1], retry: { count: 3 } } }";
/// A range takes about so long.
const TARGET_US: u64 = 50_000;
/// No item is taken to last longer.
const DAY_US: u64 = 24 * 60 * 60 * 1_000_000;

/// A fan-out of which one range is out at a time.
fn one_by_one(parts: &[(u32, u32)]) -> Stage {
    let mut stage = Stage::of(ECHO);
    stage.flights_max = 1;
    stage.report("run/a#1/items.1", listed(parts));
    stage
}

/// Which range is out, and its items.
fn range(stage: &Stage) -> (String, Vec<u32>) {
    let out = stage.out();
    let [key] = &out[..] else { panic!("{out:?}") };
    let brief = stage.run.brief(&stage.spec, &key_of(key)).expect("wanted");
    let (items, _) = brief.range.expect("a range");
    (key.clone(), items.iter().map(|item| item.0).collect())
}

/// Every item of the range that is out is done, and each took so long. How many there were.
fn each_took(stage: &mut Stage, item_us: u64) -> usize {
    let (key, items) = range(stage);
    let busy_us = item_us.saturating_mul(items.len() as u64);
    stage.report(&key, Report::Items(ItemsReport { busy_us, ..done(&items) }));
    items.len()
}

/// Every item of each range that is out is done, and each took so long.
fn all_took(stage: &mut Stage, item_us: u64) {
    for key in stage.out() {
        let brief = stage.run.brief(&stage.spec, &key_of(&key)).expect("wanted");
        let items: Vec<u32> = brief.range.expect("a range").0.iter().map(|item| item.0).collect();
        let busy_us = item_us * items.len() as u64;
        stage.report(&key, Report::Items(ItemsReport { busy_us, ..done(&items) }));
    }
}

/// Items that are with the broker or on workers.
fn running(stage: &Stage) -> u32 {
    stage.run.view(&stage.spec).tasks[&"a".parse().expect("valid")].items.expect("items").running
}

fn item_us(stage: &Stage) -> Option<u64> {
    stage.run.load().next().expect("it runs").1.item_us
}

#[test]
fn ranges_double_while_items_are_quick_up_to_the_most() {
    let mut stage = one_by_one(&[(5_000, 10)]);
    let sizes: Vec<usize> = (0..12).map(|_| each_took(&mut stage, 1)).collect();
    let most = RANGE_ITEMS_MAX as usize;
    assert_eq!(sizes, [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, most, most]);
}

#[test]
fn a_range_is_as_large_as_its_time_allows() {
    let mut stage = one_by_one(&[(5_000, 10)]);
    let fifth = TARGET_US / 5;
    let sizes: Vec<usize> = (0..4).map(|_| each_took(&mut stage, fifth)).collect();
    assert_eq!((sizes, item_us(&stage)), (vec![1, 2, 4, 5], Some(fifth)));
    // A slow range counts for a quarter.
    assert_eq!(each_took(&mut stage, fifth * 3), 5);
    assert_eq!(item_us(&stage), Some(fifth * 3 / 2));
    assert_eq!(each_took(&mut stage, DAY_US * 2), 3);
    assert_eq!(item_us(&stage), Some((fifth * 9 / 2 + DAY_US) / 4));
    assert_eq!(each_took(&mut stage, 1), 1);
}

/// A range is done in many slots at once: it is items that keep many slots busy, and ranges that others wait behind.
#[test]
fn many_ranges_are_out_only_while_they_hold_few_items() {
    let mut stage = Stage::of(ECHO);
    stage.flights_max = 512;
    stage.report("run/a#1/items.1", listed(&[(100_000, 1)]));
    all_took(&mut stage, 1_000_000);
    assert_eq!((stage.out().len(), running(&stage)), (512, 512));
    all_took(&mut stage, 0);
    assert_eq!(stage.out().len(), 64);
    assert!(running(&stage) > 512, "{} items", running(&stage));
}

/// Of a list that gives every place several items, the first ranges have one for each place between them.
#[test]
fn a_long_list_begins_with_few_ranges_and_an_item_for_each_place() {
    let begun = |flights_max, items, concurrency| {
        let mut stage = Stage::of(ECHO);
        stage.flights_max = flights_max;
        let Report::Listed(list) = listed(&[(items, 1)]) else { unreachable!("a list") };
        stage.report("run/a#1/items.1", Report::Listed(Listed { concurrency, ..list }));
        (stage.out().len(), running(&stage))
    };
    assert_eq!(begun(512, 100_000, None), (64, 512));
    assert_eq!(begun(512, 4_096, None), (64, 512));
    // No place goes empty because others have several.
    assert_eq!(begun(512, 1_535, None), (256, 512));
    assert_eq!(begun(512, 1_023, None), (512, 512));
    assert_eq!(begun(512, 100, None), (100, 100));
    assert_eq!(begun(64, 100_000, None), (64, 64));
    assert_eq!(begun(0, 100_000, None), (1, 1));
    assert_eq!(begun(512, 100_000, Some(130)), (65, 130));
    assert_eq!(begun(512, 100_000, Some(10)), (10, 10));
}

/// Where a worker had no slot for them, they are slow: they go one by one.
#[test]
fn after_what_the_first_ranges_hand_back_items_go_one_by_one() {
    let mut stage = Stage::of(ECHO);
    stage.flights_max = 512;
    stage.report("run/a#1/items.1", listed(&[(100_000, 1)]));
    let first = stage.out();
    assert_eq!((first.len(), running(&stage)), (64, 512));
    for (key, from) in first.iter().zip((0..).step_by(8)) {
        let rest: Vec<u32> = (from + 1..from + 8).collect();
        stage.report(key, Report::Items(ItemsReport { handed_back: set(&rest), ..ItemsReport::default() }));
    }
    assert_eq!((stage.out().len(), running(&stage)), (512, 512));
}

/// What a lost range holds has failed: no item is in one that has not begun.
#[test]
fn what_may_begin_once_only_goes_one_by_one() {
    let mut stage = Stage::of(&ECHO.replace("retry: { count: 3 }", "on_lost: fail"));
    stage.flights_max = 512;
    stage.report("run/a#1/items.1", listed(&[(100_000, 1)]));
    assert_eq!((stage.out().len(), running(&stage)), (512, 512));
}

/// What is known of the pace is of those who told: one that is handed back says nothing.
#[test]
fn only_what_was_begun_tells_how_long_items_take() {
    let mut stage = one_by_one(&[(9, 10)]);
    let (key, items) = range(&stage);
    let returned = ItemsReport { handed_back: set(&items), busy_us: 77, ..ItemsReport::default() };
    stage.report(&key, Report::Items(returned));
    assert_eq!((range(&stage).1, item_us(&stage)), (vec![0], None));
    let (key, items) = range(&stage);
    stage.report(&key, Report::Items(ItemsReport { failed: set(&items), busy_us: 90, ..ItemsReport::default() }));
    assert_eq!((range(&stage).1, item_us(&stage)), (vec![1, 2], Some(90)));
    let (key, _) = range(&stage);
    let mixed = ItemsReport { failed: set(&[1]), busy_us: 10, ..done(&[2]) };
    stage.report(&key, Report::Items(mixed));
    assert_eq!((range(&stage).1, item_us(&stage)), (vec![3, 4, 5, 6], Some((90 * 3 + 5) / 4)));
}

#[test]
fn a_range_fits_in_a_message_and_ends_with_its_part() {
    let long = u32::try_from(RANGE_BYTES_MAX / 3).expect("small");
    let mut stage = one_by_one(&[(20, long), (5, 0), (90, u32::MAX), (3, 1)]);
    let mut sizes = Vec::new();
    while stage.run.status() == RunStatus::Running {
        sizes.push(each_took(&mut stage, 0));
    }
    let of_three = [1, 2, 3, 3, 3, 3, 3, 2].to_vec();
    assert_eq!(sizes, [of_three, vec![5], vec![1; 90], vec![3]].concat());
}

/// One of them may kill workers: each goes alone until it is done, then the others go together again.
#[test]
fn items_of_a_range_that_was_lost_travel_alone() {
    let mut stage = one_by_one(&[(40, 10)]);
    for _ in 0..3 {
        each_took(&mut stage, 0);
    }
    let (key, items) = range(&stage);
    assert_eq!(items, [7, 8, 9, 10, 11, 12, 13, 14]);
    // Half of it was told before the worker was lost.
    stage.report(&key, Report::Items(done(&[7, 8, 9, 10])));
    stage.feed(Input::Undeliverable(key_of(&key)));
    assert_eq!(range(&stage).1, [11]);
    assert_eq!(running(&stage), 1);
    each_took(&mut stage, 0);
    let (key, items) = range(&stage);
    assert_eq!(items, [12]);
    // It is tried again, among others that are.
    stage.report(&key, Report::Items(ItemsReport { retry: vec![(0, set(&[12]))], ..ItemsReport::default() }));
    for item in [13, 14] {
        assert_eq!(range(&stage).1, [item]);
        each_took(&mut stage, 0);
    }
    let (_, rest) = range(&stage);
    assert!(rest.len() > 1 && rest[0] == 15, "{rest:?}");
}

/// Two ranges of two parts come back: they do not become one.
#[test]
fn a_range_that_comes_again_ends_with_its_part_too() {
    let mut stage = one_by_one(&[(9, 10), (8, 10)]);
    for _ in 0..2 {
        each_took(&mut stage, 0);
    }
    stage.flights_max = 2;
    each_took(&mut stage, 0);
    let out = stage.out();
    let items = |key: &str| {
        let brief = stage.run.brief(&stage.spec, &key_of(key)).expect("wanted");
        brief.range.expect("a range").0.clone()
    };
    let (front, behind) = (items(&out[0]), items(&out[1]));
    assert_eq!((front.len(), behind.len()), (2, 8));
    stage.flights_max = 1;
    for (key, handed_back) in [(&out[1], behind.clone()), (&out[0], front.clone())] {
        stage.report(key, Report::Items(ItemsReport { handed_back, ..ItemsReport::default() }));
    }
    assert_eq!(range(&stage).1, [7, 8]);
    each_took(&mut stage, 0);
    assert_eq!(range(&stage).1, [9, 10, 11, 12, 13, 14, 15, 16]);
}

/// One that travels alone ends the range of those in front of it.
#[test]
fn those_that_travel_alone_are_not_among_others() {
    let mut stage = one_by_one(&[(40, 10)]);
    each_took(&mut stage, 0);
    stage.flights_max = 2;
    each_took(&mut stage, 0);
    let out = stage.out();
    let [front, behind] = &out[..] else { panic!("{out:?}") };
    stage.flights_max = 1;
    stage.feed(Input::Undeliverable(key_of(behind)));
    let all = ItemsReport { handed_back: set(&[3, 4, 5, 6]), ..ItemsReport::default() };
    stage.report(front, Report::Items(all));
    assert_eq!(range(&stage).1, [3, 4, 5, 6]);
    each_took(&mut stage, 0);
    assert_eq!(range(&stage).1, [7]);
}

/// A bound on how many are in flight bounds a range, and all of them together.
#[test]
fn no_more_items_are_in_flight_than_may() {
    let mut stage = Stage::of(ECHO);
    let Report::Listed(list) = listed(&[(100, 10)]) else { unreachable!("it is a list") };
    stage.report("run/a#1/items.1", Report::Listed(Listed { concurrency: Some(5), ..list }));
    for _ in 0..12 {
        assert_eq!(running(&stage), 5);
        let key = stage.out().swap_remove(0);
        let items: Vec<u32> = {
            let brief = stage.run.brief(&stage.spec, &key_of(&key)).expect("wanted");
            brief.range.expect("a range").0.iter().map(|item| item.0).collect()
        };
        stage.report(&key, Report::Items(done(&items)));
    }
}

/// Children are runs of their own: no more than so many live at once, and so many at most are begun by one message.
#[test]
fn no_more_children_live_than_may() {
    let mut stage = calling("tasks: { a: { workflow: sub, with_items: [1] } }");
    stage.flights_max = 1;
    stage.report("run/a#1/items.1", listed(&[(2_000, 10)]));
    let (mut sizes, mut spawned) = (Vec::new(), 0);
    while let [key] = &stage.out()[..] {
        let (key, items) = (key.clone(), range(&stage).1);
        sizes.push(items.len());
        let called = items.iter().map(|item| (proto::id::ItemIndex(*item), Called::default())).collect();
        let commands = stage.report(&key, Report::Items(ItemsReport { called, ..ItemsReport::default() }));
        spawned += commands.iter().filter(|command| matches!(command, Command::Spawn(_))).count();
    }
    assert_eq!(spawned, CHILDREN_MAX as usize);
    assert_eq!(sizes[..8], [1, 2, 4, 8, 16, 32, 64, 64]);
    assert!(sizes.iter().all(|size| *size <= 64), "{sizes:?}");
}

/// What a run has in all bounds what its items may have.
#[test]
fn items_leave_room_for_the_tasks_of_their_run() {
    let mut stage = Stage::of(
        "concurrency: 4\ntasks: { a: { action: core.echo, with_items: [1] }, b: { action: core.echo, next: [{ do: c }] }, c: { action: core.echo } }",
    );
    stage.report("run/a#1/items.1", listed(&[(50, 10)]));
    assert_eq!(running(&stage), 3);
    stage.report("run/b#2/act.1", acted(Status::Succeeded, &[0], &[]));
    assert_eq!((running(&stage), stage.out().len()), (3, 4));
}

/// A worker that says of an item what cannot be, or what was said before, is not heard.
#[test]
fn what_is_no_news_or_cannot_be_is_no_fact() {
    let mut stage = one_by_one(&[(9, 10)]);
    each_took(&mut stage, 0);
    let (key, items) = range(&stage);
    assert_eq!(items, [1, 2]);
    let facts = stage.facts.len();
    assert_eq!(stage.report(&key, Report::Items(ItemsReport { failed: set(&[1]), ..done(&[1, 2]) })), []);
    assert_eq!(stage.facts.len(), facts);
    stage.report(&key, Report::Items(done(&[1])));
    let facts = stage.facts.len();
    assert_eq!(stage.report(&key, Report::Items(done(&[1]))), []);
    assert_eq!(stage.facts.len(), facts);
}
