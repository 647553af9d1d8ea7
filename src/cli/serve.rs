//! `writ serve`: HTTP, the socket, and Kafka, until it is told to stop.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::task::Poll;
use std::time::Duration;

use tokio::net::{TcpListener, UnixListener, lookup_host};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;

use writ_schemas::errors::Code;
use writ_schemas::event::Source;

use super::session::end_process;
use super::{Data, Found, output};
use crate::api::audits::Audits;
use crate::api::host::Hosts;
use crate::api::limits::{self, Limits};
use crate::api::{self, Api};
use crate::clock::Clock;
use crate::config::Kafka;
use crate::error::{Failure, Result};
use crate::folder::Folder;
use crate::kafka::cluster::Cluster;
use crate::ledger::Opened;
use crate::sequencer::Passed;
use crate::service::Service;
use crate::space::SMALL_BYTES;
use crate::telemetry::Settings;
use crate::telemetry::metrics::Listener;
use crate::telemetry::running::Telemetry;
use crate::telemetry::samples::Samples;
use crate::{signals, threads};

/// The longest path that a socket may have (`sun_path` in unix(7), less its end).
const SOCKET_PATH_MAX: usize = 107;

/// Arguments of `writ serve`.
#[derive(clap::Args)]
#[command(
    after_help = "Example:  writ serve --data ./ledger --http 127.0.0.1:8080\n          writ serve --data ./ledger --kafka 127.0.0.1:9092 --http 127.0.0.1:8080"
)]
pub(super) struct Args {
    #[command(flatten)]
    data: Data,
    /// Kafka's bootstrap servers [default: what writ.toml says]
    #[arg(long, value_name = "HOST:PORT")]
    kafka: Option<String>,
    /// The address of the HTTP API [default: what writ.toml says; else only the socket]
    #[arg(long, value_name = "ADDR")]
    http: Option<String>,
    /// Listen on an address that other machines reach: whoever does, reads everything
    #[arg(long)]
    http_open: bool,
    /// A name under which the HTTP API is asked, besides its address; several may be given
    #[arg(long, value_name = "NAME")]
    http_host: Vec<String>,
}

pub(super) fn run(args: &Args) -> Result<Found> {
    let folder = args.data.folder();
    folder.require()?;
    let config = folder.config()?;
    let socket = folder.socket();
    if socket.as_os_str().len() > SOCKET_PATH_MAX {
        let why = format!("{} is longer than {SOCKET_PATH_MAX} bytes", socket.display());
        return Err(Failure::new(Code::Config, why));
    }
    let patience = Duration::from_millis(config.request_patience_ms);
    let kafka = Kafka::chosen(config.kafka, args.kafka.as_deref());
    let cluster = kafka.as_ref().map(Cluster::of).transpose()?;
    let settings = Settings::read(config.telemetry.as_ref())?;
    if !settings.not_taken.is_empty() {
        output::note(format!(
            "writ: these variables are set, and nothing here takes them: {}",
            settings.not_taken.join(", ")
        ));
    }
    let telemetry = Telemetry::start(&settings, &folder, cluster.is_some())?;
    let at = Addresses {
        http: args.http.clone().or(config.http),
        open: args.http_open || config.http_open,
        names: [args.http_host.as_slice(), config.http_hosts.as_slice()].concat(),
    };
    let ended = work(&folder, cluster.as_ref(), &at, patience, &telemetry);
    telemetry.stop(ended.as_ref().err());
    ended
}

/// Where the HTTP API is asked.
struct Addresses {
    http: Option<String>,
    open: bool,
    names: Vec<String>,
}

