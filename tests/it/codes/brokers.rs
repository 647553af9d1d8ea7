//! Brokers that are there and cannot be used: whose certificate is not to be trusted, that do not accept who asks, that close each
//! connection. Small ones in this process, which speak as much of the protocols as it takes; `tests/kafka/secure.py` asks real ones.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, Stream};
use writ_schemas::errors::Code;

use crate::scene::{Run, Scene, note, signed, writ};
use crate::submit_kafka::World;

/// Certificates for 100 years: `openssl req -x509 -newkey ed25519 -days 36500`, and of that authority `openssl x509 -req`; the expired
/// one with `-days -1`.
const AUTHORITY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/codes/tls/ca.pem");
const KEY: &[u8] = include_bytes!("tls/server.key");
const NAMED: &[u8] = include_bytes!("tls/named.pem");
const ELSEWHERE: &[u8] = include_bytes!("tls/elsewhere.pem");
const EXPIRED: &[u8] = include_bytes!("tls/expired.pem");

/// What nobody is to read.
const PASSWORD: &str = "correct-horse-battery";

/// Listens, and hands each connection to a thread; its address.
fn listening(each: impl Fn(TcpStream) + Clone + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let each = each.clone();
            std::thread::spawn(move || each(stream));
        }
    });
    address
}

/// A broker that shows this certificate.
fn showing(certificate: &'static [u8]) -> String {
    let chain = vec![CertificateDer::from_pem_slice(certificate).expect("a certificate")];
    let key = PrivateKeyDer::from_pem_slice(KEY).expect("a key");
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .expect("they fit");
    let config = Arc::new(config);
    listening(move |mut stream| {
        let mut tls = ServerConnection::new(Arc::clone(&config)).expect("a connection");
        let _ = Stream::new(&mut tls, &mut stream).read(&mut [0]); // it goes away
    })
}

/// A broker that asks for SASL and accepts nobody. Kafka protocol: a size, then api key, version and correlation id of each request;
/// the answer has a size, that id, and a body.
fn accepting_nobody() -> String {
    listening(|mut stream| {
        let mut answer = || -> std::io::Result<()> {
            let (mut size, mut head) = ([0; 4], [0; 8]);
            stream.read_exact(&mut size)?;
            let mut request = vec![0; u32::from_be_bytes(size) as usize];
            stream.read_exact(&mut request)?;
            head.copy_from_slice(&request[..8]);
            let (api, version) = (head[1], head[3]);
            let body: Vec<u8> = match (api, version) {
                // ApiVersions, of which only the oldest is spoken: 18 to 0, SaslHandshake 1, SaslAuthenticate 0, Metadata 0 to 1.
                (18, 1..) => [&[0, 35, 0, 0, 0, 1][..], &[0, 18, 0, 0, 0, 0]].concat(),
                (18, _) => [
                    &[0, 0, 0, 0, 0, 4][..],
                    &[0, 18, 0, 0, 0, 0],
                    &[0, 17, 0, 0, 0, 1],
                    &[0, 36, 0, 0, 0, 0],
                    &[0, 3, 0, 0, 0, 1],
                ]
                .concat(),
                (17, _) => [&[0, 0, 0, 0, 0, 1, 0, 5][..], b"PLAIN"].concat(),
                // SASL_AUTHENTICATION_FAILED, with what a careless broker might say.
                _ => [&[0, 58, 0, 30][..], b"no user correct-horse-battery.", &[0, 0, 0, 0]].concat(),
            };
            let length = u32::try_from(body.len() + 4).expect("small");
            stream.write_all(&[&length.to_be_bytes()[..], &head[4..8], &body].concat())
        };
        while answer().is_ok() {}
    })
}

/// Submits an intent to this broker.
fn submit(scene: &Scene, bootstrap: &str, client: &str) -> Run {
    let password = scene.file("password", PASSWORD);
    private(&password);
    let table = format!("[kafka]\nbootstrap = \"{bootstrap}\"\n[kafka.client]\n{client}\n");
    let config = scene.file("kafka.toml", table.replace("PASSWORD", &format!("{{ file = \"{password}\" }}")));
    let line = scene.file("intents.jsonl", signed(&note("x"), &scene.key("producer.key")));
    writ(["submit", "--kafka-config", &config, &line])
}

fn private(path: &str) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).expect("sets");
}

#[track_caller]
fn refused(run: &Run, code: Code, why: &str) {
    super::kafka::refused(run, code, why);
    assert!(![&run.out, &run.err].iter().any(|said| said.contains(PASSWORD)), "{run:?}");
}

#[test]
fn a_broker_that_cannot_be_trusted_is_told_from_one_that_is_away() {
    let scene = Scene::new();
    let trusting = format!("\"security.protocol\" = \"SSL\"\n\"ssl.ca.location\" = \"{AUTHORITY}\"");
    for certificate in [EXPIRED, ELSEWHERE] {
        refused(&submit(&scene, &showing(certificate), &trusting), Code::KafkaTls, "certificate verify failed");
    }
    // By nobody whom this machine knows.
    let run = submit(&scene, &showing(NAMED), "\"security.protocol\" = \"SSL\"");
    refused(&run, Code::KafkaTls, "certificate verify failed");
}

#[test]
fn a_broker_that_does_not_accept_the_password_is_told_from_one_that_is_away() {
    let scene = Scene::new();
    let client = "\"security.protocol\" = \"SASL_PLAINTEXT\"\n\"sasl.mechanism\" = \"PLAIN\"\n\"sasl.username\" = \"writ\"\n\
                  \"sasl.password\" = PASSWORD";
    // Nor is what it is told repeated, whoever says it.
    refused(&submit(&scene, &accepting_nobody(), client), Code::KafkaAuthentication, "[secret]");
}

#[test]
fn a_broker_that_closes_each_connection_is_away() {
    let scene = Scene::new();
    refused(&submit(&scene, &listening(drop), "\"client.id\" = \"x\""), Code::KafkaUnavailable, "1/1 brokers are down");
}

/// The right that is missing has its name.
#[test]
fn a_broker_that_does_not_allow_it_says_what() {
    let world = World::new();
    let folder = world.scene.data();
    let no = RDKafkaRespErr::RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED;
    world.cluster.request_errors(RDKafkaApiKey::InitProducerId, &[no; 8]);
    let run = writ(["serve", "--data", folder, "--kafka", &world.bootstrap]);
    refused(&run, Code::KafkaAuthorization, "WRITE on transactional id writ-");
}
