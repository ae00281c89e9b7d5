//! The status page over real connections, and what concerns the whole process: the log is set up once.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests may panic")]

use tunnelog::telemetry::log::{LogError, init};

#[test]
fn setting_up_the_log_twice_is_an_error_and_no_panic() {
    init(Some("off")).unwrap();
    assert!(matches!(init(Some("off")), Err(LogError::AlreadySet)));
    assert!(matches!(init(Some("tunnelog=loud")), Err(LogError::Filter { .. })));
}

#[cfg(feature = "status")]
mod status_page {
    use std::net::SocketAddr;
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;
    use tokio::task::JoinSet;
    use tokio_util::sync::CancellationToken;
    use tunnelog::telemetry::health::{HEARTBEAT_TIMEOUT, Health, STARTING};
    use tunnelog::telemetry::metrics::Metrics;
    use tunnelog::telemetry::server::{CONNECTION_TIMEOUT, MAX_CONNECTIONS, bind, serve};

    /// A running status page; it ends when this is dropped.
    struct Page {
        address: SocketAddr,
        health: Health,
        shutdown: CancellationToken,
        task: JoinSet<std::io::Result<()>>,
    }

    impl Page {
        async fn start() -> Page {
            let listener = bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
            let address = listener.local_addr().unwrap();
            let (health, shutdown) = (Health::new(), CancellationToken::new());
            let (_, metrics) = Metrics::local().unwrap();
            let mut task = JoinSet::new();
            task.spawn(serve(listener, health.clone(), metrics, shutdown.clone()));
            Page { address, health, shutdown, task }
        }

        /// The whole answer to what is sent, until the server closes the connection.
        async fn send(&self, request: &str) -> String {
            let mut stream = TcpStream::connect(self.address).await.unwrap();
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            answer
        }

        async fn get(&self, path: &str) -> String {
            self.send(&format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")).await
        }

        async fn check(&self, path: &str, status: &str, body: &str) {
            let answer = self.get(path).await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
            assert!(answer.contains(body), "`{body}` is missing in {answer}");
        }
    }

    #[tokio::test]
    async fn every_page_answers_with_its_type() {
        let page = Page::start().await;
        page.health.set(STARTING, None);
        page.check("/", "200", "/readyz").await;
        page.check("/healthz", "200", "live\n").await;
        page.check("/readyz", "200", "ready\n").await;
        page.check("/metrics", "200", "tunnelog_build_info{version=").await;
        page.check("/metrics", "200", "content-type: text/plain; version=0.0.4; charset=utf-8\r\n").await;
        page.check("/nothing", "404", "").await;
    }

    #[tokio::test]
    async fn what_is_not_ready_is_named() {
        let page = Page::start().await;
        page.check("/readyz", "503", "starting: not reading yet").await;
        page.health.set(STARTING, None);
        page.health.set("sink siem", Some("no answer"));
        page.check("/readyz", "503", "\r\n\r\nsink siem: no answer (for 0 s)\n").await;
        page.health.set("sink siem", None);
        page.check("/readyz", "200", "ready").await;
    }

    #[tokio::test]
    async fn a_silent_engine_fails_the_health_check() {
        let page = Page::start().await;
        tokio::time::pause();
        tokio::time::advance(HEARTBEAT_TIMEOUT).await;
        tokio::time::resume();
        page.check("/healthz", "503", "silent for 60 s").await;
        page.health.heartbeat();
        page.check("/healthz", "200", "live").await;
    }

    #[tokio::test]
    async fn nothing_but_reading_is_allowed() {
        let page = Page::start().await;
        for method in ["POST", "PUT", "DELETE"] {
            let request = format!("{method} /metrics HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n");
            let answer = page.send(&request).await;
            assert!(answer.starts_with("HTTP/1.1 405 "), "{answer}");
        }
        let answer = page.send("not http at all\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    }

    #[tokio::test]
    async fn idle_clients_lose_their_place_when_their_time_is_up() {
        let page = Page::start().await;
        let mut idle = Vec::new();
        for _ in 0..MAX_CONNECTIONS {
            idle.push(TcpStream::connect(page.address).await.unwrap());
        }
        // The server runs in this thread: let it accept them all, so that each has its timer. One that it
        // misses would make the test slower, not wrong.
        for _ in 0..10_000 {
            tokio::task::yield_now().await;
        }
        tokio::time::pause();
        tokio::time::advance(CONNECTION_TIMEOUT).await;
        tokio::time::resume();
        let answer = page.get("/healthz").await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        for stream in &mut idle {
            assert_eq!(stream.read(&mut [0; 1]).await.unwrap_or(0), 0, "the server has closed it");
        }
    }

    #[tokio::test]
    async fn shutdown_ends_the_server_and_frees_the_port() {
        let mut page = Page::start().await;
        page.check("/healthz", "200", "live").await;
        page.shutdown.cancel();
        let ended = tokio::time::timeout(CONNECTION_TIMEOUT + Duration::from_secs(5), page.task.join_next()).await;
        ended.unwrap().unwrap().unwrap().unwrap();
        bind(page.address).await.unwrap();
    }

    #[tokio::test]
    async fn a_port_in_use_is_an_error_with_address_and_remedy() {
        let page = Page::start().await;
        let error = bind(page.address).await.unwrap_err().to_string();
        assert!(error.starts_with(&format!("cannot listen on `{}`", page.address)), "{error}");
        assert!(error.ends_with("choose another port in `status.listen`, or stop the process that has this one"));
    }
}
