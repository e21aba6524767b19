//! What only a real broker and a real network do.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use futures_util::{FutureExt, StreamExt, future::join_all, stream};
use leveret_queue::{Consumer, Declared, Error, PublishError, Queue, Source, State, amqp::Settings};
use tokio::{io::AsyncReadExt, net::TcpListener, sync::Notify};

use super::{
    broker,
    carrier::{Carrier, delete_queue, job, next, publish_jobs, raw_channel, take, text, within},
    proxy::{Fault, Proxy, blocked, forced_close, unblocked},
};

async fn behind_proxy(carrier: &Carrier) -> (Proxy, Settings) {
    let proxy = Proxy::before(broker::url()).await;
    let settings = Settings { url: proxy.url.clone(), ..carrier.settings() };
    (proxy, settings)
}

async fn connect(carrier: &Carrier, settings: Settings) -> Queue {
    let queue = within(Queue::connect(settings)).await.unwrap();
    carrier.will_declare(Declared::Core);
    within(queue.declare(Declared::Core)).await.unwrap();
    queue
}

async fn until(queue: &Queue, wanted: impl FnMut(&State) -> bool) {
    within(queue.state().wait_for(wanted)).await.unwrap();
}

/// Publishes every id until it is confirmed, as an outbox does.
async fn publish_all(queue: &Queue, ids: &[String]) {
    let publishing = stream::iter(ids).map(async |id| {
        loop {
            match queue.publish(job(queue.topology(), id)).await {
                Ok(()) => return,
                Err(PublishError::Disconnected | PublishError::TimedOut) => tokio::task::yield_now().await,
                Err(other) => panic!("{id}: {other}"),
            }
        }
    });
    publishing.buffer_unordered(64).for_each(async |()| ()).await;
}

/// Receives and acks until every id was seen, striking at each hundredth new one.
async fn consume_all(consumer: &mut Consumer, count: usize, mut strike: impl FnMut()) {
    let mut seen = BTreeSet::new();
    while seen.len() < count {
        let delivery = next(consumer).await;
        let new = seen.insert(text(&delivery));
        delivery.ack();
        if new && seen.len() % 100 == 0 {
            strike();
        }
    }
}

