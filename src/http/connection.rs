//! The time limits of one connection, which hyper alone does not keep apart: a slow request, an idle peer. Reads no bytes itself.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::Mutex;
use std::task::Context;
use std::task::Poll;
use std::time::Duration;

use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::io::ReadBuf;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio::time::Sleep;

/// How long a connection may rest between two requests. Longer than proxies keep theirs (nginx 60 s), so
/// that it is they who close: a request must not cross with our closing.
const IDLE: Duration = Duration::from_secs(90);

/// What a connection is doing, shared between its socket and its requests.
#[derive(Clone)]
pub(super) struct Progress(Arc<Mutex<Phase>>);

#[derive(Clone, Copy, PartialEq)]
enum Phase {
    /// Since when nothing of a request has come.
    Idle(Instant),
    /// Since when the head of a request comes.
    Head(Instant),
    /// A request is being handled; its body has a deadline of its own.
    Busy,
    /// Since when the rest of a refused body is thrown away; its bytes begin no head.
    Draining(Instant),
}

/// While it lives, what comes belongs to a request that is answered already.
pub(super) struct Draining(Progress);

impl Progress {
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(Phase::Idle(Instant::now()))))
    }

    /// The head is complete. Returns when it began.
    pub(super) fn begin(&self) -> Instant {
        match self.replace(Phase::Busy) {
            Phase::Head(since) => since,
            Phase::Idle(_) | Phase::Busy | Phase::Draining(_) => Instant::now(),
        }
    }

    /// The answer is ready.
    pub(super) fn end(&self) {
        self.advance(Phase::Idle(Instant::now()), |phase| phase == Phase::Busy);
    }

    /// The answer comes before the end of the body.
    pub(super) fn drain(&self) -> Draining {
        self.replace(Phase::Draining(Instant::now()));
        Draining(self.clone())
    }

    fn received(&self) {
        self.advance(Phase::Head(Instant::now()), |phase| matches!(phase, Phase::Idle(_)));
    }

    fn advance(&self, next: Phase, from: impl Fn(Phase) -> bool) {
        let mut phase = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if from(*phase) {
            *phase = next;
        }
    }

    fn phase(&self) -> Phase {
        *self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn replace(&self, next: Phase) -> Phase {
        let mut phase = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        std::mem::replace(&mut phase, next)
    }
}

impl Drop for Draining {
    fn drop(&mut self) {
        let idle = Phase::Idle(Instant::now());
        self.0.advance(idle, |phase| matches!(phase, Phase::Draining(_)));
    }
}

/// A socket that ends by itself where the peer is too slow.
pub(super) struct TimedStream {
    stream: TcpStream,
    progress: Progress,
    read_timeout: Duration,
    timer: Pin<Box<Sleep>>,
    set_for: Phase,
}

impl TimedStream {
    pub(super) fn new(stream: TcpStream, progress: Progress, read_timeout: Duration) -> Self {
        // A new connection is there to send a request: it gets no idle time.
        let timer = Box::pin(tokio::time::sleep(read_timeout));
        let set_for = progress.phase();
        Self { stream, progress, read_timeout, timer, set_for }
    }

    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let phase = self.progress.phase();
        if phase != self.set_for {
            self.set_for = phase;
            match phase {
                // Armed as well, since nobody wakes this socket when the draining ends.
                Phase::Idle(since) | Phase::Draining(since) => {
                    self.timer.as_mut().reset(since + IDLE);
                }
                Phase::Head(since) => self.timer.as_mut().reset(since + self.read_timeout),
                Phase::Busy => {}
            }
        }
        if phase == Phase::Busy {
            return Poll::Pending;
        }
        match self.timer.as_mut().poll(cx) {
            Poll::Pending => Poll::Pending,
            // To hyper this is a peer that closed, which needs no complaint.
            Poll::Ready(()) if !matches!(phase, Phase::Head(_)) => Poll::Ready(Ok(())),
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
        }
    }
}

impl AsyncRead for TimedStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        match Pin::new(&mut this.stream).poll_read(cx, buffer) {
            Poll::Ready(result) => {
                if buffer.filled().len() > before {
                    this.progress.received();
                }
                Poll::Ready(result)
            }
            Poll::Pending => this.poll_timer(cx),
        }
    }
}

impl AsyncWrite for TimedStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
