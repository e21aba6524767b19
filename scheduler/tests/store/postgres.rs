//! What only a server shows: several schedulers at once, a full disk, and a server that goes away.

use std::time::{Duration, Instant};

use leveret_scheduler::store::{self, Commit, Error, Filter, Store};
use proto::id::{Digest, Epoch, Shard};

use crate::{
    place::{LONG, Place, commit, id, new_run, own_all, shard, work},
    server::{self, Server},
};

#[tokio::test]
async fn a_store_opens_again_as_it_was() {
    let place = Place::postgres().await;
    let store = place.open().await;
    assert_eq!(store.shards(), 16);
    let fences = own_all(&store, "a").await;
    store.commit(commit(&fences, vec![new_run(&store, "r")])).await.unwrap();
    drop(store);
    let store = place.open().await;
    assert_eq!(store.shards(), 16);
    assert_eq!(store.facts(&id("r")).await.unwrap(), ["accepted", "started"]);
    assert_eq!(store.acquire(Shard(3), "b", LONG).await.unwrap(), None);
}

#[tokio::test]
async fn several_schedulers_open_a_new_store_at_once() {
    let place = Place::postgres().await;
    let (a, b, c) = tokio::join!(place.open(), place.open(), place.open());
    assert_eq!([a.shards(), b.shards(), c.shards()], [16; 3]);
}

#[tokio::test]
async fn a_shard_that_another_scheduler_took_is_fenced() {
    let place = Place::postgres().await;
    let (old, new) = tokio::join!(place.open(), place.open());
    let home = shard(&old, "r");
    let epoch = old.acquire(home, "old", Duration::ZERO).await.unwrap().unwrap();
    old.commit(commit(&[(home, epoch)], vec![new_run(&old, "r")])).await.unwrap();
    let taken = new.acquire(home, "new", LONG).await.unwrap().unwrap();
    assert_eq!(taken, Epoch(2));
    let refused = old.commit(commit(&[(home, epoch)], vec![crate::place::more(&old, "r", 2, &["late"])])).await;
    assert!(matches!(refused, Err(Error::Fenced { shard }) if shard == home), "{refused:?}");
    new.commit(commit(&[(home, taken)], vec![crate::place::more(&new, "r", 2, &["by the new one"])])).await.unwrap();
    assert_eq!(old.facts(&id("r")).await.unwrap(), ["accepted", "started", "by the new one"]);
}

#[tokio::test]
async fn committers_on_different_shards_do_not_meet() {
    let place = Place::postgres().await;
    let (a, b) = tokio::join!(place.open(), place.open());
    let owned = async |store: &Store, owner: &str, half: u16| {
        let mut fences = Vec::new();
        for shard in (0..16).filter(|shard| shard % 2 == half).map(Shard) {
            fences.push((shard, store.acquire(shard, owner, LONG).await.unwrap().unwrap()));
        }
        fences
    };
    let (a_fences, b_fences) = (owned(&a, "a", 0).await, owned(&b, "b", 1).await);
    // Both put the same values, in opposite orders.
    let values: Vec<_> = (0..50_u8).map(|i| (Digest::of(&[i]), vec![i].into())).collect();
    let turns = async |store: &Store, fences: &[(Shard, Epoch)], turned: bool| {
        for turn in 0..20 {
            let mine = (0..400)
                .map(|i| format!("run-{turn}-{i}"))
                .filter(|name| fences.iter().any(|(shard, _)| *shard == self::shard(store, name)));
            let runs = mine.take(20).map(|name| new_run(store, &name)).collect();
            let mut values = values.clone();
            if turned {
                values.reverse();
            }
            store.commit(Commit { values, ..commit(fences, runs) }).await.unwrap();
        }
    };
    tokio::join!(turns(&a, &a_fences, false), turns(&b, &b_fences, true));
    let all = a.list(&Filter { limit: 1_000, ..Filter::default() }).await.unwrap();
    assert_eq!(all.len(), 800);
}

#[tokio::test]
async fn errors_say_what_to_do_next() {
    let place = Place::postgres().await;
    let store = place.open().await;
    let fences = own_all(&store, "a").await;
    // The server itself raises what a full disk, a lost race and a mistake of ours look like.
    server::sql(
        &place.url,
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
             $$ BEGIN RAISE EXCEPTION USING ERRCODE = convert_from(NEW.fact, 'UTF8'); END $$;
         CREATE TRIGGER refuse BEFORE INSERT ON facts FOR EACH ROW WHEN (NEW.seq = 2) EXECUTE FUNCTION refuse();",
    )
    .await;
    store.commit(commit(&fences, vec![new_run(&store, "r")])).await.unwrap();
    let refuse = async |code: &'static str| {
        let with_row = Commit {
            outbox_add: vec![work(&store, "r", "key")],
            ..commit(&fences, vec![crate::place::more(&store, "r", 2, &[code])])
        };
        store.commit(with_row).await.unwrap_err()
    };
    assert!(matches!(refuse("53100").await, Error::Full(_)));
    for passing in ["40001", "40P01", "53300", "57P01", "57014", "08006", "55P03", "25006"] {
        let error = refuse(passing).await;
        assert!(matches!(error, Error::Unavailable(_)), "{passing}: {error:?}");
    }
    for lasting in ["23505", "42P01", "XX000"] {
        let error = refuse(lasting).await;
        assert!(matches!(error, Error::Broken(_)), "{lasting}: {error:?}");
    }
    assert_eq!(store.outbox(shard(&store, "r")).await.unwrap(), []);
}

#[tokio::test]
async fn nobody_at_the_address_is_unavailable() {
    // A port that was ours a moment ago.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let refused = store::open(&format!("postgres://leveret@127.0.0.1:{port}/x")).await;
    assert!(matches!(refused, Err(Error::Unavailable(_))), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_crashes_is_unavailable_and_loses_nothing() {
    let server = Server::start();
    let store = store::open(&server.url).await.unwrap();
    let fences = own_all(&store, "a").await;
    store.commit(commit(&fences, vec![new_run(&store, "before")])).await.unwrap();
    server.crash();
    for _ in 0..3 {
        let refused = store.commit(commit(&fences, vec![new_run(&store, "during")])).await;
        assert!(matches!(refused, Err(Error::Unavailable(_))), "{refused:?}");
        let refused = store.facts(&id("before")).await;
        assert!(matches!(refused, Err(Error::Unavailable(_))), "{refused:?}");
    }
    server.restart();
    let deadline = Instant::now() + Duration::from_secs(30);
    // Connections that broke are found out one by one, so a few calls more may fail.
    while let Err(error) = store.commit(commit(&fences, vec![new_run(&store, "after")])).await {
        assert!(matches!(error, Error::Unavailable(_)) && Instant::now() < deadline, "{error:?}");
    }
    let mut names: Vec<_> = store.list(&Filter::default()).await.unwrap().into_iter().map(|run| run.id).collect();
    names.sort();
    assert_eq!(names, [id("after"), id("before")]);
}