async fn nothing_is_lost(fault: Fault) {
    let carrier = Carrier::rabbit();
    let (proxy, settings) = behind_proxy(&carrier).await;
    let queue = connect(&carrier, settings).await;
    let mut consumer = within(queue.consume(Source::Jobs, 50)).await.unwrap();
    let ids: Vec<_> = (0..450).map(|number| number.to_string()).collect();
    let both = async {
        tokio::join!(publish_all(&queue, &ids), consume_all(&mut consumer, ids.len(), || proxy.fault_all(&fault)))
    };
    within(both).await;
    assert!(proxy.connections() >= 6, "both connections were made anew, more than once");
    until(&queue, |state| state.publish && state.consume).await;
    within(queue.close()).await;
    carrier.clean().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_connection_loses_nothing() {
    nothing_is_lost(Fault::Cut).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forced_close_loses_nothing() {
    nothing_is_lost(Fault::Inject(forced_close())).await;
}

#[tokio::test]
async fn a_deleted_queue_is_declared_again_and_consumed() {
    let carrier = Carrier::rabbit();
    let queue = carrier.ready(&[]).await;
    let mut consumer = within(queue.consume(Source::Jobs, 5)).await.unwrap();
    publish_jobs(&queue, ["a"]).await;
    assert_eq!(take(&mut consumer, 1).await, ["a"]);
    delete_queue(&raw_channel().await, &queue.topology().jobs_queue()).await;
    let resumed = async {
        while queue.publish(job(queue.topology(), "b")).await.is_err() {
            tokio::task::yield_now().await;
        }
        next(&mut consumer).await
    };
    let delivery = within(resumed).await;
    assert_eq!(text(&delivery), "b");
    delivery.ack();
    within(queue.close()).await;
    carrier.clean().await;
}

#[tokio::test]
async fn deliveries_of_a_lost_connection_come_again_and_settling_them_is_harmless() {
    let carrier = Carrier::rabbit();
    let (proxy, settings) = behind_proxy(&carrier).await;
    let queue = connect(&carrier, settings).await;
    let mut consumer = within(queue.consume(Source::Jobs, 5)).await.unwrap();
    publish_jobs(&queue, ["a", "b"]).await;
    let old = next(&mut consumer).await;
    proxy.fault(1, Fault::Cut);
    until(&queue, |state| !state.consume).await;
    until(&queue, |state| state.consume).await;
    let again = [next(&mut consumer).await, next(&mut consumer).await];
    assert!(!old.is_live() && again.iter().all(|delivery| delivery.redelivered));
    old.ack();
    let bodies: BTreeSet<_> = again.iter().map(text).collect();
    assert_eq!(bodies, ["a", "b"].map(str::to_owned).into());
    again.into_iter().for_each(leveret_queue::Delivery::ack);
    publish_jobs(&queue, ["c"]).await;
    assert_eq!(take(&mut consumer, 1).await, ["c"]);
    within(queue.close()).await;
    carrier.clean().await;
}

#[tokio::test]
async fn a_blocked_publisher_waits_while_consuming_goes_on() {
    let carrier = Carrier::rabbit();
    let (proxy, settings) = behind_proxy(&carrier).await;
    let queue = connect(&carrier, settings).await;
    let other = carrier.connect().await;
    let mut consumer = within(queue.consume(Source::Jobs, 1)).await.unwrap();
    proxy.fault(0, Fault::Inject(blocked()));
    until(&queue, |state| state.blocked).await;
    let mut waiting = Box::pin(queue.publish(job(queue.topology(), "late")));
    assert!(waiting.as_mut().now_or_never().is_none());
    publish_jobs(&other, ["a", "b", "c"]).await;
    // With a prefetch of 1 each delivery after the first proves that an ack went through.
    assert_eq!(take(&mut consumer, 3).await, ["a", "b", "c"]);
    assert!(waiting.as_mut().now_or_never().is_none());
    proxy.fault(0, Fault::Inject(unblocked()));
    assert_eq!(within(waiting).await, Ok(()));
    assert!(!queue.state().borrow().blocked);
    assert_eq!(take(&mut consumer, 1).await, ["late"]);
    within(queue.close()).await;
    within(other.close()).await;
    carrier.clean().await;
}

#[tokio::test]
async fn a_confirm_that_does_not_come_ends_the_connection() {
    let carrier = Carrier::rabbit();
    let (proxy, settings) = behind_proxy(&carrier).await;
    let queue = connect(
        &carrier,
        Settings {
            confirm_timeout: Duration::from_millis(300),
            // So that it is not the heartbeat that notices.
            heartbeat: Duration::from_secs(60),
            ..settings
        },
    )
    .await;
    publish_jobs(&queue, ["before"]).await;
    proxy.fault(0, Fault::Mute);
    let verdict = within(queue.publish(job(queue.topology(), "unheard"))).await;
    assert_eq!(verdict, Err(PublishError::TimedOut));
    until(&queue, |state| !state.publish).await;
    until(&queue, |state| state.publish).await;
    let retried = async { while queue.publish(job(queue.topology(), "after")).await.is_err() {} };
    within(retried).await;
    within(queue.close()).await;
    carrier.clean().await;
}

#[tokio::test]
async fn a_publish_without_connection_waits_for_the_next() {
    let carrier = Carrier::rabbit();
    let (proxy, settings) = behind_proxy(&carrier).await;
    let queue = connect(&carrier, settings).await;
    proxy.fault(0, Fault::Cut);
    until(&queue, |state| !state.publish).await;
    publish_jobs(&queue, ["a"]).await;
    within(queue.close()).await;
    carrier.clean().await;
}

#[tokio::test]
async fn publishes_that_nobody_awaits_give_the_window_back() {
    let carrier = Carrier::rabbit();
    let confirmed = Arc::new(Notify::new());
    let told = confirmed.clone();
    let settings =
        Settings { window_messages: 4, on_confirm: Some(Arc::new(move |_| told.notify_one())), ..carrier.settings() };
    let queue = connect(&carrier, settings).await;
    for _ in 0..50 {
        let some = (0..6).map(|number| queue.publish(job(queue.topology(), &number.to_string())));
        assert!(join_all(some).now_or_never().is_none());
    }
    publish_jobs(&queue, ["1", "2", "3", "4", "5"]).await;
    within(confirmed.notified()).await;
    within(queue.close()).await;
    carrier.clean().await;
}

#[tokio::test]
async fn a_mute_peer_fails_in_time_and_is_let_go() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("amqp://user:secret@{}/", listener.local_addr().unwrap());
    let settings = Settings { url, connect_timeout: Duration::from_millis(200), ..Carrier::rabbit().settings() };
    let (peer, refused) = tokio::join!(listener.accept(), within(Queue::connect(settings)));
    let text = refused.unwrap_err().to_string();
    assert!(text.contains("no answer") && text.contains("127.0.0.1") && !text.contains("secret"), "{text}");
    let mut heard = Vec::new();
    within(peer.unwrap().0.read_to_end(&mut heard)).await.unwrap();
    assert!(heard.starts_with(b"AMQP"), "the socket ended, so lapin's thread has ended too");
}

#[tokio::test]
async fn a_refused_login_says_so_and_hides_the_password() {
    let url = broker::url().replace("guest:guest", "guest:secret");
    let settings = Settings { url, ..Carrier::rabbit().settings() };
    let refused = within(Queue::connect(settings)).await.unwrap_err();
    let text = refused.to_string();
    assert!(matches!(refused, Error::Unreachable { .. }), "{refused:?}");
    assert!(text.contains("ACCESS_REFUSED") && !text.contains("secret"), "{text}");
}

#[tokio::test]
async fn a_closed_port_says_so() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("amqp://{}/", listener.local_addr().unwrap());
    drop(listener);
    let refused = within(Queue::connect(Settings { url, ..Carrier::rabbit().settings() })).await.unwrap_err();
    assert!(refused.to_string().contains("refused"), "{refused}");
}
