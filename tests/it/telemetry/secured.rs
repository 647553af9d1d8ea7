//! A collector that is asked over TLS: whose files are missing, broken, expired, do not fit, or change.

use std::path::{Path, PathBuf};
use std::time::Duration;

use writ::config::Telemetry;
use writ::telemetry::Settings;
use writ::telemetry::provider::Provider;
use writ_schemas::errors::Code;

use super::collector::Collector;
use super::delivered::span;

/// Certificates for 100 years, made as those of `codes/tls`: `server`, `client` and `expired` are of `ca`, `stranger` of `other-ca`.
pub(super) fn tls(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/telemetry/tls").join(name)
}

fn settings(endpoint: &str, ca: &Path, certificate: &Path, key: &Path) -> Settings {
    let table = Telemetry {
        endpoint: Some(endpoint.to_owned()),
        batch_timeout_ms: Some(10),
        ca_file: Some(ca.to_owned()),
        certificate_file: Some(certificate.to_owned()),
        key_file: Some(key.to_owned()),
        ..Telemetry::default()
    };
    Settings::without_variables(Some(&table)).expect("is fine")
}

#[test]
fn a_client_with_a_certificate_is_taken() {
    let collector = Collector::secured();
    let settings = settings(&collector.url, &tls("ca.pem"), &tls("client.pem"), &tls("client.key"));
    let provider = Provider::start(&settings).expect("starts");
    provider.spans().expect("it exports").push(span(1, 0));
    collector.wait("a span", |got| got.spans.len() == 1);
    provider.stop(Duration::from_secs(10));
}

#[test]
fn a_file_that_is_of_no_use_is_named_at_the_start() {
    let folder = tempfile::tempdir().expect("a folder");
    let written = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("writes");
        path
    };
    let (ca, client, key) = (tls("ca.pem"), tls("client.pem"), tls("client.key"));
    let missing = folder.path().join("missing.pem");
    let garbage = written("garbage.pem", "garbage");
    let broken = written("broken.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    let cut = written("cut.pem", "-----BEGIN CERTIFICATE-----\nMIIB!!!!\n");
    let long = written("long.pem", &"x".repeat((1 << 20) + 1));
    for (files, by, named, why) in [
        ([&missing, &client, &key], "telemetry.ca_file: ", &missing, "No such file"),
        ([&ca, &missing, &key], "telemetry.certificate_file: ", &missing, "No such file"),
        ([&ca, &client, &missing], "telemetry.key_file: ", &missing, "No such file"),
        ([&garbage, &client, &key], "telemetry.ca_file: ", &garbage, "no certificate"),
        ([&broken, &client, &key], "telemetry.ca_file: ", &broken, ""),
        ([&ca, &cut, &key], "telemetry.certificate_file: ", &cut, ""),
        ([&ca, &client, &garbage], "telemetry.key_file: ", &garbage, "no private key"),
        ([&long, &client, &key], "telemetry.ca_file: ", &long, "longer than"),
        ([&ca, &client, &tls("server.key")], "telemetry.key_file: ", &tls("server.key"), "does not belong"),
        (
            [&ca, &tls("expired.pem"), &tls("expired.key")],
            "telemetry.certificate_file: ",
            &tls("expired.pem"),
            "expired",
        ),
        ([&tls("expired.pem"), &client, &key], "telemetry.ca_file: ", &tls("expired.pem"), "expired"),
    ] {
        let [ca, certificate, key] = files;
        let failure =
            Provider::start(&settings("https://127.0.0.1:1", ca, certificate, key)).err().expect("is refused");
        assert_eq!(failure.code, Code::Config);
        let named = named.to_string_lossy();
        assert!(failure.detail.starts_with(by), "{failure}");
        assert!(failure.detail.contains(&*named) && failure.detail.contains(why), "{failure}");
    }
}

#[test]
fn new_files_are_taken_and_broken_ones_are_not() {
    let collector = Collector::secured();
    let folder = tempfile::tempdir().expect("a folder");
    let (certificate, key) = (folder.path().join("client.pem"), folder.path().join("client.key"));
    let put = |name: &str| {
        std::fs::copy(tls(&format!("{name}.pem")), &certificate).expect("copies");
        std::fs::copy(tls(&format!("{name}.key")), &key).expect("copies");
    };
    put("stranger");
    let provider = Provider::start(&settings(&collector.url, &tls("ca.pem"), &certificate, &key)).expect("starts");
    let spans = provider.spans().expect("it exports");
    spans.push(span(1, 0));
    std::thread::sleep(Duration::from_millis(300)); // refused, as a stranger is
    assert_eq!(collector.got().requests, 0);
    put("client");
    collector.wait("the span, once the files are others", |got| got.spans.len() == 1);
    // What is broken now is not taken: the connection stays as it was.
    std::fs::write(&key, "garbage").expect("writes");
    std::thread::sleep(Duration::from_secs(3)); // longer than between two looks
    spans.push(span(2, 0));
    collector.wait("a span, by the files as they were", |got| got.spans.len() == 2);
    provider.stop(Duration::from_secs(10));
}

#[test]
fn a_collector_of_another_authority_is_not_sent_anything() {
    let collector = Collector::secured();
    let settings = settings(&collector.url, &tls("other-ca.pem"), &tls("client.pem"), &tls("client.key"));
    let provider = Provider::start(&settings).expect("starts");
    let spans = provider.spans().expect("it exports");
    spans.push(span(1, 0));
    provider.stop(Duration::from_millis(500));
    assert_eq!((spans.tally().export, collector.got().requests), (1, 0));
}
