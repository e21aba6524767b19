//! What only files show.

use std::fs;

use bytes::Bytes;
use leveret_scheduler::store::{self, Commit, Error};
use proto::id::{Digest, Epoch, Shard};

use crate::place::{LONG, Place, commit, id, new_run, own_all, timer, work};

#[tokio::test]
async fn a_store_opens_again_as_it_was() {
    let place = Place::sqlite();
    let store = place.open().await;
    assert_eq!(store.shards(), 1);
    let fences = own_all(&store, "a").await;
    store.commit(commit(&fences, vec![new_run(&store, "r")])).await.unwrap();
    drop(store);
    let store = place.open().await;
    assert_eq!(store.facts(&id("r")).await.unwrap(), ["accepted", "started"]);
    // The lease of the process before is not over, and it was another.
    assert_eq!(store.acquire(Shard(0), "b", LONG).await.unwrap(), None);
    assert_eq!(store.acquire(Shard(0), "a", LONG).await.unwrap(), Some(Epoch(2)));
}

#[tokio::test]
async fn a_second_opener_is_refused() {
    let place = Place::sqlite();
    let store = place.open().await;
    let refused = store::open(&place.url).await;
    let Err(Error::InUse { path, lock }) = &refused else { panic!("{refused:?}") };
    let text = refused.as_ref().unwrap_err().to_string();
    assert!(text.contains(path.to_str().unwrap()) && text.contains(lock.to_str().unwrap()), "{text}");
    drop(store);
    place.open().await;
}

/// The files as they are at the moment of a crash: what was acknowledged must be in them.
#[tokio::test]
async fn a_crash_keeps_what_was_committed() {
    let place = Place::sqlite();
    let store = place.open().await;
    let fences = own_all(&store, "a").await;
    let value = Bytes::from(vec![b'7'; 100_000]);
    let digest = Digest::of(&value);
    for i in 0..20 {
        let name = format!("run-{i}");
        let whole = Commit {
            values: vec![(digest, value.clone())],
            outbox_add: vec![work(&store, &name, &name)],
            timers_set: vec![timer(&store, &name, &name, i)],
            ..commit(&fences, vec![new_run(&store, &name)])
        };
        store.commit(whole).await.unwrap();
    }

    let crashed = Place::sqlite();
    let (from, to) = (place.folder.as_ref().unwrap().path(), crashed.folder.as_ref().unwrap().path());
    for file in fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        // The index of the log is made anew; a copy of one that is in use would be no crash but damage.
        if !file.file_name().to_str().unwrap().ends_with("-shm") {
            fs::copy(file.path(), to.join(file.file_name())).unwrap();
        }
    }
    let after = crashed.open().await;
    assert_eq!(after.live_runs(Shard(0)).await.unwrap().len(), 20);
    assert_eq!(after.outbox(Shard(0)).await.unwrap().len(), 20);
    assert_eq!(after.timers(Shard(0)).await.unwrap().len(), 20);
    assert_eq!(after.facts(&id("run-19")).await.unwrap(), ["accepted", "started"]);
    assert!(after.value(digest).await.unwrap() == Some(value));
}

#[tokio::test]
async fn an_address_must_name_a_store() {
    for url in
        ["", "leveret.db", "mysql://localhost/x", "sqlite:", "sqlite::memory:", "memory:x", "postgres://h:port/x"]
    {
        let refused = store::open(url).await;
        assert!(matches!(refused, Err(Error::Address(_))), "{url}: {refused:?}");
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "this is no database, and long enough to be seen as none").unwrap();
    let refused = store::open(&format!("sqlite:{}", file.display())).await;
    assert!(matches!(refused, Err(Error::Broken(_))), "{refused:?}");
    let below = store::open(&format!("sqlite:{}/below/x", file.display())).await;
    assert!(matches!(below, Err(Error::Broken(_))), "{below:?}");
}
