//! A limit on the time that a request's body may take as a whole.
//!
//! The body timeout of tower-http bounds the wait for each piece only: a peer that sends a byte now and then would hold
//! its place for ever.

use crate::error::ApiError;
use axum::Router;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse as _, Response};
use hyper::body::{Body as _, Bytes, Frame, Incoming};
use ibgib_peer::saga::Code;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tower::ServiceExt as _;

/// A connection whose peer has to take something of what is sent in a time: who never reads would hold its place, and
/// what was read for it, for ever.
pub(crate) struct Patient {
    stream: TcpStream,
    max: Duration,
    /// Since the stream took nothing more.
    late: Option<Pin<Box<tokio::time::Sleep>>>,
}

impl Patient {
    pub(crate) fn new(stream: TcpStream, max: Duration) -> Self {
        Self { stream, max, late: None }
    }

    fn in_time<T>(&mut self, context: &mut Context<'_>, done: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if done.is_ready() {
            self.late = None;
            return done;
        }
        let late = self.late.get_or_insert_with(|| Box::pin(tokio::time::sleep(self.max)));
        std::task::ready!(late.as_mut().poll(context));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the peer takes nothing")))
    }
}

impl AsyncRead for Patient {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Patient {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let done = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.in_time(context, done)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let done = Pin::new(&mut self.stream).poll_write_vectored(context, pieces);
        self.in_time(context, done)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let done = Pin::new(&mut self.stream).poll_flush(context);
        self.in_time(context, done)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let done = Pin::new(&mut self.stream).poll_shutdown(context);
        self.in_time(context, done)
    }
}

/// Answers a request; one whose body takes longer than `body_max` with status 408.
pub(crate) async fn in_time(
    router: Router,
    request: hyper::Request<Incoming>,
    body_max: Duration,
) -> Result<Response, std::convert::Infallible> {
    if request.body().is_end_stream() {
        return router.oneshot(request.map(axum::body::Body::new)).await;
    }
    let late = Arc::new(AtomicBool::new(false));
    let timed = |body| Timed { body, end: Box::pin(tokio::time::sleep(body_max)), late: Arc::clone(&late) };
    let response = router.oneshot(request.map(timed).map(axum::body::Body::new)).await?;
    if !late.load(Ordering::Relaxed) {
        return Ok(response);
    }
    let what = format!("the request's body was not there after {} ms", body_max.as_millis());
    let mut response = ApiError::new(Code::BodyTooSlow, what).into_response();
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    Ok(response)
}

/// A request's body that has to be there in time.
struct Timed {
    body: Incoming,
    end: Pin<Box<tokio::time::Sleep>>,
    late: Arc<AtomicBool>,
}

impl hyper::body::Body for Timed {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) {
            return Poll::Ready(frame.map(|f| f.map_err(Into::into)));
        }
        std::task::ready!(self.end.as_mut().poll(context));
        self.late.store(true, Ordering::Relaxed);
        Poll::Ready(Some(Err("the body took too long".into())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        self.body.size_hint()
    }
}
