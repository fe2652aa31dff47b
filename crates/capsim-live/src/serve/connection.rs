//! Sockets: a limit on headers, no waiting for ever on a peer that is gone, an orderly end.
use super::death::Switch;
use super::fault::Death;
use axum::Router;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::service::Service;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, Sleep};

/// How long a client may take to send its headers, and how long an idle connection is kept.
const HEADERS: Duration = Duration::from_secs(30);
/// How long a peer may refuse to take a single byte.
const WRITE: Duration = Duration::from_secs(30);
/// Largest headers (as uvicorn: 4 MiB in vLLM; 64 KiB is plenty), and how many.
const HEADER_BYTES: usize = 64 << 10;
const HEADER_COUNT: usize = 128;
/// Connections at a time.
const CONNECTIONS: usize = 16_384;

/// What a server is told about its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Go on.
    Running,
    /// No new connections; open ones finish what they are at.
    Draining,
    /// Everything is dropped at once.
    Gone,
}

/// Accepts until told otherwise; returns when all connections have ended.
pub async fn serve(listener: TcpListener, router: Router, mut phase: watch::Receiver<Phase>) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS));
    let mut tasks = tokio::task::JoinSet::new();
    while *phase.borrow() == Phase::Running {
        tokio::select! {
            _ = phase.changed() => {}
            Some(_) = tasks.join_next(), if !tasks.is_empty() => {}
            accepted = accept(&listener, &slots) => match accepted {
                Ok((socket, slot)) => {
                    let (router, phase) = (router.clone(), phase.clone());
                    tasks.spawn(async move {
                        connection(socket, router, phase).await;
                        drop(slot);
                    });
                }
                // Out of file descriptors, or the peer left before it was accepted: neither is for ever.
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            },
        }
    }
    drop(listener);
    loop {
        let dropped = tokio::select! {
            joined = tasks.join_next() => {
                if joined.is_none() {
                    return;
                }
                false
            }
            () = gone(&mut phase) => true,
        };
        if dropped {
            tasks.shutdown().await;
            return;
        }
    }
}

/// Returns once everything is to be dropped.
async fn gone(phase: &mut watch::Receiver<Phase>) {
    let _ = phase.wait_for(|p| *p == Phase::Gone).await;
}

async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
) -> io::Result<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let slot = Arc::clone(slots)
        .acquire_owned()
        .await
        .map_err(io::Error::other)?;
    let (socket, _) = listener.accept().await?;
    // A token is a small packet that must not wait for the next.
    socket.set_nodelay(true)?;
    Ok((socket, slot))
}

/// The router, with the connection's switch in each request.
struct Switched {
    router: TowerToHyperService<Router>,
    switch: Arc<Switch>,
}

impl Service<Request<Incoming>> for Switched {
    type Response = <TowerToHyperService<Router> as Service<Request<Incoming>>>::Response;
    type Error = <TowerToHyperService<Router> as Service<Request<Incoming>>>::Error;
    type Future = <TowerToHyperService<Router> as Service<Request<Incoming>>>::Future;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        request.extensions_mut().insert(Arc::clone(&self.switch));
        self.router.call(request)
    }
}

/// How long a half-closed connection is kept for a client that does not notice.
const HALF: Duration = Duration::from_secs(60);

/// Ends a connection in the way that a fault wants.
async fn end(mut socket: TcpStream, how: Death) {
    match how {
        Death::Reset => {
            let _ = socket.set_zero_linger();
        }
        Death::HalfClosed => {
            let _ = socket.shutdown().await;
            let mut buffer = [0; 4096];
            let read = async { while matches!(socket.read(&mut buffer).await, Ok(n) if n > 0) {} };
            let _ = tokio::time::timeout(HALF, read).await;
        }
        _ => {}
    }
}

async fn connection(socket: TcpStream, router: Router, mut phase: watch::Receiver<Phase>) {
    let io = TokioIo::new(Impatient::new(socket));
    let switch = Arc::<Switch>::default();
    let service = Switched {
        router: TowerToHyperService::new(router),
        switch: Arc::clone(&switch),
    };
    let mut connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS)
        .max_headers(HEADER_COUNT)
        .max_buf_size(HEADER_BYTES)
        .serve_connection(io, service);
    loop {
        tokio::select! {
            // The connection first: what an answer said before its death goes out.
            biased;
            // Errors are the peer's: it left, or spoke no HTTP.
            _ = &mut connection => return,
            how = switch.thrown() => {
                let socket = connection.into_parts().io.into_inner().socket;
                end(socket, how).await;
                return;
            }
            changed = phase.changed() => {
                if changed.is_err() || *phase.borrow() != Phase::Running {
                    Pin::new(&mut connection).graceful_shutdown();
                    let _ = connection.await;
                    return;
                }
            }
        }
    }
}

/// A socket whose writes fail if the peer takes nothing for too long.
struct Impatient {
    socket: TcpStream,
    /// Running while a write waits.
    deadline: Option<Pin<Box<Sleep>>>,
}

impl Impatient {
    fn new(socket: TcpStream) -> Self {
        Self {
            socket,
            deadline: None,
        }
    }

    fn check<T>(
        &mut self,
        cx: &mut Context<'_>,
        result: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if result.is_ready() {
            self.deadline = None;
            return result;
        }
        let deadline = self
            .deadline
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(Instant::now() + WRITE)));
        match deadline.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl AsyncRead for Impatient {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(cx, buf)
    }
}

impl AsyncWrite for Impatient {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.socket).poll_write(cx, buf);
        self.check(cx, result)
    }
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.socket).poll_write_vectored(cx, bufs);
        self.check(cx, result)
    }
    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.socket).poll_flush(cx);
        self.check(cx, result)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}
