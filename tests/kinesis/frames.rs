//! The frames of a subscription's stream of events, as the service sends them. Shared by both models of Kinesis.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use aws_smithy_eventstream::frame::write_message_to;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::event_stream::{Header, HeaderValue, Message};
use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::mpsc;

/// What a subscription sends: frames, and how its connection ends.
pub(crate) type Sender = mpsc::Sender<io::Result<Bytes>>;

/// The body of an answer that has no end yet; one frame is under way, as a small window would have it.
pub(crate) fn stream() -> (Sender, SdkBody) {
    let (sender, receiver) = mpsc::channel(1);
    (sender, SdkBody::from_body_1_x(Frames(receiver)))
}

/// What every stream begins with.
pub(crate) fn initial() -> Bytes {
    frame("event", ":event-type", "initial-response", &json!({}))
}

pub(crate) fn event(payload: &Value) -> Bytes {
    frame("event", ":event-type", "SubscribeToShardEvent", payload)
}

/// An error of the service, after which the stream ends.
pub(crate) fn exception(code: &'static str) -> Bytes {
    frame("exception", ":exception-type", code, &json!({"message": "it was the model"}))
}

/// The connection breaks in the middle of a frame.
pub(crate) async fn break_off(sender: &Sender) -> Option<()> {
    let whole = event(&json!({}));
    sender.send(Ok(whole.slice(..whole.len() / 2))).await.ok()?;
    sender.send(Err(io::ErrorKind::ConnectionReset.into())).await.ok()
}

fn frame(kind: &'static str, key: &'static str, what: &'static str, payload: &Value) -> Bytes {
    let text = |text: &'static str| HeaderValue::String(text.into());
    let message = Message::new(payload.to_string().into_bytes())
        .add_header(Header::new(":message-type", text(kind)))
        .add_header(Header::new(key, text(what)))
        .add_header(Header::new(":content-type", text("application/x-amz-json-1.1")));
    let mut bytes = Vec::new();
    write_message_to(&message, &mut bytes).unwrap();
    bytes.into()
}

struct Frames(mpsc::Receiver<io::Result<Bytes>>);

impl http_body::Body for Frames {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<http_body::Frame<Bytes>>>> {
        self.0.poll_recv(context).map(|frame| frame.map(|frame| frame.map(http_body::Frame::data)))
    }
}
