//! Work that is begun once at the most.

use proto::{
    control::Control,
    outcome::{Claim, FromWorker, Report},
    work::Work,
};
use queue::{Consumer, Source};
use serde_json::json;

use crate::{
    robot::{ONE, acted, listed, output},
    site::{Site, within},
};

async fn claim(site: &Site, work: &Work, nonce: &str, redelivered: bool) {
    let claim = Claim { schema: 1, key: work.key.clone(), nonce: nonce.to_owned(), redelivered };
    site.tell(&FromWorker::Claim(claim)).await;
}

/// The nonce of the claim that was granted for `work`.
async fn granted(control: &mut Consumer, work: &Work) -> String {
    loop {
        let delivery = within(control.recv()).await.expect("open");
        let told = proto::codec::decode(&delivery.body).unwrap();
        delivery.ack();
        if let Control::Claimed { key, nonce } = told {
            assert_eq!(key, work.key);
            return nonce;
        }
    }
}

async fn begin(definition: &str) -> (Site, Consumer, Work) {
    let mut site = Site::sqlite().await;
    let control = site.client.consume(Source::Control, 10).await.unwrap();
    site.submit(&json!({ "definition": definition, "id": "r" })).await;
    assert_eq!(site.answer().await.1["status"], "accepted");
    let (work, delivery) = site.work().await;
    delivery.ack();
    (site, control, work)
}

#[tokio::test]
async fn the_first_claim_is_the_only_one_also_after_a_restart() {
    let (mut site, mut control, work) = begin(&ONE.replace("retry: { count: 5 }", "on_lost: fail")).await;
    claim(&site, &work, "one", false).await;
    assert_eq!(granted(&mut control, &work).await, "one");
    site.kill().await;
    site.start().await;
    for nonce in ["two", "one"] {
        claim(&site, &work, nonce, false).await;
        assert_eq!(granted(&mut control, &work).await, "one", "asked with {nonce}");
    }
    site.report(&work, acted(&[])).await;
    let (last, _delivery) = loop {
        let (last, delivery) = site.work().await;
        if last.key.task.is_none() {
            break (last, delivery);
        }
        delivery.ack();
    };
    site.report(&last, output(&json!({}))).await;
    assert_eq!(site.ended("r").await["status"], "succeeded");
    claim(&site, &work, "late", false).await;
    assert_eq!(granted(&mut control, &work).await, "", "nobody wants it any more");
}

#[tokio::test]
async fn what_comes_to_a_second_worker_has_crashed() {
    let (mut site, mut control, work) = begin(&ONE.replace("retry: { count: 5 }", "on_lost: fail")).await;
    claim(&site, &work, "one", false).await;
    assert_eq!(granted(&mut control, &work).await, "one");
    claim(&site, &work, "two", true).await;
    assert_eq!(granted(&mut control, &work).await, "");
    let (last, _delivery) = site.work().await;
    site.report(&last, output(&json!({}))).await;
    let run = site.ended("r").await;
    assert_eq!((&run["status"], &run["error"]["code"]), (&json!("failed"), &json!("lost")));
    assert_eq!(run["tasks"]["say"]["status"], "crashed");
}

#[tokio::test]
async fn what_was_lost_before_anybody_began_is_begun_by_another() {
    let (mut site, mut control, work) = begin(&ONE.replace("retry: { count: 5 }", "on_lost: fail")).await;
    claim(&site, &work, "two", true).await;
    assert_eq!(granted(&mut control, &work).await, "two");
    site.report(&work, acted(&[])).await;
    let (last, _delivery) = site.work().await;
    site.report(&last, output(&json!({}))).await;
    assert_eq!(site.ended("r").await["status"], "succeeded");
}

#[tokio::test]
async fn items_of_a_range_that_was_lost_have_failed() {
    let each = "name: each\ntasks: { t: { with_items: [1, 2], on_lost: fail, concurrency: 1, action: core.echo, input: { message: 1 } } }\n";
    let (mut site, mut control, work) = begin(each).await;
    site.report(&work, listed(2)).await;
    let (range, delivery) = site.work().await;
    delivery.ack();
    claim(&site, &range, "one", false).await;
    assert_eq!(granted(&mut control, &range).await, "one");
    claim(&site, &range, "two", true).await;
    assert_eq!(granted(&mut control, &range).await, "");
    let (next, _delivery) = site.work().await;
    site.report(&next, Report::Unable(proto::failure::Failure::new("no", "no"))).await;
    let run = site.ended("r").await;
    assert_eq!(run["tasks"]["t"]["items"]["failed"], 2, "{run:#}");
    assert!(run["error"]["message"].as_str().unwrap().contains("the first: lost"), "{run:#}");
}
