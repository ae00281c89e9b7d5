//! A link between the program and a part: a small TCP proxy with weather. Good weather passes everything on; bad
//! weather does one fault to a share of the calls.
//!
//! A call is what the client says at once: a request where HTTP is spoken ([`super::http`]), else a piece of bytes.
//! Which call meets the fault is the dice's choice; which call is which, the machine's: that is why a seed repeats
//! the faults of a run and not its every step.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::sleep;

use super::dice::Dice;
use super::http;
use super::limits::ReadLimits;

/// How a connection ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum End {
    Fin,
    Rst,
}

/// What a call meets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fault {
    /// It never arrives.
    Cut(End),
    /// It arrives late.
    Delay { ms: u64 },
    /// Its answer comes at so many bytes a second.
    Trickle { bytes_per_second: usize },
    /// It never arrives, and the connection stays as if nothing were: until the client gives up, or for this long.
    Stall { ms: Option<u64> },
    /// It arrives; half of the answer comes back.
    HalfAnswer(End),
    /// It arrives and is done; no answer comes back.
    LostAnswer(End),
    /// HTTP: it never arrives, and is answered with this error of the service.
    Error(u16, &'static str),
    /// PutRecordBatch: some of its records are refused, the others written.
    RefuseSome,
}

impl Fault {
    fn name(self) -> &'static str {
        match self {
            Fault::Cut(End::Fin) => "closed",
            Fault::Cut(End::Rst) => "reset",
            Fault::Delay { .. } => "delayed",
            Fault::Trickle { .. } => "trickled",
            Fault::Stall { .. } => "stalled",
            Fault::HalfAnswer(_) => "answer halved",
            Fault::LostAnswer(_) => "answer lost",
            Fault::Error(_, code) => code,
            Fault::RefuseSome => "some refused",
        }
    }
}

/// What so many of a hundred calls meet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Weather {
    pub(crate) percent: u8,
    pub(crate) fault: Fault,
}

impl Weather {
    /// Nothing gets through.
    pub(crate) const DOWN: Weather = Weather { percent: 100, fault: Fault::Cut(End::Rst) };
}

/// What is spoken on a link, as far as the proxy must know it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Speech {
    /// Nothing is understood: Kafka.
    Bytes,
    /// HTTP, errors in JSON: Kinesis, Firehose, DynamoDB.
    Json,
    /// HTTP, errors in S3's XML.
    S3,
    /// HTTP, errors in EC2's and STS's XML.
    Query,
}

/// See the module.
pub(crate) struct Link {
    pub(crate) name: &'static str,
    pub(crate) address: SocketAddr,
    weather: watch::Sender<Option<Weather>>,
    shared: Arc<Shared>,
}

/// What all connections of a link share.
pub(super) struct Shared {
    pub(super) speech: Speech,
    pub(super) limits: Mutex<ReadLimits>,
    upstream: SocketAddr,
    weather: watch::Receiver<Option<Weather>>,
    dice: Mutex<Dice>,
    calls: AtomicU64,
    /// Connections that are being served.
    serving: AtomicU64,
    met: Mutex<BTreeMap<&'static str, u64>>,
}

impl Link {
    /// Listens until the runtime ends. Where the upstream is must be known; who listens there may come later.
    pub(crate) fn start(
        runtime: &tokio::runtime::Runtime,
        (name, speech): (&'static str, Speech),
        listener: std::net::TcpListener,
        upstream: SocketAddr,
        seed: u64,
    ) -> Link {
        let (sender, weather) = watch::channel(None);
        let shared = Arc::new(Shared {
            speech,
            limits: Mutex::default(),
            upstream,
            weather,
            dice: Mutex::new(Dice::for_purpose(seed, name)),
            calls: AtomicU64::new(0),
            serving: AtomicU64::new(0),
            met: Mutex::default(),
        });
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let own = Arc::clone(&shared);
        let handle = runtime.handle().clone();
        runtime.spawn(async move {
            let listener = TcpListener::from_std(listener).unwrap();
            loop {
                let Ok((client, _)) = listener.accept().await else { continue };
                let link = Arc::clone(&own);
                link.serving.fetch_add(1, Ordering::Relaxed);
                handle.spawn(async move {
                    // A connection that breaks is what this is for.
                    let _ = link.serve(client).await;
                    link.serving.fetch_sub(1, Ordering::Relaxed);
                });
            }
        });
        Link { name, address, weather: sender, shared }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on; `None` is good weather.
    pub(crate) fn weather(&self, weather: Option<Weather>) {
        self.weather.send_replace(weather);
    }

    /// Calls that came so far.
    pub(crate) fn calls(&self) -> u64 {
        self.shared.calls.load(Ordering::Relaxed)
    }

    /// Whether nothing is on its way: what comes late of a process that is gone has come.
    pub(crate) fn is_quiet(&self) -> bool {
        self.shared.serving.load(Ordering::Relaxed) == 0
    }

    /// How often which fault was met, refusals by the limits among them.
    pub(crate) fn met(&self) -> BTreeMap<&'static str, u64> {
        self.shared.met.lock().unwrap().clone()
    }
}

impl Shared {
    async fn serve(&self, client: TcpStream) -> io::Result<()> {
        client.set_nodelay(true)?;
        match self.speech {
            Speech::Bytes => self.relay(client).await,
            Speech::Json | Speech::S3 | Speech::Query => http::serve(self, client).await,
        }
    }

