//! Declaring on a real broker: shapes that differ, and queues that others make.

use leveret_queue::{
    Declared, Error, Queue,
    amqp::{Declare, QueueType, Settings},
};

use super::carrier::{Carrier, pool, within};

#[tokio::test]
async fn a_queue_of_another_shape_is_named() {
    let carrier = Carrier::rabbit();
    let queue = carrier.ready(&[]).await;
    let settings = Settings { queue_type: QueueType::Classic, ..carrier.settings() };
    let classic = within(Queue::connect(settings)).await.unwrap();
    let refused = within(classic.declare(Declared::Core)).await.unwrap_err();
    let text = refused.to_string();
    assert!(matches!(&refused, Error::Mismatch { name, .. } if name.ends_with(".dead")), "{refused:?}");
    assert!(text.contains("x-queue-type"), "{text}");
    // The mistake costs only its own channel, and a part that is new works in any shape.
    carrier.will_declare(Declared::Pool(pool("p")));
    within(classic.declare(Declared::Pool(pool("p")))).await.unwrap();
    within(classic.close()).await;
    within(queue.close()).await;
    carrier.clean().await;
}

#[tokio::test]
async fn passive_only_checks() {
    let carrier = Carrier::rabbit();
    let passive = Settings { declare: Declare::Passive, ..carrier.settings() };
    let checking = within(Queue::connect(passive)).await.unwrap();
    let absent = within(checking.declare(Declared::Core)).await.unwrap_err();
    assert!(matches!(absent, Error::Missing { .. }), "{absent:?}");
    let queue = carrier.ready(&[]).await;
    within(checking.declare(Declared::Core)).await.unwrap();
    let absent = within(checking.declare(Declared::Pool(pool("p")))).await.unwrap_err();
    assert!(matches!(&absent, Error::Missing { name, .. } if name.ends_with(".work.p")), "{absent:?}");
    within(checking.close()).await;
    within(queue.close()).await;
    carrier.clean().await;
}
