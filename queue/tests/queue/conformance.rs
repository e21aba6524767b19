//! What both carriers do alike. Every case runs on each.

use std::{collections::BTreeSet, sync::Arc};

use futures_util::{FutureExt, StreamExt, future::join_all, stream};
use leveret_queue::{Content, Declared, Error, Publication, PublishError, Queue, Routing, Source, ack_all};
use proto::{id::Shard, limits::MESSAGE_BYTES_MAX, topology::JOB_KEY};

use super::carrier::{Carrier, job, next, pool, publish_jobs, take, text, within};

/// Each named case as a test on the twin and one on RabbitMQ.
macro_rules! on_both {
    ($($case:ident),* $(,)?) => {$(
        mod $case {
            use super::super::carrier::Carrier;

            #[tokio::test]
            async fn memory() {
                super::cases::$case(Carrier::memory()).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn rabbitmq() {
                super::cases::$case(Carrier::rabbit()).await;
            }
        }
    )*};
}

on_both!(
    messages_reach_their_queue_with_all_properties,
    unroutable_is_told_of_exactly_those_messages,
    what_is_published_together_has_a_verdict_each,
    an_absent_exchange_is_unroutable_and_nothing_else_breaks,
    control_reaches_every_consumer,
    prefetch_bounds_what_is_unsettled,
    what_is_dropped_or_given_back_comes_again,
    a_rejected_delivery_is_a_dead_letter,
    the_delivery_limit_makes_dead_letters,
    stop_returns_what_was_not_received,
    close_returns_everything_unsettled,
    an_ack_right_before_close_counts,
    ack_all_acks_exactly_the_batch,
    recv_loses_nothing_when_dropped,
    lines_arrive_apart_and_are_settled_together,
    what_is_no_outcome_or_has_too_many_lines_stays_whole,
    an_absent_queue_is_named,
    too_large_is_refused_before_sending,
    the_rejected_queue_keeps_the_newest,
    what_is_removed_is_gone_with_its_messages,
);

mod cases {
    use super::*;

    pub async fn messages_reach_their_queue_with_all_properties(carrier: Carrier) {
        let (shard, pool) = (Shard(3), pool("gpu"));
        let queue = carrier.ready(&[Declared::Outcomes(shard), Declared::Pool(pool.clone())]).await;
        let topology = queue.topology().clone();
        within(queue.declare(Declared::Core)).await.unwrap();
        let routes = [
            (topology.jobs_exchange(), JOB_KEY.to_owned(), Source::Jobs),
            (topology.work_exchange(), pool.to_string(), Source::Pool(pool)),
            (topology.outcomes_exchange(), shard.to_string(), Source::Outcomes(shard)),
            (String::new(), topology.rejected_queue(), Source::Named(topology.rejected_queue())),
            (topology.dead_exchange(), "any.key".to_owned(), Source::Dead),
        ];
        for (exchange, key, source) in routes {
            let mut sent = Publication::new(exchange.clone(), key.clone(), "the body");
            sent.message_id = Some("id-1".to_owned());
            sent.kind = Some("work".to_owned());
            sent.correlation_id = Some("c".to_owned());
            sent.reply_to = Some("r".to_owned());
            sent.headers = [("traceparent".to_owned(), "00-1-2-3".to_owned()), ("x".to_owned(), "y".to_owned())].into();
            within(queue.publish(sent.clone())).await.unwrap();
            let mut consumer = within(queue.consume(source, 10)).await.unwrap();
            let delivery = next(&mut consumer).await;
            assert_eq!(text(&delivery), "the body");
            assert_eq!((&delivery.exchange, &delivery.routing_key), (&exchange, &key));
            assert_eq!((delivery.redelivered, delivery.delivery_count), (false, 0));
            let properties = delivery.properties.clone();
            assert_eq!(properties.message_id, sent.message_id);
            assert_eq!(properties.kind, sent.kind);
            assert_eq!(properties.correlation_id, sent.correlation_id);
            assert_eq!(properties.reply_to, sent.reply_to);
            assert_eq!(properties.content_type.as_deref(), Some("application/json"));
            assert_eq!(properties.traceparent.as_deref(), Some("00-1-2-3"));
            assert_eq!(properties.headers, sent.headers);
            assert_eq!(properties.death, None);
            delivery.ack();
        }
        finish(carrier, [queue]).await;
    }

    /// lapin gives a returned message to any confirm, so many rounds with many in flight.
    pub async fn unroutable_is_told_of_exactly_those_messages(carrier: Carrier) {
        let queue = carrier.ready(&[]).await;
        let mut consumer = within(queue.consume(Source::Jobs, 100)).await.unwrap();
        for round in 0..30 {
            let publications = (0..40).map(|number| {
                let mut publication = job(queue.topology(), &format!("{round}-{number}"));
                if number % 7 == round % 7 {
                    publication.routing_key = "nobody".to_owned();
                }
                if number % 5 == 0 {
                    publication.message_id = None;
                }
                publication
            });
            let verdicts = within(join_all(publications.map(|publication| queue.publish(publication)))).await;
            for (number, verdict) in verdicts.into_iter().enumerate() {
                let expected = match number % 7 == round % 7 {
                    true => Err(PublishError::Unroutable {
                        exchange: queue.topology().jobs_exchange(),
                        routing_key: "nobody".to_owned(),
                    }),
                    false => Ok(()),
                };
                assert_eq!(verdict, expected, "round {round}, message {number}");
            }
            let arrived = take(&mut consumer, 40 - (0..40).filter(|number| number % 7 == round % 7).count()).await;
            assert!(arrived.iter().all(|id| id.starts_with(&format!("{round}-"))));
        }
        let mut lost = job(queue.topology(), "lost");
        lost.routing_key = "nobody".to_owned();
        lost.routing = Routing::BestEffort;
        assert_eq!(within(queue.publish(lost)).await, Ok(()));
        finish(carrier, [queue]).await;
    }

    pub async fn what_is_published_together_has_a_verdict_each(carrier: Carrier) {
        let shard = Shard(1);
        let queue = carrier.ready(&[Declared::Outcomes(shard)]).await;
        let exchange = queue.topology().outcomes_exchange();
        // More than the window holds, and in it some that cannot go.
        let count = 1_100;
        let publication = |number: usize| match number % 100 {
            7 => Publication::new(exchange.clone(), "nowhere", "x"),
            8 => Publication::new(exchange.clone(), shard.to_string(), vec![b'x'; MESSAGE_BYTES_MAX + 1]),
            _ => Publication::new(exchange.clone(), shard.to_string(), number.to_string()),
        };
        let verdicts = within(queue.publish_all((0..count).map(publication).map(Arc::new).collect())).await;
        assert_eq!(verdicts.len(), count);
        for (number, verdict) in verdicts.iter().enumerate() {
            match number % 100 {
                7 => assert!(matches!(verdict, Err(PublishError::Unroutable { .. })), "{number}: {verdict:?}"),
                8 => assert!(matches!(verdict, Err(PublishError::TooLarge { .. })), "{number}: {verdict:?}"),
                _ => assert_eq!(*verdict, Ok(()), "{number}"),
            }
        }
        let sent = (0..count).filter(|number| !matches!(number % 100, 7 | 8));
        let mut consumer = queue.consume(Source::Outcomes(shard), 2_000).await.unwrap();
        for number in sent {
            assert_eq!(text(&next(&mut consumer).await), number.to_string());
        }
        assert_eq!(within(queue.publish_all(Vec::new())).await, []);
    }

    pub async fn an_absent_exchange_is_unroutable_and_nothing_else_breaks(carrier: Carrier) {
        let queue = carrier.connect().await;
        let verdict = within(queue.publish(job(&carrier.topology(), "early"))).await;
        assert!(matches!(verdict, Err(PublishError::Unroutable { .. })), "{verdict:?}");
        carrier.will_declare(Declared::Core);
        within(queue.declare(Declared::Core)).await.unwrap();
        publish_jobs(&queue, ["in time"]).await;
        let mut consumer = within(queue.consume(Source::Jobs, 1)).await.unwrap();
        assert_eq!(take(&mut consumer, 1).await, ["in time"]);
        finish(carrier, [queue]).await;
    }

    pub async fn control_reaches_every_consumer(carrier: Carrier) {
        let (one, two) = (carrier.ready(&[]).await, carrier.connect().await);
        let mut consumers = Vec::new();
        for queue in [&one, &two, &two] {
            consumers.push(within(queue.consume(Source::Control, 10)).await.unwrap());
        }
        let mut message = Publication::new(one.topology().control_exchange(), "", "cancel");
        message.routing = Routing::BestEffort;
        within(one.publish(message.clone())).await.unwrap();
        for consumer in &mut consumers {
            assert_eq!(take(consumer, 1).await, ["cancel"]);
        }
        for consumer in consumers {
            within(consumer.stop()).await;
        }
        message.routing = Routing::Mandatory;
        let verdict = within(one.publish(message)).await;
        assert!(matches!(verdict, Err(PublishError::Unroutable { .. })), "the queues went with their consumers");
        finish(carrier, [one, two]).await;
    }

    pub async fn prefetch_bounds_what_is_unsettled(carrier: Carrier) {
        let queue = carrier.ready(&[]).await;
        let mut small = within(queue.consume(Source::Jobs, 2)).await.unwrap();
        publish_jobs(&queue, ["a", "b", "c", "d", "e"]).await;
        let held = [next(&mut small).await, next(&mut small).await];
        let mut large = within(queue.consume(Source::Jobs, 10)).await.unwrap();
        assert_eq!(take(&mut large, 3).await, ["c", "d", "e"]);
        assert!(small.try_recv().is_none());
        within(large.stop()).await;
        publish_jobs(&queue, ["f"]).await;
        ack_all(held.into());
        assert_eq!(take(&mut small, 1).await, ["f"]);
        finish(carrier, [queue]).await;
    }

    pub async fn what_is_dropped_or_given_back_comes_again(carrier: Carrier) {
        let queue = carrier.ready(&[]).await;
        let mut consumer = within(queue.consume(Source::Jobs, 1)).await.unwrap();
        publish_jobs(&queue, ["a"]).await;
        drop(next(&mut consumer).await);
        let again = next(&mut consumer).await;
        assert_eq!((text(&again).as_str(), again.redelivered, again.delivery_count), ("a", true, 1));
        again.give_back();
        let again = next(&mut consumer).await;
        assert_eq!((text(&again).as_str(), again.redelivered, again.delivery_count), ("a", true, 2));
        assert!(again.is_live());
        again.ack();
        publish_jobs(&queue, ["b"]).await;
        assert_eq!(take(&mut consumer, 1).await, ["b"]);
        finish(carrier, [queue]).await;
    }

    pub async fn a_rejected_delivery_is_a_dead_letter(carrier: Carrier) {
        let queue = carrier.ready(&[]).await;
        let mut consumer = within(queue.consume(Source::Jobs, 1)).await.unwrap();
        let mut dead = within(queue.consume(Source::Dead, 1)).await.unwrap();
        publish_jobs(&queue, ["a"]).await;
        next(&mut consumer).await.reject();
        let letter = next(&mut dead).await;
        let death = letter.properties.death.clone().unwrap();
        assert_eq!((death.reason.as_str(), death.queue, death.count), ("rejected", queue.topology().jobs_queue(), 1));
        assert_eq!(letter.properties.message_id.as_deref(), Some("a"));
        assert_eq!((letter.routing_key.as_str(), text(&letter).as_str()), (JOB_KEY, "a"));
        letter.ack();
        finish(carrier, [queue]).await;
    }

    pub async fn the_delivery_limit_makes_dead_letters(carrier: Carrier) {
        let queue = carrier.ready(&[]).await;
        let mut consumer = within(queue.consume(Source::Jobs, 1)).await.unwrap();
        let mut dead = within(queue.consume(Source::Dead, 1)).await.unwrap();
        publish_jobs(&queue, ["poison"]).await;
        for count in 0..=20 {
            let delivery = next(&mut consumer).await;
            assert_eq!(delivery.delivery_count, count);
            delivery.give_back();
        }
        let mut letter = next(&mut dead).await;
        assert_eq!(letter.properties.death.clone().unwrap().reason, "delivery_limit");
        // A dead letter itself is never given up.
        for _ in 0..30 {
            letter.give_back();
            letter = next(&mut dead).await;
        }
        letter.ack();
        finish(carrier, [queue]).await;
    }

    pub async fn stop_returns_what_was_not_received(carrier: Carrier) {
        let (one, two) = (carrier.ready(&[]).await, carrier.connect().await);
        let mut stopping = within(one.consume(Source::Jobs, 10)).await.unwrap();
        publish_jobs(&one, ["a", "b", "c", "d"]).await;
        let held = next(&mut stopping).await;
        within(stopping.stop()).await;
        assert!(held.is_live());
        let mut other = within(two.consume(Source::Jobs, 10)).await.unwrap();
        let returned: BTreeSet<_> = take(&mut other, 3).await.into_iter().collect();
        assert_eq!(returned, ["b", "c", "d"].map(str::to_owned).into());
        held.ack();
        within(one.close()).await;
        publish_jobs(&two, ["last"]).await;
        assert_eq!(take(&mut other, 1).await, ["last"], "the one in hand was acked after the stop");
        finish(carrier, [two]).await;
    }

    pub async fn close_returns_everything_unsettled(carrier: Carrier) {
        let (one, two) = (carrier.ready(&[]).await, carrier.connect().await);
        let mut consumer = within(one.consume(Source::Jobs, 10)).await.unwrap();
        publish_jobs(&two, ["a", "b"]).await;
        let held = next(&mut consumer).await;
        assert!(one.state().borrow().publish && one.state().borrow().consume);
        within(one.clone().close()).await;
        assert!(!one.state().borrow().publish && !one.state().borrow().consume);
        assert!(within(consumer.recv()).await.is_none());
        assert!(!held.is_live());
        held.ack();
        assert_eq!(within(one.publish(job(one.topology(), "x"))).await, Err(PublishError::Disconnected));
        assert!(matches!(within(one.declare(Declared::Core)).await, Err(Error::Disconnected { .. })));
        let mut other = within(two.consume(Source::Jobs, 10)).await.unwrap();
        let again: BTreeSet<_> = take(&mut other, 2).await.into_iter().collect();
        assert_eq!(again, ["a", "b"].map(str::to_owned).into());
        finish(carrier, [two]).await;
    }

    /// lapin drops what is not yet on the wire when its task that closes a dropped channel meets a closing connection.
    pub async fn an_ack_right_before_close_counts(carrier: Carrier) {
        let queue = carrier.ready(&[]).await;
        let mut other = within(queue.consume(Source::Jobs, 10)).await.unwrap();
        for round in 0..15 {
            within(other.stop()).await;
            let passing = carrier.connect().await;
            let mut consumer = within(passing.consume(Source::Jobs, 5)).await.unwrap();
            publish_jobs(&queue, ["a", "b"]).await;
            let held = next(&mut consumer).await;
            within(consumer.stop()).await;
            other = within(queue.consume(Source::Jobs, 10)).await.unwrap();
            assert_eq!(take(&mut other, 1).await, ["b"]);
            held.ack();
            within(passing.close()).await;
            publish_jobs(&queue, ["last"]).await;
            assert_eq!(take(&mut other, 1).await, ["last"], "round {round}");
        }
        finish(carrier, [queue]).await;
    }

    pub async fn lines_arrive_apart_and_are_settled_together(carrier: Carrier) {
        let shard = Shard(3);
        let queue = carrier.ready(&[Declared::Outcomes(shard)]).await;
        let exchange = queue.topology().outcomes_exchange();
        let bodies = ["1", "2", "3"].map(bytes::Bytes::from);
        let together = || Publication {
            kind: Some("outcome".to_owned()),
            ..Publication::lines(exchange.clone(), shard.to_string(), &bodies)
        };
        within(queue.publish(together())).await.unwrap();
        within(queue.publish(Publication::new(exchange.clone(), shard.to_string(), "4"))).await.unwrap();
        let mut consumer = within(queue.consume(Source::Outcomes(shard), 10)).await.unwrap();
        let mut parts = Vec::new();
        for expected in ["1", "2", "3", "4"] {
            let part = next(&mut consumer).await;
            assert_eq!((text(&part).as_str(), part.redelivered), (expected, false));
            assert_eq!(part.properties.content_type.as_deref(), Some("application/json"));
            parts.push(part);
        }
        assert_eq!(parts[0].properties.kind.as_deref(), Some("outcome"));
        assert_eq!(parts[0].properties.message_id, None);
        // One of them is not done: all come again, though the others were acked, and in whatever order.
        let last = parts.split_off(3);
        let mut parts = parts.into_iter();
        parts.next().expect("the first").ack();
        drop(parts.next());
        assert!(parts.as_slice()[0].is_live());
        ack_all(parts.chain(last).collect());
        for expected in ["1", "2", "3"] {
            let part = next(&mut consumer).await;
            assert_eq!((text(&part).as_str(), part.redelivered), (expected, true));
            ack_all(vec![part]);
        }
        // Nothing is left, and what was taken from the consumer and not received goes back whole.
        within(queue.publish(together())).await.unwrap();
        next(&mut consumer).await.ack();
        within(consumer.stop()).await;
        let mut consumer = within(queue.consume(Source::Outcomes(shard), 10)).await.unwrap();
        // One that is rejected takes those along that were acked, and their letters come apart again.
        let mut dead = within(queue.consume(Source::Dead, 10)).await.unwrap();
        next(&mut consumer).await.ack();
        next(&mut consumer).await.reject();
        next(&mut consumer).await.ack();
        assert_eq!(take(&mut dead, 3).await, ["1", "2", "3"]);
        finish(carrier, [queue]).await;
    }

    /// Anybody may publish jobs, and say of one that it is millions.
    pub async fn what_is_no_outcome_or_has_too_many_lines_stays_whole(carrier: Carrier) {
        let shard = Shard(3);
        let queue = carrier.ready(&[Declared::Outcomes(shard)]).await;
        let lines = Publication { content: Content::JsonLines, ..job(queue.topology(), "a\nb") };
        within(queue.publish(lines)).await.unwrap();
        let mut jobs = within(queue.consume(Source::Jobs, 10)).await.unwrap();
        let delivery = next(&mut jobs).await;
        assert_eq!((text(&delivery).as_str(), delivery.properties.message_id.as_deref()), ("a\nb", Some("a\nb")));
        delivery.ack();
        let exchange = queue.topology().outcomes_exchange();
        let many = "\n".repeat(256);
        let outcome = Publication::new(exchange, shard.to_string(), many.clone());
        within(queue.publish(Publication { content: Content::JsonLines, ..outcome })).await.unwrap();
        let mut outcomes = within(queue.consume(Source::Outcomes(shard), 10)).await.unwrap();
        assert_eq!(take(&mut outcomes, 1).await, [many]);
        finish(carrier, [queue]).await;
    }

    pub async fn ack_all_acks_exactly_the_batch(carrier: Carrier) {
        let pool = pool("p");
        let (one, two) = (carrier.ready(&[Declared::Pool(pool.clone())]).await, carrier.connect().await);
        let mut jobs = within(one.consume(Source::Jobs, 50)).await.unwrap();
        let mut work = within(one.consume(Source::Pool(pool.clone()), 50)).await.unwrap();
        let (mut held, mut batch) = (Vec::new(), Vec::new());
        for number in 0..20 {
            publish_jobs(&one, [format!("j{number}").as_str()]).await;
            let message = Publication::new(one.topology().work_exchange(), pool.as_str(), format!("w{number}"));
            within(one.publish(message)).await.unwrap();
            // The work's are all in the batch; of the jobs some are kept: the oldest of the second half.
            let (job, work) = (next(&mut jobs).await, next(&mut work).await);
            if (10..13).contains(&number) {
                held.push(job)
            } else {
                batch.push(job)
            }
            batch.push(work);
        }
        batch.reverse();
        ack_all(batch);
        ack_all(Vec::new());
        assert!(held.iter().all(leveret_queue::Delivery::is_live));
        within(one.close()).await;
        drop(held);
        let mut jobs = within(two.consume(Source::Jobs, 50)).await.unwrap();
        let again: BTreeSet<_> = take(&mut jobs, 3).await.into_iter().collect();
        assert_eq!(again, ["j10", "j11", "j12"].map(str::to_owned).into());
        publish_jobs(&two, ["last"]).await;
        assert_eq!(take(&mut jobs, 1).await, ["last"]);
        let message = Publication::new(two.topology().work_exchange(), pool.as_str(), "last");
        within(two.publish(message)).await.unwrap();
        let mut work = within(two.consume(Source::Pool(pool), 50)).await.unwrap();
        assert_eq!(take(&mut work, 1).await, ["last"]);
        finish(carrier, [two]).await;
    }

    pub async fn recv_loses_nothing_when_dropped(carrier: Carrier) {
        let queue = carrier.ready(&[]).await;
        let mut consumer = within(queue.consume(Source::Jobs, 5)).await.unwrap();
        let mut received = Vec::new();
        for number in 0..50 {
            publish_jobs(&queue, [format!("{number}").as_str()]).await;
            if let Some(Some(delivery)) = consumer.recv().now_or_never() {
                received.push(text(&delivery));
                delivery.ack();
            }
        }
        let missing = 50 - received.len();
        received.extend(take(&mut consumer, missing).await);
        assert_eq!(received, (0..50).map(|number| number.to_string()).collect::<Vec<_>>());
        finish(carrier, [queue]).await;
    }

    pub async fn an_absent_queue_is_named(carrier: Carrier) {
        let queue = carrier.ready(&[]).await;
        let refused = within(queue.consume(Source::Pool(pool("nowhere")), 1)).await.unwrap_err();
        assert!(matches!(&refused, Error::Missing { name, .. } if name.ends_with(".work.nowhere")), "{refused:?}");
        publish_jobs(&queue, ["still works"]).await;
        finish(carrier, [queue]).await;
    }

    pub async fn too_large_is_refused_before_sending(carrier: Carrier) {
        let queue = carrier.ready(&[]).await;
        let body = vec![b'x'; MESSAGE_BYTES_MAX];
        let fits = Publication { body: body.clone().into(), ..job(queue.topology(), "fits") };
        let exceeds = Publication { body: [body, b"x".to_vec()].concat().into(), ..job(queue.topology(), "exceeds") };
        let verdict = within(queue.publish(exceeds)).await;
        assert!(matches!(verdict, Err(PublishError::TooLarge { what: "body", .. })), "{verdict:?}");
        within(queue.publish(fits)).await.unwrap();
        let mut consumer = within(queue.consume(Source::Jobs, 1)).await.unwrap();
        let delivery = next(&mut consumer).await;
        assert_eq!(delivery.body.len(), MESSAGE_BYTES_MAX);
        delivery.ack();
        finish(carrier, [queue]).await;
    }

    pub async fn the_rejected_queue_keeps_the_newest(carrier: Carrier) {
        let queue = carrier.ready(&[]).await;
        let rejected = queue.topology().rejected_queue();
        let verdicts = stream::iter(0..10_020)
            .map(|number| queue.publish(Publication::new("", rejected.clone(), number.to_string())))
            .buffered(256);
        within(verdicts.for_each(async |verdict| verdict.unwrap())).await;
        let mut consumer = within(queue.consume(Source::Named(rejected), 1)).await.unwrap();
        assert_eq!(take(&mut consumer, 1).await, ["20"]);
        finish(carrier, [queue]).await;
    }

    pub async fn what_is_removed_is_gone_with_its_messages(carrier: Carrier) {
        let parts = [Declared::Core, Declared::Pool(pool("p")), Declared::Outcomes(Shard(0))];
        let queue = carrier.ready(&parts).await;
        publish_jobs(&queue, ["lost"]).await;
        within(queue.remove(&parts)).await.unwrap();
        within(queue.remove(&parts)).await.expect("what is absent is no error");
        for source in [Source::Jobs, Source::Dead, Source::Pool(pool("p")), Source::Outcomes(Shard(0))] {
            let refused = within(queue.consume(source, 1)).await.unwrap_err();
            assert!(matches!(refused, Error::Missing { .. }), "{refused:?}");
        }
        let unroutable = within(queue.publish(job(queue.topology(), "nowhere"))).await;
        assert!(matches!(unroutable, Err(PublishError::Unroutable { .. })), "{unroutable:?}");
        within(queue.declare(Declared::Core)).await.unwrap();
        publish_jobs(&queue, ["new"]).await;
        let mut consumer = within(queue.consume(Source::Jobs, 1)).await.unwrap();
        assert_eq!(take(&mut consumer, 1).await, ["new"]);
        finish(carrier, [queue]).await;
    }

    async fn finish<const N: usize>(carrier: Carrier, queues: [Queue; N]) {
        for queue in queues {
            within(queue.close()).await;
        }
        carrier.clean().await;
    }
}