    /// Counts a call and says what it meets.
    pub(super) fn call(&self) -> Option<Fault> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let weather = (*self.weather.borrow())?;
        let fault = self.dice.lock().unwrap().percent(weather.percent).then_some(weather.fault)?;
        self.count(fault.name());
        Some(fault)
    }

    pub(super) fn count(&self, what: &'static str) {
        *self.met.lock().unwrap().entry(what).or_default() += 1;
    }

    pub(super) fn draw(&self, low: u64, high: u64) -> u64 {
        self.dice.lock().unwrap().between(low, high)
    }

    pub(super) async fn connect(&self) -> io::Result<TcpStream> {
        let upstream = TcpStream::connect(self.upstream).await?;
        upstream.set_nodelay(true)?;
        Ok(upstream)
    }

    /// Passes bytes both ways until one end closes or a fault ends it.
    async fn relay(&self, mut client: TcpStream) -> io::Result<()> {
        let mut weather = self.weather.clone();
        let Ok(mut upstream) = self.connect().await else { return cut(client, End::Rst).await };
        let (mut asked, mut answered) = (vec![0; 64 * 1024], vec![0; 64 * 1024]);
        let mut answer_meets = None;
        loop {
            if *weather.borrow_and_update() == Some(Weather::DOWN) {
                return cut(client, End::Rst).await;
            }
            tokio::select! {
                count = client.read(&mut asked) => {
                    let count = count?;
                    if count == 0 {
                        return upstream.shutdown().await;
                    }
                    let fault = self.call();
                    match fault {
                        Some(Fault::Cut(end)) => return cut(client, end).await,
                        Some(Fault::Stall { ms }) => return stall(client, ms).await,
                        Some(Fault::Delay { ms }) => sleep(Duration::from_millis(ms)).await,
                        _ => {}
                    }
                    answer_meets = fault;
                    upstream.write_all(&asked[..count]).await?;
                }
                count = upstream.read(&mut answered) => {
                    let count = count?;
                    if count == 0 {
                        return client.shutdown().await;
                    }
                    answer(&mut client, &answered[..count], answer_meets.take()).await?;
                }
                _ = weather.changed() => {}
            }
        }
    }
}

/// Hands an answer back, as far as the fault lets it; an error ends the connection.
pub(super) async fn answer(client: &mut TcpStream, bytes: &[u8], fault: Option<Fault>) -> io::Result<()> {
    match fault {
        Some(Fault::LostAnswer(end)) => break_off(client, end).await,
        Some(Fault::HalfAnswer(end)) => {
            client.write_all(&bytes[..bytes.len() / 2]).await?;
            break_off(client, end).await
        }
        Some(Fault::Trickle { bytes_per_second }) => {
            for piece in bytes.chunks((bytes_per_second / 20).max(1)) {
                client.write_all(piece).await?;
                sleep(Duration::from_millis(50)).await;
            }
            Ok(())
        }
        _ => client.write_all(bytes).await,
    }
}

/// Ends the connection so; always an error, since nothing can follow.
async fn break_off(client: &mut TcpStream, end: End) -> io::Result<()> {
    match end {
        End::Fin => client.shutdown().await?,
        End::Rst => client.set_zero_linger()?,
    }
    Err(io::ErrorKind::ConnectionAborted.into())
}

pub(super) async fn cut(mut client: TcpStream, end: End) -> io::Result<()> {
    break_off(&mut client, end).await
}

/// Takes everything and says nothing.
pub(super) async fn stall(mut client: TcpStream, ms: Option<u64>) -> io::Result<()> {
    let mut nothing = vec![0; 4096];
    let until_the_client_goes = async {
        while client.read(&mut nothing).await? > 0 {}
        Ok(())
    };
    match ms {
        None => until_the_client_goes.await,
        Some(ms) => {
            if let Ok(ended) = tokio::time::timeout(Duration::from_millis(ms), until_the_client_goes).await {
                return ended;
            }
            cut(client, End::Rst).await
        }
    }
}
