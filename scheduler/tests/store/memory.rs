//! What only the memory store does: fail on demand.

use leveret_scheduler::store::{Error, Store, memory::Fault};

use crate::place::{Place, commit, id, new_run, own_all};

#[tokio::test]
async fn commits_fail_as_they_are_told() {
    let store = Place::memory().open().await;
    let fences = own_all(&store, "a").await;
    let Store::Memory(memory) = &store else { panic!("asked for memory") };
    memory.fail_next_commit(Fault::Before);
    memory.fail_next_commit(Fault::After);
    for (name, there) in [("before", 0), ("after", 1)] {
        let failed = store.commit(commit(&fences, vec![new_run(&store, name)])).await;
        assert!(matches!(failed, Err(Error::Unavailable(_))), "{failed:?}");
        assert_eq!(store.heads(&[id(name)]).await.unwrap().len(), there, "{name}");
    }
    store.commit(commit(&fences, vec![new_run(&store, "then")])).await.unwrap();
}
