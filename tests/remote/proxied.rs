//! Writers of the bucket of a real server, behind a proxy that loses answers, delays them and gives others.
//!
//! `tests/remote/moto.sh` starts a server and runs these. Without one, which `AWS_ENDPOINT` and `TENURE_REMOTE_URL` name, they say so.

use std::net::ToSocketAddrs;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use object_store::aws::AmazonS3Builder;
use object_store::{BackoffConfig, RetryConfig};
use tenure::Options;
use tenure::remote::Bucket;

use crate::answers::{Known, take_over};
use crate::common::Rng;
use crate::proxy::Proxy;
use crate::{contents, rounds, servers, writers};

const ROUNDS: &str = "TENURE_REMOTE_PROXY";

/// A proxy before the real server, and the URL of a prefix that nobody else uses.
fn proxy(seed: u64) -> Option<(Proxy, String)> {
    static USED: AtomicU64 = AtomicU64::new(0);
    let (Ok(endpoint), Ok(url)) = (std::env::var("AWS_ENDPOINT"), std::env::var("TENURE_REMOTE_URL")) else {
        println!("SKIPPED: no real server is named");
        return None;
    };
    let server = endpoint.trim_start_matches("http://").to_socket_addrs().expect("an address").next();
    let number = USED.fetch_add(1, Ordering::Relaxed);
    let url = format!("{url}/proxied-{}-{number}", std::process::id());
    Some((Proxy::before(server.expect("an address"), seed), url))
}

/// The bucket behind a proxy.
fn through(proxy: &Proxy, url: &str) -> Bucket {
    // As `Bucket::at` does it, but without long pauses.
    let backoff =
        BackoffConfig { init_backoff: Duration::from_millis(5), max_backoff: Duration::from_millis(50), base: 2.0 };
    let retry = RetryConfig { backoff, max_retries: 2, retry_timeout: Duration::from_secs(20) };
    let builder = AmazonS3Builder::from_env().with_url(url).with_endpoint(proxy.endpoint());
    let store = builder.with_allow_http(true).with_retry(retry).build().expect("a client");
    let prefix = url.splitn(4, '/').nth(3).expect("a prefix");
    Bucket::new(Arc::new(store), prefix).expect("a bucket")
}

/// Lives of a store behind the proxy, and at its end without faults.
fn live(seed: u64) -> Result<(), String> {
    let Some((proxy, url)) = proxy(seed) else { return Ok(()) };
    let bucket = through(&proxy, &url);
    let (mut known, mut rng) = (Known::default(), Rng::new(seed));
    let wanted = rounds(ROUNDS, 10);
    for round in 1..=wanted {
        proxy.fail_one_in(3 + seed % 4);
        let lived = known.live(&bucket, &mut rng, &|is_down| proxy.set_down(is_down));
        lived.map_err(|why| format!("seed {seed}, life {round}: {why}"))?;
    }
    proxy.fail_one_in(0);
    let store = take_over(&bucket)?;
    known.check(&store)?;
    drop(store);
    let view = bucket.view(None).map_err(|error| error.to_string())?;
    let reader = Options::new().read_only(true).open_backing(Arc::new(view)).map_err(|error| error.to_string())?;
    if contents(&reader) != known.acknowledged {
        return Err(format!("seed {seed}: a reader finds other records than the last writer had"));
    }
    let twice = proxy.created_twice();
    println!("{wanted} lives, {} commits acknowledged, faults: {:?}", known.commits, proxy.met());
    if twice.is_empty() { Ok(()) } else { Err(format!("seed {seed}: created twice: {twice:?}")) }
}

#[test]
fn no_acknowledged_commit_is_lost_on_the_way_to_a_real_server() {
    live(1).unwrap();
}

#[cfg(feature = "planted")]
#[test]
fn a_log_object_of_a_real_server_that_is_taken_for_ones_own_is_found() {
    use tenure::planted::{Fault, plant};
    if proxy(0).is_none() {
        return;
    }
    plant(Some(Fault::ExistsIsStored));
    let found = (1..=20).find_map(|seed| live(seed).err());
    plant(None);
    println!("found: {}", found.expect("lives with the fault fail"));
}

#[test]
fn of_several_writers_of_a_real_server_one_goes_on() {
    for seed in 1..=rounds(ROUNDS, 10).div_ceil(2) {
        let Some((proxy, url)) = proxy(seed) else { return };
        let set_faulty = |is_faulty: bool| proxy.fail_one_in(if is_faulty { 3 + seed % 4 } else { 0 });
        writers::compete(&through(&proxy, &url), seed, Duration::from_millis(300), &set_faulty);
        assert_eq!(proxy.created_twice(), Vec::<String>::new(), "seed {seed}");
    }
}

#[test]
fn writers_that_are_killed_behind_a_proxy_lose_nothing_that_they_acknowledged() {
    let Some((proxy, url)) = proxy(7) else { return };
    proxy.fail_one_in(5);
    servers::kill_writers(&url, Some(&proxy), 0, rounds(ROUNDS, 10));
    assert_eq!(proxy.created_twice(), Vec::<String>::new());
    println!("faults: {:?}", proxy.met());
}