/// Serves until it is told to stop, with telemetry around it.
fn work(
    folder: &Folder,
    cluster: Option<&Cluster>,
    at: &Addresses,
    patience: Duration,
    telemetry: &Telemetry,
) -> Result<Found> {
    let Addresses { http, open, names } = at;
    let metrics = &telemetry.metrics;
    let runtime = threads::runtime()?;
    let (listener, hosts) = match http {
        Some(address) => {
            let listener = runtime.block_on(listen(address, *open))?;
            let bound = listener.local_addr().map_err(|e| Failure::new(Code::Io, e))?;
            if !is_loopback(bound) {
                output::note(format!(
                    "writ: whoever reaches {bound} reads the intents, decisions, receipts, usage and graphs of every tenant, what waits \
                     for approval, and the metrics: readers are not authenticated"
                ));
            }
            (Some(listener), Hosts::of(address, bound, names)?)
        }
        None => (None, Hosts::any()),
    };

    // Whoever answers questions is there before anything is dispatched: a start that fails later would cut it off.
    let (limits, own_limits) = (Limits::new(patience)?, Limits::new(patience)?);
    let opened = Opened::open(folder, Clock::Wall)?.keeping_space()?.traced(telemetry.tracer.clone());
    let service = Service::start(opened, cluster, Passed::CarriedOut, end_process)?;
    let api = Api {
        ledger: service.handle(),
        library: service.library(),
        source: Source::Http,
        metrics: Some(metrics.clone()),
        limits,
        hosts,
        audits: Audits::default(),
    };
    let (handle, audits) = (service.handle(), api.audits.clone());
    let (of_socket, of_network) = (own_limits.clone(), api.limits.clone());
    let samples = Samples::start(metrics.clone(), move || {
        handle.tell();
        audits.tell();
        of_socket.tell(Listener::Socket);
        of_network.tell(Listener::Tcp);
    })?;
    let served = runtime.block_on(serve(folder, api, own_limits, listener));
    service.stop()?;
    drop(samples);
    let _ = std::fs::remove_file(folder.socket());
    runtime.shutdown_background();
    served.map(|()| Found::Yes)
}

/// Listens where only this machine comes in; elsewhere if that was said to be meant.
async fn listen(address: &str, open: bool) -> Result<TcpListener> {
    let refused = |e: std::io::Error| match e.kind() {
        std::io::ErrorKind::AddrInUse => Failure::new(Code::PortBusy, format!("{address}: {e}")),
        std::io::ErrorKind::PermissionDenied => Failure::new(Code::Permission, format!("{address}: {e}")),
        _ => Failure::new(Code::Usage, format!("{address}: {e}")),
    };
    let addresses: Vec<SocketAddr> = lookup_host(address).await.map_err(refused)?.collect();
    if !open && let Some(far) = addresses.iter().find(|address| !is_loopback(**address)) {
        let why = format!(
            "{far} is reached by other machines, and readers are not authenticated: --http-open, if that is meant"
        );
        return Err(Failure::new(Code::Config, why));
    }
    TcpListener::bind(addresses.as_slice()).await.map_err(refused)
}

fn is_loopback(address: SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

/// Serves until a signal comes. The socket is for this user only; the lock is held, so an old socket is nobody's.
async fn serve(folder: &Folder, api: Api, own_limits: Limits, listener: Option<TcpListener>) -> Result<()> {
    let path = folder.socket();
    let _ = std::fs::remove_file(&path);
    let bind = || UnixListener::bind(&path).map_err(|e| Failure::io(&path, &e));
    let socket = api.ledger.space.write(SMALL_BYTES, bind)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).map_err(|e| Failure::io(&path, &e))?;
    let io = |e: std::io::Error| Failure::new(Code::Io, e);
    let mut asked = Vec::new();
    for number in signals::asking_to_end() {
        asked.push(signal(SignalKind::from_raw(number)).map_err(io)?);
    }
    let local = Api { source: Source::Local, limits: own_limits.clone(), hosts: Hosts::any(), ..api.clone() };
    let (public, private) = (api::public(api.clone()), api::private(local));
    // They answer for as long as the process lives.
    let mut listeners = JoinSet::new();
    listeners.spawn(limits::answer(socket, private, own_limits));
    output::note(format!("writ: ledger {} is served on {}", api.ledger.genesis.ledger, output::path(&path)));
    if let Some(listener) = listener {
        if let Ok(address) = listener.local_addr() {
            output::note(format!("writ: and on http://{address}"));
        }
        listeners.spawn(limits::answer(listener, public, api.limits.clone()));
    }
    let told = poll_fn(|cx| {
        if asked.iter_mut().any(|signal| signal.poll_recv(cx).is_ready()) { Poll::Ready(()) } else { Poll::Pending }
    });
    tokio::select! {
        () = told => {}
        _ = listeners.join_next() => return Err(threads::panicked("of a listener")),
    }
    output::note("writ: stopping");
    Ok(())
}
